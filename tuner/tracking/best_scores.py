"""The best score so far at each trial's end, which the run of a search shows as a curve."""

import math
from collections.abc import Iterable
from typing import final

from tuner.results import Report
from tuner.study import Trial
from tuner.tracking.values import TRIALS_FINISHED, UNIX_TIME, ended_ms, now_ms


@final
class BestScores:
    """Reports of the best score, one for each number of trials that have ended."""

    def __init__(self, metric: str) -> None:
        """Name the metric that ranks the trials."""
        self._name = f"best_{metric}"
        self._counted: set[int] = set()
        self._bests: list[tuple[float, float]] = []  # with when the trial ended, in s since 1970

    def add(self, trials: Iterable[Trial]) -> bool:
        """Add those that have ended, if they are new; tell whether there was one.

        All that ended before any of them must have been added, too.
        """
        ended = [t for t in trials if t.status is not None and t.number not in self._counted]
        default_ms = now_ms()
        for trial in sorted(ended, key=lambda t: (ended_ms(t, default_ms), t.number)):
            best = self._bests[-1][0] if self._bests else math.inf
            if trial.status == "completed" and trial.score is not None:
                best = min(best, trial.score)
            self._counted.add(trial.number)
            self._bests.append((best, ended_ms(trial, default_ms) / 1_000))
        return bool(ended)

    def since(self, num_trials: float) -> list[Report]:
        """Give the reports for more than so many trials; none while no trial has completed."""
        first = max(0, int(num_trials)) if math.isfinite(num_trials) else 0
        return [
            {self._name: best, TRIALS_FINISHED: count, UNIX_TIME: time_s}
            for count, (best, time_s) in enumerate(self._bests[first:], first + 1)
            if best < math.inf
        ]
