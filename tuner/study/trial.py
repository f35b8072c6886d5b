"""A trial, independent of Optuna."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from trainables.config import TrialConfig  # slow to import; tuner.list needs only the statuses

#: How a trial ended.
Status = Literal["completed", "stopped", "diverged", "failed"]
ENDINGS: tuple[str, ...] = get_args(Status)
#: All statuses that a trial may be displayed with.
STATUSES = (*ENDINGS, "running")

#: The parts of a score in the final by which it is compared with another: the fields of
#: :class:`trainables.objective.Readings`.
Readings = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class FinalScore:
    """A score by the critics of the final, of a trial's generator or of real samples.

    ``seconds`` are those of the clock, ``cpu_seconds`` those of the CPU that it took.
    """

    w1: float
    w1_stderr: float
    seconds: float
    cpu_seconds: float
    readings: Readings


@dataclass(frozen=True)
class Trial:
    """The state of a trial.

    ``status`` is ``None`` until the trial ends. ``scores`` are its scores at the rungs, by
    generator step; ``metrics`` is its last report; ``checkpoints`` are the paths of the last two,
    the newer first. ``final`` has ``w1_final``, ``w1_final_stderr``, ``generator_steps`` and more,
    if the trial was in the final; ``final_readings`` are the parts of that score, unless an
    earlier version measured it. ``ended_unix_time_s`` is when it ended.
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
    final_readings: Readings | None = field(default=None, repr=False)
    ended_unix_time_s: float | None = field(default=None, compare=False)

    @property
    def trial_id(self) -> str:
        """Return the number as it is displayed, with five digits."""
        return f"{self.number:05d}"

    def name_in(self, search: str) -> str:
        """Return its name among the trials of all searches, given the name of its own."""
        return f"{search}_{self.trial_id}"

    @property
    def checkpoint(self) -> str | None:
        """Return the path of the last checkpoint, if any."""
        return self.checkpoints[0] if self.checkpoints else None

    def with_metrics(self, metrics: Mapping[str, float]) -> "Trial":
        """Return a copy of the trial with another last report."""
        return replace(self, metrics=metrics)

    @property
    def score(self) -> float | None:
        """Return the score at the last rung, or ``None`` before the first."""
        return self.scores[max(self.scores)] if self.scores else None

    @property
    def generator_steps(self) -> int:
        """Return the generator steps of the last report."""
        return int(self.metrics.get("generator_steps", 0))
