"""Implement stopping rules that are not part of the search, for comparison with ASHA."""

import math
from collections.abc import Mapping
from itertools import pairwise

from tuner.cluster import Asha, Decision
from tuner.space import SearchSpec


class SoftHalving:
    """ASHA that stops a trial only if it is significantly worse than the cutoff.

    The score must exceed the cutoff by more than ``num_errors`` standard errors of the difference;
    the standard error of the cutoff is that of the trial nearest to it.
    """

    def __init__(self, spec: SearchSpec, seed: int, num_errors: float) -> None:
        self._asha = Asha(spec.asha, seed)
        self._num_errors = num_errors
        self._rungs: dict[int, list[tuple[float, float]]] = {}
        self.top_generator_steps = spec.asha.max_generator_steps

    def continues(self, number: int, steps: int, report: Mapping[str, float]) -> bool:
        """Record a report, and return whether the trial continues."""
        score, error = report["w1"], report["w1_stderr"]
        cutoff = self._asha.cutoff(number, steps)
        self._asha.report(number, steps, score)
        rung = self._rungs.setdefault(steps, [])
        nearest = min(rung, key=lambda before: abs(before[0] - cutoff), default=(score, error))
        rung.append((score, error))
        return score - cutoff <= self._num_errors * math.hypot(error, nearest[1])


class Pasha:
    """ASHA that adds a rung only while the ranking of the trials is unstable.

    Progressive ASHA (Bohdal et al. 2023, Algorithm 1): the next rung is opened whenever the ranking
    at the top rung in use differs from that at the rung below. Pairs closer than their noise do not
    count (soft ranking): here two standard errors of the difference, while the paper estimates the
    noise from curves that cross. In the paper, a trial that is good enough at the top rung is
    paused there; here it ends, and a new rung is only for later trials.
    """

    def __init__(self, spec: SearchSpec, seed: int) -> None:
        self._steps = list(spec.asha.rungs)
        self._asha = Asha(spec.asha, seed)
        self._rungs: dict[int, dict[int, tuple[float, float]]] = {s: {} for s in self._steps}
        self._top = 1

    @property
    def top_generator_steps(self) -> int:
        """Return the highest rung in use."""
        return self._steps[self._top]

    def continues(self, number: int, steps: int, report: Mapping[str, float]) -> bool:
        """Record a report, and return whether the trial continues."""
        self._rungs[steps][number] = report["w1"], report["w1_stderr"]
        decision = self._asha.report(number, steps, report["w1"])
        if steps == self.top_generator_steps:
            if self._is_stable():
                return False
            self._top = min(self._top + 1, len(self._steps) - 1)
        return decision is Decision.CONTINUE

    def _is_stable(self) -> bool:
        """Return whether no neighbours at the top rung were significantly reversed below."""
        above, below = (
            self._rungs[self.top_generator_steps],
            self._rungs[self._steps[self._top - 1]],
        )
        ranked = sorted(above, key=lambda number: above[number])
        return not any(
            below[one][0] - below[other][0] > 2 * math.hypot(below[one][1], below[other][1])
            for one, other in pairwise(ranked)
        )
