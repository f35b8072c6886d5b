"""The configuration of one trial: all sections together, and the rules across them."""

from typing import Any

from pydantic import Field, model_validator

from trainables.config.base import SEED_LIMIT, Frozen, Whole
from trainables.config.data import DataConfig
from trainables.config.methods import CRITIC_FREE, applies, refused_together
from trainables.config.networks import NetworkConfig
from trainables.config.objective import ObjectiveConfig, no_estimate
from trainables.config.training import TrainingConfig


class TrialConfig(Frozen):
    """Everything that a trial's result depends on: equal configurations give equal numbers."""

    data: DataConfig = DataConfig()
    networks: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    max_generator_steps: Whole = Field(
        default=4000,
        ge=1,
        description="Generator steps of a complete trial; a linear lr_decay reaches zero there.",
    )
    seed: Whole = Field(
        default=0,
        ge=0,
        lt=SEED_LIMIT,
        description="Seed of the initial weights, batches and latents.",
    )

    @model_validator(mode="after")
    def _refuse_combinations(self) -> "TrialConfig":
        values = {**dict(self.networks), **dict(self.training)}
        for key, fault in refused_together({k: (v,) for k, v in values.items()}):
            raise ValueError(f"{key} {fault}")
        if self.objective.name == "critic_estimate" and self.training.loss in CRITIC_FREE:
            raise ValueError(no_estimate(self.training.loss))
        size, pack = self.training.batch_size, self.training.pack
        if size % pack:
            raise ValueError(f"batch_size must be a multiple of pack ({pack}), got {size}")
        return self

    def applied(self) -> dict[str, Any]:
        """Return all sections as plain data, without the keys that do not apply to this trial."""
        values = {**dict(self.networks), **dict(self.training)}
        return {
            section: {k: v for k, v in content.items() if applies(k, values)}
            if section in ("networks", "training")
            else content
            for section, content in self.model_dump(mode="json", exclude_none=True).items()
        }
