"""What one trial is, as frozen data: checked here, without torch, before anything is trained.

A section of a search space (``data``, ``networks``, ``training``, ``objective``) is one class
below, so an error can name the key exactly as its author wrote it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

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


Constraint = Literal["gradient_penalty", "one_sided_penalty", "clip"]

#: A hyperparameter that exists only under certain values of another one.
APPLIES_WHEN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "gp_weight": ("constraint", ("gradient_penalty", "one_sided_penalty")),
    "clip_value": ("constraint", ("clip",)),
    "beta1": ("optimizer", ("adam",)),
    "beta2": ("optimizer", ("adam",)),
}

_GULRAJANI = {"optimizer": "adam", "critic_lr": 1e-4, "generator_lr": 1e-4}
_ARJOVSKY = {"optimizer": "rmsprop", "critic_lr": 5e-5, "generator_lr": 5e-5}

#: Algorithm 1 of each paper, where the methods differ in more than their constraint.
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "gradient_penalty": _GULRAJANI,
    "one_sided_penalty": _GULRAJANI,
    "clip": _ARJOVSKY,
}

#: The papers' values of the hyperparameters that do not always apply.
WHERE_THEY_APPLY: Mapping[str, float] = {
    "gp_weight": 10.0,
    "clip_value": 0.01,
    "beta1": 0.0,
    "beta2": 0.9,
}


class TrainingConfig(Frozen):
    """How a trial trains: Algorithm 1 of Gulrajani et al. 2017 or of Arjovsky et al. 2017.

    A key left out gets the value that the constraint's own paper publishes. A key that does not
    apply (``clip_value`` under a penalty) is ``None``, and giving it a value is an error.
    """

    constraint: Constraint = Field(
        default="gradient_penalty",
        description="What keeps the critic Lipschitz. gradient_penalty: two-sided (Gulrajani "
        "2017, eq. 3). one_sided_penalty: WGAN-LP (Petzka 2018, eq. 8). clip: every weight in "
        "[-clip_value, clip_value] (Arjovsky 2017, Algorithm 1).",
    )
    gp_weight: Real | None = Field(
        default=None, gt=0, description="Weight of the penalty (lambda); 10. Penalties only."
    )
    clip_value: Real | None = Field(
        default=None, gt=0, description="Bound on every critic weight (c); 0.01. Clipping only."
    )
    n_critic: Whole = Field(
        default=5, ge=1, le=1000, description="Critic steps per generator step."
    )
    batch_size: Whole = Field(
        default=64, ge=2, le=65536, description="Samples in a step of either player."
    )
    optimizer: Literal["adam", "rmsprop"] = Field(
        default="adam", description="adam under a penalty, rmsprop under clipping, unless given."
    )
    critic_lr: Real = Field(
        default=1e-4, gt=0, description="Critic's learning rate; 1e-4, under clipping 5e-5."
    )
    generator_lr: Real = Field(
        default=1e-4, gt=0, description="Generator's learning rate; 1e-4, under clipping 5e-5."
    )
    beta1: Real | None = Field(
        default=None, ge=0, lt=1, description="Adam's first decay; 0. Adam only."
    )
    beta2: Real | None = Field(
        default=None, ge=0, lt=1, description="Adam's second decay; 0.9. Adam only."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_published_values(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        constraint = given.get("constraint", "gradient_penalty")
        filled = dict(PUBLISHED.get(constraint, {}) if isinstance(constraint, str) else {})
        filled |= {"constraint": constraint} | dict(given)
        for key, (parent, values) in APPLIES_WHEN.items():
            if filled.get(parent) in values and filled.get(key) is None:
                filled[key] = WHERE_THEY_APPLY[key]
        return filled

    @model_validator(mode="after")
    def _refuse_what_does_not_apply(self) -> "TrainingConfig":
        for key, (parent, values) in APPLIES_WHEN.items():
            value = getattr(self, parent)
            if getattr(self, key) is not None and value not in values:
                raise ValueError(
                    f"{key} has no effect when {parent} is {value!r}: leave {key} out, "
                    f"or set {parent} to {' or '.join(values)}"
                )
        return self


@dataclass(frozen=True)
class CriticBudget:
    """How the independent critic is trained. Readings compare under one budget only.

    Attributes:
        critic_steps: Steps of training.
        num_critics: Critics whose readings are averaged.
        num_generated: Generated samples that they are read on, and that set their scale.
        seed: Of their initial weights, batches and latents.
    """

    critic_steps: int
    num_critics: int
    num_generated: int
    seed: int


class ObjectiveConfig(Frozen):
    """The independent critic that scores every trial of a search alike. None of it is searched."""

    name: Literal["independent_critic", "critic_estimate"] = Field(
        default="independent_critic",
        description="What ranks the trials. independent_critic: w1, estimated by critics trained "
        "from scratch at each rung on held-out data, the same for every trial. critic_estimate: "
        "the trial's own critic's, only where nothing that sets its scale is searched.",
    )
    critic_steps: Whole = Field(
        default=150,
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
        default=1000, ge=1, le=1_000_000, description="Steps that the final's critics train."
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

    @property
    def rung(self) -> CriticBudget:
        """The budget at every rung."""
        return CriticBudget(self.critic_steps, self.num_critics, 4096, self.seed)

    @property
    def final(self) -> CriticBudget:
        """The budget of the final."""
        return CriticBudget(self.final_critic_steps, self.final_num_critics, 16384, self.seed)


class TrialConfig(Frozen):
    """Everything that one trial depends on; the same configuration gives the same numbers."""

    data: DataConfig = DataConfig()
    networks: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    seed: Whole = Field(
        default=0, ge=0, lt=_SEED_LIMIT, description="Seed of initial weights, batches and latents."
    )
