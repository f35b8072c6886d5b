"""Which trial is best, and whether a search is done: of the study's trials and of a table's rows.

``w1`` at different rungs does not compare, so that only completed trials are ranked. Nothing heavy
is imported: ``tuner.list`` ranks many searches at a time.
"""

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from tuner.study import Trial


class Ranked(Protocol):
    """What a trial is ranked by; ``status`` is ``None`` until it ends."""

    @property
    def number(self) -> int:
        """Its place among the proposals."""
        ...

    @property
    def status(self) -> str | None:
        """How it ended."""
        ...

    @property
    def score(self) -> float | None:
        """What its last rung said of it."""
        ...

    @property
    def final(self) -> Mapping[str, float] | None:
        """What the final said of it, ``w1_final`` among it."""
        ...


AnyTrial = TypeVar("AnyTrial", bound=Ranked)


def ranked(trials: Iterable[AnyTrial]) -> list[AnyTrial]:
    """Sort the completed trials by their score at the last rung, the lowest first."""
    scored = [(t.score, t.number, t) for t in trials if t.status == "completed"]
    return [trial for *_, trial in sorted(s for s in scored if s[0] is not None)]


def placed(trials: Iterable[AnyTrial]) -> list[AnyTrial]:
    """Sort the completed trials from the best on: by ``w1_final``, then those without one.

    Of equal ones the one of the better score, then the first.
    """
    return sorted(ranked(trials), key=lambda trial: (trial.final is None, w1_final(trial)))


def best_of(trials: Iterable[AnyTrial]) -> AnyTrial | None:
    """Return the first of :func:`placed`; ``None`` where none has completed."""
    return next(iter(placed(trials)), None)


def w1_final(trial: Ranked) -> float:
    """Return the score by the final; infinite of a trial that was not in it."""
    return math.inf if trial.final is None else trial.final["w1_final"]


def is_finished(
    trials: Sequence[Ranked],
    *,
    num_trials: int | None,
    budget_s: float | None,
    elapsed_s: float,
    num_finalists: int,
) -> bool:
    """Tell whether a resume of a search would find nothing to do.

    Args:
        trials: All that were proposed.
        num_trials: How many it asks for, if it says.
        budget_s: The seconds that it may run, if it says.
        elapsed_s: The seconds that it has run.
        num_finalists: How many the final scores again.
    """
    has_asked = num_trials is not None and len(trials) >= num_trials
    is_over = budget_s is not None and elapsed_s >= budget_s
    has_ended = all(trial.status is not None for trial in trials)
    finalists = ranked(trials)[:num_finalists]
    return has_ended and (has_asked or is_over) and all(t.final is not None for t in finalists)


class Leaderboard:
    """How the trials stand, kept as each changes: no answer looks at all of them.

    It gives the results of :func:`ranked` and :func:`best_of` without a look at all trials.
    """

    def __init__(self, trials: Mapping[int, "Trial"]) -> None:
        """Look at all trials once; of one that changes, :meth:`update` is to be told."""
        self._trials = trials
        self._ranked: list[tuple[float, int]] = []
        self._in_final: set[int] = set()
        self._counted: set[int] = set()
        self._at_rungs: dict[int, set[int]] = {}
        self._best_at: dict[int, float] = {}
        #: Trials that ended, by status.
        self.counts: Counter[str] = Counter()
        for number in trials:
            self.update(number)

    def update(self, number: int) -> None:
        """Take note of how a trial stands: what it has scored, and how it ended, stays."""
        trial = self._trials[number]
        for steps, score in trial.scores.items():
            self._at_rungs.setdefault(steps, set()).add(number)
            self._best_at[steps] = min(score, self._best_at.get(steps, math.inf))
        if trial.final is not None:
            self._in_final.add(number)
        if trial.status is None or number in self._counted:
            return
        self._counted.add(number)
        self.counts[trial.status] += 1
        if trial.status == "completed" and trial.score is not None:
            bisect.insort(self._ranked, (trial.score, number))

    @property
    def best(self) -> "Trial | None":
        """The :func:`best_of` all trials."""
        first = [number for _, number in self._ranked[:1]]
        return best_of(self._trials[number] for number in [*first, *self._in_final])

    def leading(self, num: int) -> list["Trial"]:
        """The first so many of :func:`ranked`."""
        return [self._trials[number] for _, number in self._ranked[:num]]

    def at_rung(self, steps: int) -> tuple[int, float | None]:
        """How many trials were scored at a rung, and the lowest score."""
        return len(self._at_rungs.get(steps, ())), self._best_at.get(steps)


def tied_with(best: "Trial", trials: Iterable["Trial"]) -> list["Trial"]:
    """Trials that the final cannot tell from the best: not by more than chance, at 95%."""
    if best.final is None:
        return []
    others = [t for t in ranked(trials) if t.final is not None and t.number != best.number]
    return [
        t for t in others if w1_final(t) - w1_final(best) <= half_width(_stderr_between(t, best))
    ]


def half_width(stderr: float) -> float:
    """Half of the interval that holds 95% of a normal distribution."""
    return 1.96 * stderr


def _stderr_between(one: "Trial", other: "Trial") -> float:
    return math.hypot(*(t.final["w1_final_stderr"] for t in (one, other) if t.final))
