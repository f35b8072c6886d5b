"""Asynchronous successive halving, without a framework: which trial continues past a rung."""

import math
from collections.abc import Collection, Mapping
from enum import Enum

import numpy as np

from tuner.space import AshaConfig


class Decision(Enum):
    """Whether a trial may train on after a report."""

    CONTINUE = "continue"
    STOP = "stop"


class Asha:
    """Judge trials at rungs by asynchronous successive halving (Li et al. 2020, arXiv 1810.05934).

    At a rung a trial continues if its score, of which lower is better, is among the best
    1/reduction_factor of those recorded there before it; the first one continues, and so does a tie
    with the cutoff. This variant decides at once and for good, as Ray Tune's does, where Algorithm
    2 of the paper pauses trials at a rung until they can be promoted.

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
        self._spared = spared
        # Without halving, only the last rung ends a trial.
        judged = config.rungs[:-1] if config.reduction_factor > 1 else ()
        self._last = config.rungs[-1]
        self._brackets: list[dict[int, dict[int, float]]] = [
            {rung: {} for rung in judged[first:]} for first in range(config.brackets)
        ]
        # Of the negated scores. The scores' own at 100 / reduction_factor rounds differently, and
        # searches that began under Ray Tune's ASHA, which maximizes, must resume to the bit.
        self._percentile = (1 - 1 / config.reduction_factor) * 100
        odds = np.exp(-np.arange(config.brackets))
        self._odds = odds / odds.sum()
        self._seed = seed

    def report(self, number: int, steps: int, score: float | None) -> Decision:
        """Decide whether a trial continues, and record its score.

        A report counts at one rung: the highest that it reached and where the trial was not
        recorded yet. So a rung that is reported again, after a restart, counts once.

        Args:
            number: The trial's number in the search.
            steps: Generator steps trained.
            score: The trial's score; ``None`` between rungs and once it diverged, which neither
                stops the trial nor leaves a mark.
        """
        if score is None:
            return Decision.CONTINUE
        if steps >= self._last:
            return Decision.STOP
        cutoff = self.cutoff(number, steps)
        self._record(number, steps, score)
        is_worse = score > cutoff and number not in self._spared
        return Decision.STOP if is_worse else Decision.CONTINUE

    def refill(self, scores: Mapping[int, Mapping[int, float]]) -> None:
        """Record the scores of an interrupted search: by trial number, then generator steps."""
        for number, by_steps in scores.items():
            for steps, score in sorted(by_steps.items()):
                self._record(number, steps, score)

    def cutoff(self, number: int, steps: int) -> float:
        """Return the worst score with which a trial continues at a report; ``inf`` for any."""
        scores = self._due(number, steps)
        if not scores:
            return math.inf
        return -float(np.nanpercentile([-score for score in scores.values()], self._percentile))

    def bracket(self, number: int) -> int:
        """Return the bracket of a trial."""
        rng = np.random.default_rng([self._seed, number])
        return int(rng.choice(len(self._odds), p=self._odds))

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
