"""Asynchronous successive halving, without a framework: which trial continues past a rung."""

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, final

import numpy as np

from tuner.space import AshaConfig

if TYPE_CHECKING:
    from tuner.record import Record


class Decision(Enum):
    """Whether a trial may train on after a report; one that waits may be promoted later."""

    CONTINUE = "continue"
    STOP = "stop"
    WAIT = "wait"


class Halving(ABC):
    """Judge trials at rungs by asynchronous successive halving (Li et al. 2020, arXiv 1810.05934).

    Decisions depend on the seed and on the order of the reports alone. Bracket ``s`` leaves out the
    first ``s`` rungs, and is drawn with odds ``exp(-s)`` by the seed and the trial's number, so
    that a restarted trial and a resumed search keep theirs.
    """

    def __init__(
        self, config: AshaConfig, seed: int, spared: Collection[int] = frozenset()
    ) -> None:
        """Make the rungs of every bracket, none of them with a score.

        Args:
            config: The rungs.
            seed: Draws the brackets.
            spared: The numbers of trials that continue to the last rung with any score; their
                scores count for the others.
        """
        self._factor = config.reduction_factor
        self._spared = spared
        # Without halving, only the last rung ends a trial.
        judged = config.rungs[:-1] if config.reduction_factor > 1 else ()
        self._last = config.rungs[-1]
        self._brackets: list[dict[int, dict[int, float]]] = [
            {rung: {} for rung in judged[first:]} for first in range(config.brackets)
        ]
        odds = np.exp(-np.arange(config.brackets))
        self._odds = odds / odds.sum()
        self._seed = seed

    @abstractmethod
    def report(self, number: int, steps: int, score: float | None) -> Decision:
        """Decide whether a trial continues, and record its score.

        A rung that is reported again, after a restart, counts once.

        Args:
            number: The trial's number in the search.
            steps: Generator steps trained.
            score: The trial's score; ``None`` between rungs and once it diverged, which neither
                stops the trial nor leaves a mark.
        """

    @abstractmethod
    def promote(self, available: Collection[int], is_last: bool = False) -> int | None:
        """Choose the waiting trial that a free worker continues; ``None`` for a new trial.

        Args:
            available: The numbers of the trials that wait, and that no worker has any more.
            is_last: Whether the search would end without a result, if none was promoted: then the
                best trial of the highest rung is, however few there are at it.
        """

    @abstractmethod
    def refill(
        self, scores: Mapping[int, Mapping[int, float]], resting: Collection[int] = ()
    ) -> None:
        """Record the scores of an interrupted search.

        Args:
            scores: By trial number, then generator steps.
            resting: The trials that have not continued from the last of their rungs, as they wait
                or were stopped there.
        """

    def bracket(self, number: int) -> int:
        """Return the bracket of a trial."""
        rng = np.random.default_rng([self._seed, number])
        return int(rng.choice(len(self._odds), p=self._odds))


@final
class Asha(Halving):
    """The stopping variant, which decides at once and for good, as Ray Tune's does.

    At a rung a trial continues if its score, of which lower is better, is among the best
    1/reduction_factor of those recorded there before it; the first one continues, and so does a tie
    with the cutoff. None ever waits.
    """

    def __init__(
        self, config: AshaConfig, seed: int, spared: Collection[int] = frozenset()
    ) -> None:
        """Make the rungs of every bracket, as for :class:`Halving`."""
        super().__init__(config, seed, spared)
        # Of the negated scores. The scores' own at 100 / reduction_factor rounds differently, and
        # searches that began under Ray Tune's ASHA, which maximizes, must resume to the bit.
        self._percentile = (1 - 1 / config.reduction_factor) * 100

    def report(self, number: int, steps: int, score: float | None) -> Decision:
        """Decide whether a trial continues, and record its score.

        A report counts at one rung: the highest that it reached and where the trial was not
        recorded yet.
        """
        if score is None:
            return Decision.CONTINUE
        if steps >= self._last:
            return Decision.STOP
        cutoff = self.cutoff(number, steps)
        self._record(number, steps, score)
        is_worse = score > cutoff and number not in self._spared
        return Decision.STOP if is_worse else Decision.CONTINUE

    def promote(self, available: Collection[int], is_last: bool = False) -> None:
        """Promote none."""

    def refill(
        self, scores: Mapping[int, Mapping[int, float]], resting: Collection[int] = ()
    ) -> None:
        """Record the scores; it makes no difference which trials continued."""
        for number, by_steps in scores.items():
            for steps, score in sorted(by_steps.items()):
                self._record(number, steps, score)

    def cutoff(self, number: int, steps: int) -> float:
        """Return the worst score with which a trial continues at a report; ``inf`` for any."""
        scores = self._due(number, steps)
        if not scores:
            return math.inf
        return -float(np.nanpercentile([-score for score in scores.values()], self._percentile))

    def _record(self, number: int, steps: int, score: float) -> None:
        scores = self._due(number, steps)
        if scores is not None:
            scores[number] = score

    def _due(self, number: int, steps: int) -> dict[int, float] | None:
        """Return the scores of the rung that a report counts at, by trial; ``None`` for no rung."""
        rungs = self._brackets[self.bracket(number)]
        for rung in reversed(rungs):
            if rung <= steps < self._last and number not in rungs[rung]:
                return rungs[rung]
        return None


@final
class PromotionAsha(Halving):
    """The variant with promotion: trials wait at each rung, and the best of a rung are promoted.

    Algorithm 2 of the paper: a free worker takes the best waiting trial of the highest rung at
    which it is among the best 1/reduction_factor; only without one does it start a new trial. So
    no trial is lost by arriving early. Of equal scores the trial that was proposed first is better.
    A rung's brackets are looked through in their order.

    With delay a trial is promoted from a rung only while that has at least reduction_factor times
    as many trials as were then promoted (Li et al. 2022, Hyper-Tune, arXiv 2201.06834), so that
    the first trials of a rung are not promoted before many have been compared there.
    """

    def __init__(
        self, config: AshaConfig, seed: int, spared: Collection[int] = frozenset()
    ) -> None:
        """Make the rungs of every bracket, as for :class:`Halving`."""
        super().__init__(config, seed, spared)
        self._is_delayed = config.variant == "delayed_promotion"
        self._promoted: list[dict[int, set[int]]] = [
            {rung: set() for rung in rungs} for rungs in self._brackets
        ]

    def report(self, number: int, steps: int, score: float | None) -> Decision:
        """Record a trial's score; it waits, unless its own worker would take it up again."""
        if score is None:
            return Decision.CONTINUE
        if steps >= self._last:
            return Decision.STOP
        bracket = self.bracket(number)
        rung = max((rung for rung in self._brackets[bracket] if rung <= steps), default=None)
        if rung is None:  # its bracket begins higher
            return Decision.CONTINUE
        self._brackets[bracket][rung].setdefault(number, score)
        promoted = self._promoted[bracket][rung]
        if number in self._spared or next(self._promotable(), None) == number:
            promoted.add(number)
        return Decision.CONTINUE if number in promoted else Decision.WAIT

    def promote(self, available: Collection[int], is_last: bool = False) -> int | None:
        """Choose the waiting trial that a free worker continues; ``None`` for a new trial."""
        candidates = self._waiting() if is_last else self._promotable()
        number = next((number for number in candidates if number in available), None)
        if number is not None:
            self._leave(number)
        return number

    def refill(
        self, scores: Mapping[int, Mapping[int, float]], resting: Collection[int] = ()
    ) -> None:
        """Record the scores, and which trials were promoted."""
        for number, by_steps in scores.items():
            bracket = self.bracket(number)
            for rung in self._brackets[bracket].keys() & by_steps.keys():
                self._brackets[bracket][rung][number] = by_steps[rung]
                if number not in resting or rung < max(by_steps):
                    self._promoted[bracket][rung].add(number)

    def _leave(self, number: int) -> None:
        """Promote a trial from the last of its rungs."""
        bracket = self.bracket(number)
        rungs = (rung for rung, scores in self._brackets[bracket].items() if number in scores)
        self._promoted[bracket][max(rungs)].add(number)

    def _promotable(self) -> Iterator[int]:
        """Give the trials that may be promoted now, in the order in which they are."""
        for scores, promoted in self._from_the_top():
            if self._is_delayed and len(scores) < self._factor * (len(promoted) + 1):
                continue
            num_best = len(scores) // self._factor
            best = heapq.nsmallest(num_best, scores, key=lambda n, of=scores: (of[n], n))
            yield from (number for number in best if number not in promoted)

    def _waiting(self) -> Iterator[int]:
        """Give all trials that were not promoted from their last rung, in the same order."""
        for scores, promoted in self._from_the_top():
            best = sorted(scores, key=lambda n, of=scores: (of[n], n))
            yield from (number for number in best if number not in promoted)

    def _from_the_top(self) -> Iterator[tuple[dict[int, float], set[int]]]:
        """Give the scores and the promoted trials of each rung and bracket, the highest first."""
        for rung in reversed(self._brackets[0]):
            for scores, promoted in zip(self._brackets, self._promoted, strict=True):
                if rung in scores:
                    yield scores[rung], promoted[rung]


def make_halving(config: AshaConfig, seed: int, spared: Collection[int] = frozenset()) -> Halving:
    """Make the variant that a search has, as :class:`Halving`."""
    variant = PromotionAsha if config.promotes else Asha
    return variant(config, seed, spared)


def halving_of(record: "Record") -> Halving:
    """Make the variant that a search has, with the scores of its earlier sessions."""
    halving = make_halving(record.spec.asha, record.spec.search.seed, record.spared)
    trials = record.trials.values()
    scores = {trial.number: trial.scores for trial in trials}
    halving.refill(scores, {trial.number for trial in trials if trial.rests})
    return halving
