"""Rank trials, of the study or of a table, and decide whether a search is finished.

Only completed trials are ranked, which all had the same budget: a trial that was stopped had fewer
rungs to be good at. Each is ranked by its best rung, so that one that gets worse after it, as by
overtraining, counts by the generator that it had there. This module imports nothing slow, since
``tuner.list`` ranks many searches at a time.
"""

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from tuner.study import Trial


class Ranked(Protocol):
    """The attributes of a trial that the ranking uses."""

    @property
    def number(self) -> int:
        """Return the trial's number."""
        ...

    @property
    def status(self) -> str | None:
        """Return how the trial ended, or ``None`` if it has not."""
        ...

    @property
    def score(self) -> float | None:
        """Return the score at the best rung."""
        ...

    @property
    def final(self) -> Mapping[str, float] | None:
        """Return the scores of the final, by which :func:`placed` sorts."""
        ...


AnyTrial = TypeVar("AnyTrial", bound=Ranked)


def ranked(trials: Iterable[AnyTrial]) -> list[AnyTrial]:
    """Return the completed trials sorted by their score at the best rung, the lowest first."""
    scored = [(t.score, t.number, t) for t in trials if t.status == "completed"]
    return [trial for *_, trial in sorted(s for s in scored if s[0] is not None)]


def placed(trials: Iterable[AnyTrial]) -> list[AnyTrial]:
    """Return the completed trials, the best first.

    Those whose configuration the final trained with further seeds come first, sorted by the share
    of these that diverged, then by their mean; then the others of the final by ``w1_final``; then
    those that were not in the final. Ties are broken by the score at the best rung, then by number.
    """
    return sorted(ranked(trials), key=lambda trial: _place_in_final(trial.final))


def _place_in_final(final: Mapping[str, float] | None) -> tuple[float, ...]:
    if final is None:
        return (2,)
    if not (num_seeds := num_repeats(final)):
        return (1, final["w1_final"])
    share_diverged = final["final_seeds_diverged"] / num_seeds
    return (0, share_diverged, final.get("w1_final_mean", math.inf))


def num_repeats(final: Mapping[str, float]) -> int:
    """Return with how many further seeds a configuration was trained in the final."""
    return int(final.get("final_seeds", 0) + final.get("final_seeds_diverged", 0))


def is_scored(trial: Ranked, num_seeds: int) -> bool:
    """Return whether the final has nothing more to do for a finalist.

    Args:
        trial: The finalist.
        num_seeds: The seeds of the final, the trial's own included.
    """
    return trial.final is not None and num_repeats(trial.final) >= num_seeds - 1


def best_of(trials: Iterable[AnyTrial]) -> AnyTrial | None:
    """Return the first trial of :func:`placed`, or ``None`` if no trial has completed."""
    return next(iter(placed(trials)), None)


def w1_final(trial: Ranked) -> float:
    """Return the trial's ``w1_final``, or infinity if it was not in the final."""
    return math.inf if trial.final is None else trial.final["w1_final"]


def is_finished(
    trials: Sequence[Ranked],
    *,
    num_trials: int | None,
    is_over_budget: bool,
    num_finalists: int,
    num_seeds: int = 1,
) -> bool:
    """Return whether a resume of a search would have nothing to do.

    Args:
        trials: All proposed trials.
        num_trials: The number of trials of the search, if it sets one.
        is_over_budget: Whether the search has used one of its budgets up.
        num_finalists: The number of trials in the final.
        num_seeds: The seeds with which the final trains each of them.
    """
    has_all_trials = num_trials is not None and len(trials) >= num_trials
    has_ended = all(trial.status is not None for trial in trials)
    has_final = all(is_scored(trial, num_seeds) for trial in ranked(trials)[:num_finalists])
    return has_ended and (has_all_trials or is_over_budget) and has_final


class Leaderboard:
    """The ranking of the trials, updated incrementally.

    Its results equal those of :func:`ranked` and :func:`best_of`, at a cost that does not grow with
    the number of trials.
    """

    def __init__(self, trials: Mapping[int, "Trial"]) -> None:
        """Read all trials; call :meth:`update` whenever one of them changes."""
        self._trials = trials
        self._ranked: list[tuple[float, int]] = []
        self._in_final: set[int] = set()
        self._counted: set[int] = set()
        self._at_rungs: dict[int, set[int]] = {}
        self._best_at: dict[int, float] = {}
        #: Number of ended trials by status.
        self.counts: Counter[str] = Counter()
        for number in trials:
            self.update(number)

    def update(self, number: int) -> None:
        """Update the ranking for a changed trial; its earlier scores and its end never change."""
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
        """Return the :func:`best_of` all trials."""
        first = [number for _, number in self._ranked[:1]]
        return best_of(self._trials[number] for number in [*first, *self._in_final])

    def leading(self, num: int) -> list["Trial"]:
        """Return the first ``num`` trials of :func:`ranked`."""
        return [self._trials[number] for _, number in self._ranked[:num]]

    def at_rung(self, steps: int) -> tuple[int, float | None]:
        """Return the number of trials scored at a rung, and their lowest score."""
        return len(self._at_rungs.get(steps, ())), self._best_at.get(steps)


def half_width(stderr: float) -> float:
    """Return half of the width of a 95% confidence interval, for a normal error."""
    return 1.96 * stderr
