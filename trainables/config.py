"""What one trial is, as frozen data: checked here, without torch, before anything is trained.

A section of a search space (``data``, ``networks``, ``training``, ``objective``) is one class
below, so an error can name the key exactly as its author wrote it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from trainables.methods import (
    APPLIES_WHEN,
    DEFAULT_CONSTRAINT,
    DEFAULT_LOSS,
    PUBLISHED,
    Constraint,
    Loss,
    why_no_effect,
)

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


class DataConfig(Frozen):
    """Which data, and how it is split between the trials and the objective."""

    dataset: Literal["digits", "eight_gaussians", "twenty_five_gaussians", "swiss_roll"] = Field(
        default="digits",
        description="digits: scikit-learn's 1,797 scanned 8x8 digits. "
        "eight_gaussians, twenty_five_gaussians, swiss_roll: points in 2-D (Gulrajani 2017).",
    )
    split_seed: Whole = Field(
        default=0,
        ge=0,
        description="Seed of the split into the trials' part and the held-out parts.",
    )


class NetworkConfig(Frozen):
    """The generator and the critic of a trial."""

    architecture: Literal["mlp"] = Field(default="mlp", description="mlp: fully connected, ReLU.")
    latent_dim: Whole = Field(
        default=32, ge=1, le=4096, description="Length of the latent vector z."
    )
    generator_width: Whole = Field(
        default=128, ge=1, le=16384, description="Units in a hidden layer."
    )
    generator_depth: Whole = Field(default=2, ge=1, le=32, description="Hidden layers.")
    critic_width: Whole = Field(default=128, ge=1, le=16384, description="Units in a hidden layer.")
    critic_depth: Whole = Field(default=2, ge=1, le=32, description="Hidden layers.")


class TrainingConfig(Frozen):
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
        "Algorithm 1).",
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
    optimizer: Literal["adam", "rmsprop"] = Field(
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
        description="Adam's first decay; 0, under a GAN loss 0.5. Adam only.",
    )
    beta2: Real | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Adam's second decay; 0.9, under a GAN loss 0.999. Adam only.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_published_values(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        filled = {"loss": DEFAULT_LOSS} | dict(given)
        if filled["loss"] == "wasserstein" and filled.get("constraint") is None:
            filled["constraint"] = DEFAULT_CONSTRAINT
        method = filled["constraint" if filled["loss"] == "wasserstein" else "loss"]
        published = PUBLISHED.get(method, {}) if isinstance(method, str) else {}
        for key, value in published.items():
            if key not in APPLIES_WHEN:
                filled.setdefault(key, value)
                continue
            parent, values = APPLIES_WHEN[key]
            if filled[parent] in values and filled.get(key) is None:
                filled[key] = value
        return filled

    @model_validator(mode="after")
    def _refuse_what_does_not_apply(self) -> "TrainingConfig":
        possible = {parent: (getattr(self, parent),) for parent, _ in APPLIES_WHEN.values()}
        for key in APPLIES_WHEN:
            why = why_no_effect(key, possible)
            if why and getattr(self, key) is not None:
                raise ValueError(f"{key} {why}")
        return self


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
    "networks.latent_dim",
    "networks.generator_width",
    "networks.generator_depth",
    "training.generator_lr",
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
    seed: Whole = Field(
        default=0, ge=0, lt=_SEED_LIMIT, description="Seed of initial weights, batches and latents."
    )
