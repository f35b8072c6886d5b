"""A trial, independent of Optuna."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    # Slow to import; tuner.list needs only the statuses.
    from trainables.config import TrialConfig
    from tuner.space import SearchSpec

#: How a trial ended.
Status = Literal["completed", "stopped", "diverged", "failed"]
ENDINGS: tuple[str, ...] = get_args(Status)
#: All statuses that a trial may be displayed with; one waits at a rung to be promoted.
STATUSES = (*ENDINGS, "running", "waiting")

#: The parts of a score in the final by which it is compared with another: the fields of
#: :class:`trainables.objective.Readings`.
Readings = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class FinalScore:
    """A score by the critics of the final, of a trial's generator or of real samples.

    ``seconds`` are those of the clock, ``cpu_seconds`` those of the CPU that it took.
    ``diagnosis`` and ``faults`` are those of :class:`trainables.diagnostics.Diagnosis`, of a trial;
    ``comparison`` is that of :func:`trainables.comparison.compare`, plain data.
    """

    w1: float
    w1_stderr: float
    seconds: float
    cpu_seconds: float
    readings: Readings
    w1_train: float | None = None
    diagnosis: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    comparison: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Repeats:
    """How a configuration scored in the final with further seeds, of trials trained for it alone.

    ``w1`` is the ``w1_final`` by seed; ``None`` of a seed that diverged. ``seconds`` and
    ``cpu_seconds`` are those of all its training and scoring.
    """

    w1: Mapping[int, float | None]
    seconds: float
    cpu_seconds: float

    @property
    def scores(self) -> list[float]:
        """Return the scores of the seeds that did not diverge."""
        return [w1 for w1 in self.w1.values() if w1 is not None]

    @property
    def values(self) -> dict[str, float]:
        """Return their summary, as it stands next to ``w1_final``.

        ``w1_final_mean`` is missing if every seed diverged, and ``w1_final_mean_stderr``, the
        standard error over seeds, if fewer than two did not.
        """
        scores = self.scores
        values = {
            "final_seeds": float(len(scores)),
            "final_seeds_diverged": float(len(self.w1) - len(scores)),
            "final_seeds_seconds": self.seconds,
            "final_seeds_cpu_seconds": self.cpu_seconds,
        }
        if scores:
            values["w1_final_mean"] = statistics.fmean(scores)
        if len(scores) > 1:
            stderr = statistics.stdev(scores) / math.sqrt(len(scores))
            values["w1_final_mean_stderr"] = stderr
        return values


@dataclass(frozen=True)
class Trial:
    """The state of a trial.

    ``status`` is ``None`` until the trial ends. ``scores`` are its scores at the rungs, by
    generator step; ``metrics`` is its last report; ``checkpoints`` are the paths of the last two,
    the newer first. ``final`` has ``w1_final``, ``w1_final_stderr``, ``generator_steps``, its
    diagnosis and more, if the trial was in the final; ``final_readings`` are the parts of that
    score, unless an earlier version measured it. ``ended_unix_time_s`` is when it ended.
    ``generators`` are the folders of the generators that are kept, by generator step: of the best
    and the latest rung. ``repeats`` are the trainings of its configuration with further seeds, if
    the final had any. ``waiting_at`` is the rung at which it waits to be promoted, if it does.
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
    generators: Mapping[int, str] = field(default_factory=dict)
    repeats: "Repeats | None" = None
    waiting_at: int | None = None

    @property
    def shown_status(self) -> str:
        """Return the status as it is displayed, one of :data:`STATUSES`."""
        return self.status or ("running" if self.waiting_at is None else "waiting")

    @property
    def rests(self) -> bool:
        """Return whether it has not continued from its last rung: it waits or was stopped there."""
        was_stopped = self.status == "stopped" and self.generator_steps == self.last_rung
        return was_stopped or self.waiting_at is not None

    @property
    def trial_id(self) -> str:
        """Return the number as it is displayed, with five digits."""
        return f"{self.number:05d}"

    def name_in(self, search: str) -> str:
        """Return its name among the trials of all searches, given the name of its own."""
        return f"{search}_{self.trial_id}"

    def folder_in(self, spec: "SearchSpec") -> str:
        """Return the name of the folder in which it starts to write its checkpoints.

        A promoted trial starts several times in one session, and would write over its checkpoints.
        """
        is_promoted = spec.asha.promotes and self.last_rung is not None
        return self.name_in(spec.name) + f"_from_{self.last_rung}" * is_promoted

    @property
    def checkpoint(self) -> str | None:
        """Return the path of the last checkpoint, if any."""
        return self.checkpoints[0] if self.checkpoints else None

    def with_metrics(self, metrics: Mapping[str, float]) -> "Trial":
        """Return a copy of the trial with another last report."""
        return replace(self, metrics=metrics)

    @property
    def best_rung(self) -> int | None:
        """Return the generator step of the generator that stands for the trial.

        It is the best rung of those whose generator is kept. Without any, as in searches of
        earlier versions, it is the last rung. A trial of the final keeps the rung scored there.
        """
        if self.final is not None and "generator_steps" in self.final:
            return int(self.final["generator_steps"])
        kept = {steps: score for steps, score in self.scores.items() if steps in self.generators}
        return best_rung(kept, self.config.objective.metric) or self.last_rung

    @property
    def last_rung(self) -> int | None:
        """Return the generator step of the last score, or ``None`` before the first."""
        return max(self.scores, default=None)

    @property
    def score(self) -> float | None:
        """Return the score at the best rung, by which trials are ranked."""
        return None if self.best_rung is None else self.scores.get(self.best_rung)

    @property
    def last_score(self) -> float | None:
        """Return the score at the last rung, or ``None`` before the first."""
        return None if self.last_rung is None else self.scores[self.last_rung]

    @property
    def w1(self) -> float | None:
        """Return the ``w1`` at the best rung, also where another metric ranks the trials."""
        return self.score if self.config.objective.metric == "w1" else self.metrics.get("w1")

    @property
    def best_generator(self) -> str | None:
        """Return the folder of the generator of the best rung, if any."""
        kept = None if self.best_rung is None else self.generators.get(self.best_rung)
        return kept or self.checkpoint

    @property
    def generator_steps(self) -> int:
        """Return the generator steps of the last report."""
        return int(self.metrics.get("generator_steps", 0))


def best_rung(scores: Mapping[int, float], metric: str) -> int | None:
    """Return the generator step of the best of a trial's scores; ``None`` without scores.

    Values of ``w1`` at different rungs of one trial compare: the same independent critic trains on
    the same data. Estimates of the trial's own critic do not, as it changes: there the last counts.

    Args:
        scores: The scores by generator step. Of equal ones the first is the best.
        metric: The metric that ranks the trials.
    """
    if metric != "w1":
        return max(scores, default=None)
    return min(sorted(scores), key=lambda steps: scores[steps], default=None)
