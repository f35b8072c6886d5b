"""The generator and the critic."""

import importlib.util
import re
import reprlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from trainables.config.base import Conditional, Whole
from trainables.config.methods import (
    ARCHITECTURES,
    DEFAULT_ARCHITECTURE,
    Activation,
    Architecture,
    GeneratorNorm,
    Norm,
    fill,
)

_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def _import_path(value: object) -> object:
    if isinstance(value, str):
        module, _, name = value.partition(":")
        rule = f"must read package.module:Name, got {value!r}"
        if module.endswith(".py"):  # a file, as for other tools
            meant = module.removesuffix(".py").replace("/", ".").lstrip(".")
            raise ValueError(f"{rule}: write {meant}:{name or 'Name'}")
        if not _IMPORT_PATH.fullmatch(value):
            raise ValueError(rule)
    return value


def _plain_argument(value: object) -> object:
    """Accept only plain data: an argument is written to files, databases and other processes.

    Text stays text: a network may need ``"007"``, and fail with the number 7.0.
    """
    items = value if isinstance(value, list | tuple) else [value]
    if not all(item is None or isinstance(item, bool | int | float | str) for item in items):
        rule = "must be a number, text, true or false, or a list of such"
        raise ValueError(f"{rule}, got {reprlib.repr(value)}")  # bounded: aliases may multiply
    return value


#: The import path of a custom network: ``package.module:Name``.
ImportPath = Annotated[str, BeforeValidator(_import_path), Field(strict=True)]
Argument = Annotated[Any, BeforeValidator(_plain_argument)]


def module_of(path: str) -> str:
    """Return the module of an import path: ``package.module`` of ``package.module:Name``."""
    return path.partition(":")[0]


def code_fault(path: str, allow_code: Collection[str]) -> str | None:
    """Describe why the import path of a file may not be imported; ``None`` if it may.

    Args:
        path: The import path. It comes from a file that another person may have written.
        allow_code: The modules that the user allows to be imported.
    """
    module = module_of(path)
    if module in ([allow_code] if isinstance(allow_code, str) else allow_code):
        return None
    return (
        f"names {path}, whose module {module} would be imported and run: if you trust it, add "
        f"--allow-code {module}, or from Python allow_code=[{module!r}]"
    )


def top_level_module(path: str) -> str:
    """Return the top-level module of an import path: ``package`` of ``package.module:Name``."""
    return re.split(r"[.:]", path, maxsplit=1)[0]


def code_of(module: str) -> list[Path]:
    """Find the file of a top-level module, or the folders of a package; none if it is missing.

    A package without an ``__init__.py`` may have several folders.
    """
    spec = importlib.util.find_spec(module)
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(folder) for folder in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin else []


class NetworkConfig(Conditional):
    """The generator and the critic of a trial.

    A key that is left out gets the value of its architecture. A key that does not apply is
    ``None``.
    """

    generator: ImportPath | None = Field(
        default=None,
        description="A custom generator, as package.module:Name: a subclass of torch.nn.Module "
        "that this module defines, created as Name(latent_dim=..., sample_shape=..., "
        "**generator_args), that maps latents [batch, latent_dim] to samples "
        "[batch, *sample_shape].",
    )
    critic: ImportPath | None = Field(
        default=None,
        description="A custom critic, as package.module:Name: a subclass of torch.nn.Module that "
        "this module defines, created as Name(sample_shape=..., **critic_args), that maps samples "
        "[batch, *sample_shape] to scores [batch]. Under ebgan and began it needs the modules "
        "encoder, from samples to codes, and decoder, from codes to samples.",
    )
    architecture: Architecture | None = Field(
        default=None,
        description="Architecture of a network that is not custom. Default: mlp. mlp: fully "
        "connected. dcgan: Radford 2016, images only. resnet: Gulrajani 2017 (appendix F), images "
        "only.",
    )
    generator_args: dict[str, Argument] | None = Field(
        default=None,
        description="Keyword arguments of the custom generator; each may be searched.",
    )
    critic_args: dict[str, Argument] | None = Field(
        default=None, description="Keyword arguments of the custom critic; each may be searched."
    )
    latent_dim: Whole | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Length of the latent vector z. Default: mlp 32, dcgan 100, resnet 128.",
    )
    generator_width: Whole | None = Field(
        default=None,
        ge=1,
        le=16384,
        description="mlp: units per hidden layer, default 128. dcgan: channels of the layer next "
        "to the image, default 64; each halving of the image doubles them, up to eightfold. "
        "resnet: channels of every layer, default 128.",
    )
    generator_depth: Whole | None = Field(
        default=None,
        ge=1,
        le=32,
        description="mlp: hidden layers, default 2. dcgan: convolutions per resolution, default 1. "
        "resnet: residual blocks per resolution, default 1.",
    )
    generator_activation: Activation | None = Field(
        default=None,
        description="Default: relu. softplus: softplus(2x + 2) / 2 - 1 (Gulrajani 2017, Table 1).",
    )
    generator_norm: GeneratorNorm | None = Field(
        default=None,
        description="Normalisation after each hidden layer. virtual: virtual batch normalisation, "
        "by the statistics of 64 latents that are drawn once, and of the sample itself (Salimans "
        "2016, section 3.5); it takes 64 samples more in every pass. Default: batch. Only for "
        "dcgan and resnet.",
    )
    critic_width: Whole | None = Field(
        default=None,
        ge=1,
        le=16384,
        description="As generator_width, with the same defaults.",
    )
    critic_depth: Whole | None = Field(
        default=None,
        ge=1,
        le=32,
        description="As generator_depth; but resnet: residual blocks at the smallest resolution, "
        "default 2.",
    )
    critic_code_dim: Whole | None = Field(
        default=None,
        ge=1,
        le=16384,
        description="Length of the code of a critic that is an autoencoder. Default: mlp 32, dcgan "
        "and resnet 64. Only under ebgan and began.",
    )
    critic_activation: Activation | None = Field(
        default=None,
        description="Default: mlp and resnet relu, dcgan leaky_relu. Not under orthogonal, which "
        "brings GroupSort.",
    )
    critic_norm: Norm | None = Field(
        default=None,
        description="Normalisation after hidden layers. Default: none. batch: only under clip, the "
        "GAN losses, ebgan and began. Only for dcgan and resnet; not under spectral_norm and "
        "orthogonal.",
    )
    minibatch_discrimination: Whole | None = Field(
        default=None,
        ge=0,
        le=1024,
        description="Minibatch discrimination: kernels by which each sample is compared with the "
        "others of its batch. Their similarities are appended to what the critic's last layer "
        "takes (Salimans 2016, section 3.2; there 100). The time grows with them, and with the "
        "square of batch_size. 0: none, as by default. Only under clip and the GAN losses, without "
        "r1_weight and r2_weight.",
    )
    minibatch_dims: Whole | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Dimensions of each kernel. Default: 5. Only with minibatch_discrimination.",
    )

    @classmethod
    def with_defaults(cls, given: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Add the defaults of the architecture."""
        filled = fill(given, {"architecture": DEFAULT_ARCHITECTURE})
        name = filled.get("architecture") or DEFAULT_ARCHITECTURE
        return fill(filled, ARCHITECTURES.get(name, {}) if isinstance(name, str) else {})
