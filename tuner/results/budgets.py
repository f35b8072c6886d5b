"""What a search has used, compared with the budgets that end it.

This module imports nothing slow, since ``tuner.list`` compares many searches at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True)
class Spent:
    """What the trials of a search have used, without its final.

    Attributes:
        elapsed_s: Seconds of all sessions.
        generator_steps: Generator steps of all trials.
        trial_s: Seconds of training and scoring of all trials, as if one after the other.
        gpus_per_trial: GPUs that each of them occupied.
    """

    elapsed_s: float
    generator_steps: int
    trial_s: float
    gpus_per_trial: float

    def shares_of(self, search: Mapping[str, Any]) -> dict[str, float]:
        """Return the used share of each budget by its key.

        Args:
            search: The section ``search``, or its budgets alone.
        """
        used = {
            "time_budget_s": self.elapsed_s,
            "generator_steps": float(self.generator_steps),
            "gpu_hours": self.trial_s * self.gpus_per_trial / 3600,
        }
        budgets = {key: search[key] for key in used if search.get(key) is not None}
        return {key: used[key] / budget for key, budget in budgets.items()}

    def exceeds(self, search: Mapping[str, Any]) -> bool:
        """Tell whether any budget is used up."""
        return any(share >= 1 for share in self.shares_of(search).values())


def trial_seconds(metrics: Mapping[str, float]) -> float:
    """Return the seconds of training and scoring up to a report of a trial."""
    return metrics.get("training_seconds", 0.0) + metrics.get("scoring_seconds", 0.0)
