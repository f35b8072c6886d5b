"""The generator and the critic."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from trainables.config.base import (
    Conditional,
    Whole,
    plain_number,
)
from trainables.config.methods import (
    ARCHITECTURES,
    DEFAULT_ARCHITECTURE,
    Activation,
    Architecture,
    Norm,
    fill,
)

_OWN_NETWORK = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def _own_network(value: object) -> object:
    if isinstance(value, str) and not _OWN_NETWORK.fullmatch(value):
        raise ValueError(f"must read package.module:Name, got {value!r}")
    return value


def _plain_argument(value: object) -> object:
    """A keyword argument as YAML has it: it must survive a file, a database and a process."""
    value = plain_number(value)
    items = value if isinstance(value, list | tuple) else [value]
    if not all(item is None or isinstance(item, bool | int | float | str) for item in items):
        raise ValueError(f"must be a number, text, true or false, or a list of such, got {value!r}")
    return value


#: An import path: ``package.module:Name``.
OwnNetwork = Annotated[str, BeforeValidator(_own_network), Field(strict=True)]
Argument = Annotated[Any, BeforeValidator(_plain_argument)]


class NetworkConfig(Conditional):
    """The generator and the critic of a trial.

    A key left out gets the value of its architecture; one that does not apply is ``None``.
    """

    generator: OwnNetwork | None = Field(
        default=None,
        description="A generator of your own, package.module:Name: a torch module made by "
        "Name(latent_dim=..., sample_shape=..., **generator_args) that maps latents "
        "[batch, latent_dim] to samples [batch, *sample_shape].",
    )
    critic: OwnNetwork | None = Field(
        default=None,
        description="A critic of your own: made by Name(sample_shape=..., **critic_args), it maps "
        "samples [batch, *sample_shape] to scores [batch].",
    )
    architecture: Architecture | None = Field(
        default=None,
        description="Of the player that is not your own; mlp. mlp: fully connected. dcgan: "
        "Radford 2016, images only. resnet: Gulrajani 2017's (appendix F), images only.",
    )
    generator_args: dict[str, Argument] | None = Field(
        default=None, description="Keyword arguments of your generator; each may be searched."
    )
    critic_args: dict[str, Argument] | None = Field(
        default=None, description="Keyword arguments of your critic; each may be searched."
    )
    latent_dim: Whole | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Length of the latent vector z; mlp 32, dcgan 100, resnet 128.",
    )
    generator_width: Whole | None = Field(
        default=None,
        ge=1,
        le=16384,
        description="mlp: units in a hidden layer, 128. dcgan: channels of the layer next to the "
        "image, doubled at every further halving up to eightfold, 64. resnet: channels, 128.",
    )
    generator_depth: Whole | None = Field(
        default=None,
        ge=1,
        le=32,
        description="mlp: hidden layers, 2. dcgan: convolutions at each side, 1. resnet: residual "
        "blocks at each side, 1.",
    )
    generator_activation: Activation | None = Field(
        default=None,
        description="relu. softplus: softplus(2x + 2) / 2 - 1 (Gulrajani 2017, Table 1).",
    )
    generator_norm: Norm | None = Field(
        default=None, description="After each hidden layer; batch. dcgan and resnet only."
    )
    critic_width: Whole | None = Field(
        default=None, ge=1, le=16384, description="As generator_width."
    )
    critic_depth: Whole | None = Field(
        default=None,
        ge=1,
        le=32,
        description="As generator_depth; resnet: blocks at the smallest side, 2.",
    )
    critic_activation: Activation | None = Field(
        default=None,
        description="mlp and resnet relu, dcgan leaky_relu. None under constraint orthogonal: "
        "GroupSort is part of it.",
    )
    critic_norm: Norm | None = Field(
        default=None,
        description="none. batch: only under clip and the GAN losses. dcgan and resnet only, and "
        "not under spectral_norm and orthogonal.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        filled = fill(given, {"architecture": DEFAULT_ARCHITECTURE})
        name = filled.get("architecture") or DEFAULT_ARCHITECTURE
        return fill(filled, ARCHITECTURES.get(name, {}) if isinstance(name, str) else {})
