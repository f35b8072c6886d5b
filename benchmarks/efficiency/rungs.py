"""Ways to stop trials that no search here ships, to be measured beside the one that it does."""

import math
from collections.abc import Mapping
from itertools import pairwise

from tuner.cluster import Asha, Decision
from tuner.space import SearchSpec


class SoftHalving:
    """ASHA that stops a trial only where the noise of the scores cannot be why it is behind.

    Its score must be worse than the cutoff by more than ``num_errors`` standard errors of their
    difference; the cutoff's own is that of the trial nearest to it.
    """

    def __init__(self, spec: SearchSpec, seed: int, num_errors: float) -> None:
        self._asha = Asha(spec.asha, seed)
        self._num_errors = num_errors
        self._rungs: dict[int, list[tuple[float, float]]] = {}
        self.top_generator_steps = spec.asha.max_generator_steps

    def continues(self, number: int, steps: int, report: Mapping[str, float]) -> bool:
        """Whether a trial goes on past a rung."""
        score, error = report["w1"], report["w1_stderr"]
        cutoff = self._asha.cutoff(number, steps)
        self._asha.report(number, steps, score)
        rung = self._rungs.setdefault(steps, [])
        nearest = min(rung, key=lambda before: abs(before[0] - cutoff), default=(score, error))
        rung.append((score, error))
        return score - cutoff <= self._num_errors * math.hypot(error, nearest[1])


class Pasha:
    """ASHA whose last rung rises only while the order of the trials is not settled.

    Progressive ASHA (Bohdal et al. 2023, Algorithm 1): whenever the order at the top rung in use is
    not that at the rung below it, but for pairs closer than their noise (soft ranking; here two
    standard errors of the difference, which the paper estimates from curves that cross), the next
    rung is opened. A trial that is good enough at the top rung waits there in the paper; here it
    ends there, and one that is opened later goes on for the trials that come after.
    """

    def __init__(self, spec: SearchSpec, seed: int) -> None:
        self._steps = list(spec.asha.rungs)
        self._asha = Asha(spec.asha, seed)
        self._rungs: dict[int, dict[int, tuple[float, float]]] = {s: {} for s in self._steps}
        self._top = 1

    @property
    def top_generator_steps(self) -> int:
        """The highest rung in use."""
        return self._steps[self._top]

    def continues(self, number: int, steps: int, report: Mapping[str, float]) -> bool:
        """Whether a trial goes on past a rung."""
        self._rungs[steps][number] = report["w1"], report["w1_stderr"]
        decision = self._asha.report(number, steps, report["w1"])
        if steps == self.top_generator_steps:
            if self._is_settled():
                return False
            self._top = min(self._top + 1, len(self._steps) - 1)
        return decision is Decision.CONTINUE

    def _is_settled(self) -> bool:
        """Whether no pair of neighbours at the top rung was clearly the other way round below."""
        above, below = (
            self._rungs[self.top_generator_steps],
            self._rungs[self._steps[self._top - 1]],
        )
        ranked = sorted(above, key=lambda number: above[number])
        return not any(
            below[one][0] - below[other][0] > 2 * math.hypot(below[one][1], below[other][1])
            for one, other in pairwise(ranked)
        )
