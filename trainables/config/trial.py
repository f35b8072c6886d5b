"""What one trial is, as frozen data: checked here, without torch, before anything is trained.

A section of a search space (``data``, ``networks``, ``training``, ``objective``) is one class
below, so an error can name the key exactly as its author wrote it.
"""

from typing import Any

from pydantic import Field, model_validator

from trainables.config.base import (
    SEED_LIMIT,
    Frozen,
    Whole,
)
from trainables.config.data import DataConfig
from trainables.config.methods import (
    applies,
    refused_together,
)
from trainables.config.networks import NetworkConfig
from trainables.config.objective import ObjectiveConfig
from trainables.config.training import TrainingConfig


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
        default=0, ge=0, lt=SEED_LIMIT, description="Seed of initial weights, batches and latents."
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
