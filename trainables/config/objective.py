"""The independent critic that scores trials."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from trainables.config.base import SEED_LIMIT, Frozen, Whole
from trainables.metrics import METRICS


@dataclass(frozen=True)
class CriticBudget:
    """How the independent critics are trained. Only estimates of one budget can be compared.

    Attributes:
        critic_steps: Training steps.
        num_critics: Critics whose estimates are averaged.
        batch_size: Real samples, and as many generated ones, in a step of one critic.
        learning_rate: Adam's initial learning rate; it decays to zero.
        num_generated: Generated samples to train on, and as many others to evaluate on.
        seed: Seed of the critics' initial weights, batches and latents.
    """

    critic_steps: int
    num_critics: int
    batch_size: int
    learning_rate: float
    num_generated: int
    seed: int


#: The keys that may be searched where each trial is ranked by the estimate of its own critic. Any
#: other key changes the critic, and with it the scale of its estimate.
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
    """The metric that ranks the trials, and its critics. No key may be searched."""

    name: Literal["independent_critic", "critic_estimate"] = Field(
        default="independent_critic",
        description="Metric that ranks the trials. independent_critic: w1, estimated at each rung "
        "by critics that are trained from scratch on held-out data, alike for every trial. "
        "critic_estimate: the estimate of the trial's own critic; only where nothing that sets its "
        "scale is searched. The final uses independent critics in either case. The name alone may "
        "stand in place of the section.",
    )
    critic_steps: Whole = Field(
        default=200,
        ge=1,
        le=100_000,
        description="Training steps of the independent critics at each rung.",
    )
    num_critics: Whole = Field(
        default=2,
        ge=1,
        le=64,
        description="Independent critics whose estimates are averaged at each rung.",
    )
    final_trials: Whole = Field(
        default=3,
        ge=0,
        le=100,
        description="Number of the best completed trials that are scored again at the end, by "
        "stronger critics on data that no rung has used; the best of them wins. 0: no final.",
    )
    final_critic_steps: Whole = Field(
        default=600,
        ge=1,
        le=1_000_000,
        description="Training steps of the independent critics in the final.",
    )
    final_num_critics: Whole = Field(
        default=4,
        ge=1,
        le=64,
        description="Independent critics whose estimates are averaged in the final.",
    )
    seed: Whole = Field(
        default=0,
        ge=0,
        lt=SEED_LIMIT,
        description="Seed of the independent critics' initial weights, batches and latents.",
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_name_alone(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @property
    def metric(self) -> Literal["w1", "critic_estimate"]:
        """Return the name of the metric that ranks the trials; lower is better."""
        return METRICS[self.name]

    def score_of(self, report: Mapping[str, Any]) -> float | None:
        """Return the ranking metric of a report at a rung, or ``None`` for one between rungs.

        Only reports at a rung have ``w1``.
        """
        return report[self.metric] if "w1" in report else None

    @property
    def rung(self) -> CriticBudget:
        """Return the budget at every rung."""
        return CriticBudget(self.critic_steps, self.num_critics, 64, 1e-2, 8192, self.seed)

    @property
    def final(self) -> CriticBudget:
        """Return the budget of the final."""
        return CriticBudget(
            self.final_critic_steps, self.final_num_critics, 128, 5e-3, 16384, self.seed
        )
