"""What one trial is, as frozen data: checked here, without torch, before anything is trained.

A section of a search space (``data``, ``networks``, ``training``, ``objective``) is one class
below, so an error can name the key exactly as its author wrote it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from trainables.config.methods import (
    ARCHITECTURES,
    DATASETS,
    DEFAULT_ARCHITECTURE,
    DEFAULT_CONSTRAINT,
    DEFAULT_LOSS,
    PUBLISHED,
    Activation,
    Architecture,
    Constraint,
    Loss,
    Norm,
    applies,
    fill,
    refused_together,
    why_no_effect,
)

_OWN_NETWORK = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def plain_number(value: object) -> object:
    """Read ``"1e-4"`` as the number it plainly is: YAML 1.1 makes it a string (``1.0e-4`` not)."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return value


def plain_integer(value: object) -> object:
    """Read ``"1e3"`` and ``1000.0`` as 1000; leave what is not a whole number to be refused."""
    number = plain_number(value)
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return value


Real = Annotated[
    float, BeforeValidator(plain_number), Field(strict=True, allow_inf_nan=False), "number"
]
#: Every generator here takes a seed below it.
_SEED_LIMIT = 2**32

Whole = Annotated[int, BeforeValidator(plain_integer), Field(strict=True), "whole number"]


class Frozen(BaseModel):
    """Base of every section: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Conditional(Frozen):
    """A section some of whose keys exist only under others' values: else they are ``None``."""

    @model_validator(mode="after")
    def _refuse_what_does_not_apply(self) -> "Conditional":
        own = type(self).model_fields
        possible = {key: (getattr(self, key),) for key in own}
        for key in own:
            why = why_no_effect(key, possible)
            if why and getattr(self, key) is not None:
                raise ValueError(f"{key} {why}")
        return self


class DataConfig(Conditional):
    """Which data, and how it is split between the trials and the objective. None is searched."""

    dataset: Literal[
        "digits",
        "eight_gaussians",
        "twenty_five_gaussians",
        "swiss_roll",
        "two_moons",
        "parallel_lines",
        "mnist",
        "fashion_mnist",
        "kmnist",
        "cifar10",
        "celeba",
        "image_folder",
        "array",
    ] = Field(
        default="digits",
        description="digits: scikit-learn's 1,797 scanned 8x8 digits. eight_gaussians, "
        "twenty_five_gaussians, swiss_roll: points in 2-D (Gulrajani 2017); two_moons; "
        "parallel_lines: two of distance 1 (after Arjovsky 2017, Example 1). mnist, "
        "fashion_mnist, kmnist, cifar10, celeba: torchvision's. image_folder: all images below a "
        "folder. array: images or vectors in an .npy or .npz file.",
    )
    path: Annotated[str, Field(strict=True, min_length=1)] | None = Field(
        default=None,
        description="The folder or file; data, for torchvision's. Relative to where the search is "
        "started.",
    )
    array_name: Annotated[str, Field(strict=True, min_length=1)] | None = Field(
        default=None, description="Which array of an .npz file that has several. array only."
    )
    side: Whole | None = Field(
        default=None,
        ge=8,
        le=256,
        description="Pixels of an image's side: the shorter one is resized to it, and the centre "
        "cut out; 32, of celeba 64. image_folder and celeba only.",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1: grey, 3: colour; 3. image_folder only."
    )
    max_corrupt_share: Real | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Share of files that may be unreadable: they are named and left out; 0.01. "
        "image_folder only.",
    )
    download: Annotated[bool, Field(strict=True)] | None = Field(
        default=None,
        description="Whether files that are not there may be fetched; false. torchvision's only.",
    )
    split_seed: Whole = Field(
        default=0,
        ge=0,
        description="Seed of the split into the trials' part and the held-out parts.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        dataset = given.get("dataset") if isinstance(given, Mapping) else None
        return fill(given, DATASETS.get(dataset, {})) if isinstance(dataset, str) else given

    @model_validator(mode="after")
    def _has_a_path(self) -> "DataConfig":
        if self.path is None and self.dataset in ("image_folder", "array"):
            kind = (
                "a folder of images" if self.dataset == "image_folder" else "an .npy or .npz file"
            )
            raise ValueError(f"path is required for {self.dataset}: give {kind}")
        return self


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


class TrainingConfig(Conditional):
    """How a trial trains: Algorithm 1 of Gulrajani 2017, Arjovsky 2017 or Goodfellow 2014.

    A key left out gets the value that its method's own paper publishes. A key that does not
    apply (``clip_value`` under a penalty) is ``None``, and giving it a value is an error.
    """

    loss: Loss = Field(
        default=DEFAULT_LOSS,
        description="What the players play for. wasserstein: WGAN (Arjovsky 2017, eq. 3). "
        "minimax: the GAN of Goodfellow 2014, eq. 1. non_saturating: the same critic, and a "
        "generator that maximises log D(G(z)) (Goodfellow 2014, section 3).",
    )
    constraint: Constraint | None = Field(
        default=None,
        description="What keeps the critic Lipschitz; gradient_penalty. wasserstein only. "
        "gradient_penalty: two-sided (Gulrajani 2017, eq. 3). one_sided_penalty: WGAN-LP (Petzka "
        "2018, eq. 8). clip: every weight in [-clip_value, clip_value] (Arjovsky 2017, "
        "Algorithm 1). spectral_norm: every layer's weights over their largest singular value "
        "(Miyato 2018, eq. 8). orthogonal: orthonormal weights and GroupSort (Anil 2019).",
    )
    gp_weight: Real | None = Field(
        default=None, gt=0, description="Weight of the penalty (lambda); 10. Penalties only."
    )
    clip_value: Real | None = Field(
        default=None, gt=0, description="Bound on every critic weight (c); 0.01. Clipping only."
    )
    instance_noise: Real | None = Field(
        default=None,
        ge=0,
        description="Standard deviation, in the data's units, of the Gaussian noise on all that "
        "the critic sees (Arjovsky & Bottou 2017, section 3); 0. minimax and non_saturating only.",
    )
    n_critic: Whole = Field(
        default=5,
        ge=1,
        le=1000,
        description="Critic steps per generator step; 5, under a GAN loss 1.",
    )
    batch_size: Whole = Field(
        default=64, ge=2, le=65536, description="Samples in a step of either player."
    )
    optimizer: Literal["adam", "rmsprop", "adamw"] = Field(
        default="adam", description="rmsprop under clipping, else adam, unless given."
    )
    critic_lr: Real = Field(
        default=1e-4,
        gt=0,
        description="Critic's learning rate; 1e-4, under clipping 5e-5, under a GAN loss 2e-4.",
    )
    generator_lr: Real = Field(
        default=1e-4,
        gt=0,
        description="Generator's learning rate; 1e-4, under clipping 5e-5, under a GAN loss 2e-4.",
    )
    beta1: Real | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Adam's first decay; 0, under spectral_norm and a GAN loss 0.5. Adam and "
        "AdamW only.",
    )
    beta2: Real | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Adam's second decay; 0.9, under a GAN loss 0.999. Adam and AdamW only.",
    )
    weight_decay: Real | None = Field(
        default=None, ge=0, description="AdamW's, of both players; 0.01. AdamW only."
    )
    lr_decay: Literal["constant", "linear"] = Field(
        default="constant",
        description="linear: both learning rates fall to zero at asha.max_generator_steps "
        "(Gulrajani 2017, appendix F).",
    )
    ema_decay: Real = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Above 0, the exponential moving average of the generator's weights, which "
        "keeps this much at each step, is what is scored and saved (Yazici 2019).",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="bfloat16: the networks compute in it by autocast; weights, losses and "
        "penalties stay float32.",
    )
    compile: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Whether torch.compile makes the networks' code."
    )
    cuda_graph: Annotated[bool, Field(strict=True)] = Field(
        default=False,
        description="Whether a generator step, its critic steps included, is captured as a CUDA "
        "graph and launched by one call: for GPUs, on a CPU it changes nothing. Unmeasured. "
        "Networks of your own must read no number back from the GPU. Not under orthogonal.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_published_values(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        filled = fill({"loss": DEFAULT_LOSS} | dict(given), {"constraint": DEFAULT_CONSTRAINT})
        method = filled["constraint" if filled["loss"] == "wasserstein" else "loss"]
        return fill(filled, PUBLISHED.get(method, {}) if isinstance(method, str) else {})


@dataclass(frozen=True)
class CriticBudget:
    """How the independent critic is trained. Readings compare under one budget only.

    Attributes:
        critic_steps: Steps of training.
        num_critics: Critics whose readings are averaged.
        batch_size: Real samples, and generated ones, in a critic's step.
        learning_rate: Adam's first one; it ends at zero.
        num_generated: Generated samples that they train on, and as many that they are read on.
        seed: Of their initial weights, batches and latents.
    """

    critic_steps: int
    num_critics: int
    batch_size: int
    learning_rate: float
    num_generated: int
    seed: int


#: All that may be searched where the trials' own critics rank them: whatever else a search varies,
#: it varies the critic, and with it the scale of its estimate.
GENERATOR_ALONE = (
    "networks.generator",
    "networks.generator_args",
    "networks.latent_dim",
    "networks.generator_width",
    "networks.generator_depth",
    "networks.generator_activation",
    "networks.generator_norm",
    "training.generator_lr",
    "training.ema_decay",
)


class ObjectiveConfig(Frozen):
    """The independent critic that scores every trial of a search alike. None of it is searched."""

    name: Literal["independent_critic", "critic_estimate"] = Field(
        default="independent_critic",
        description="What ranks the trials. independent_critic: w1, estimated by critics trained "
        "from scratch at each rung on held-out data, the same for every trial. critic_estimate: "
        "the trial's own critic's, only where nothing that sets its scale is searched. The final "
        "is by independent critics under either. In place of the section, its name will do.",
    )
    critic_steps: Whole = Field(
        default=200,
        ge=1,
        le=100_000,
        description="Steps that the independent critics train at each rung.",
    )
    num_critics: Whole = Field(
        default=2, ge=1, le=64, description="Independent critics averaged at each rung."
    )
    final_trials: Whole = Field(
        default=3,
        ge=0,
        le=100,
        description="The best completed trials, scored again at the end by stronger critics on "
        "data that no rung has read; the best of them wins. 0: none.",
    )
    final_critic_steps: Whole = Field(
        default=600, ge=1, le=1_000_000, description="Steps that the final's critics train."
    )
    final_num_critics: Whole = Field(
        default=4, ge=1, le=64, description="Independent critics averaged at the final."
    )
    seed: Whole = Field(
        default=0,
        ge=0,
        lt=_SEED_LIMIT,
        description="Seed of their initial weights, batches and latents.",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @property
    def metric(self) -> Literal["w1", "critic_estimate"]:
        """The metric that ranks the trials; lower is better."""
        return "w1" if self.name == "independent_critic" else "critic_estimate"

    def score_of(self, report: Mapping[str, Any]) -> float | None:
        """What ranks a trial by its report at a rung; between rungs, where ``w1`` is not, none."""
        return report[self.metric] if "w1" in report else None

    @property
    def rung(self) -> CriticBudget:
        """The budget at every rung."""
        return CriticBudget(self.critic_steps, self.num_critics, 64, 1e-2, 8192, self.seed)

    @property
    def final(self) -> CriticBudget:
        """The budget of the final."""
        return CriticBudget(
            self.final_critic_steps, self.final_num_critics, 128, 5e-3, 16384, self.seed
        )


class TrialConfig(Frozen):
    """Everything that one trial depends on; the same configuration gives the same numbers."""

    data: DataConfig = DataConfig()
    networks: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    max_generator_steps: Whole = Field(
        default=4000, ge=1, description="Where training ends; a linear lr_decay reaches zero there."
    )
    seed: Whole = Field(
        default=0, ge=0, lt=_SEED_LIMIT, description="Seed of initial weights, batches and latents."
    )

    @model_validator(mode="after")
    def _refuse_what_does_not_go_together(self) -> "TrialConfig":
        values = {**dict(self.networks), **dict(self.training)}
        for key, why in refused_together({k: (v,) for k, v in values.items()}):
            raise ValueError(f"{key} {why}")
        return self

    def applied(self) -> dict[str, Any]:
        """All sections as plain data, without what does not apply to this trial."""
        values = {**dict(self.networks), **dict(self.training)}
        return {
            section: {k: v for k, v in content.items() if applies(k, values)}
            if section in ("networks", "training")
            else content
            for section, content in self.model_dump(mode="json", exclude_none=True).items()
        }
