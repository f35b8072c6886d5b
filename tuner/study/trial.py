"""A trial as everybody outside the study sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from trainables.config import TrialConfig  # a list of searches needs the statuses alone

#: How a trial ended.
Status = Literal["completed", "stopped", "diverged", "failed"]
ENDINGS: tuple[str, ...] = get_args(Status)
#: In addition, that of a trial which has not ended.
STATUSES = (*ENDINGS, "running")


@dataclass(frozen=True)
class Trial:
    """What is known of a trial. ``status`` is ``None`` until it ends.

    ``scores`` are what ranked it at the rungs, by generator step; ``metrics`` the last report;
    ``checkpoints`` where the last two are, the newer first; ``final`` what the final said of it, if
    it was in it: ``w1_final``, ``w1_final_stderr``, ``generator_steps`` and more.
    """

    number: int
    config: "TrialConfig"
    params: Mapping[str, Any]
    scores: Mapping[int, float]
    status: Status | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    message: str | None = None
    checkpoints: tuple[str, ...] = ()
    final: Mapping[str, float] | None = None

    @property
    def trial_id(self) -> str:
        """The number as everybody outside shows it."""
        return f"{self.number:05d}"

    def name_in(self, search: str) -> str:
        """Return its name among the trials of all searches, given the name of its own."""
        return f"{search}_{self.trial_id}"

    @property
    def checkpoint(self) -> str | None:
        """Where its last checkpoint is."""
        return self.checkpoints[0] if self.checkpoints else None

    def with_metrics(self, metrics: Mapping[str, float]) -> "Trial":
        """The same trial with another last report."""
        return replace(self, metrics=metrics)

    @property
    def score(self) -> float | None:
        """What ranked it at its last rung."""
        return self.scores[max(self.scores)] if self.scores else None

    @property
    def generator_steps(self) -> int:
        """Steps trained, as last reported."""
        return int(self.metrics.get("generator_steps", 0))
