"""The independent critic that scores trials."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from trainables.config.base import (
    SEED_LIMIT,
    Frozen,
    Whole,
)


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
        lt=SEED_LIMIT,
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
