"""Decide which trials the final cannot tell from the best one.

The finalists are scored on the same real samples, by critics of the same initial weights and
batches, from the same latents. So the errors of two scores are correlated, and the error of their
difference is not the root of the sum of their squares: it is that of the paired differences.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from tuner.results.ranking import half_width, ranked, w1_final

if TYPE_CHECKING:
    from tuner.study import Readings, Repeats, Trial

#: The two-sided level of the intervals.
_LEVEL = 0.95


@final
@dataclass(frozen=True)
class Error:
    """The standard error of a difference of two scores of the final.

    ``freedom`` are its degrees of freedom: a few critics alone know their spread badly. It is
    infinite where the two scores were taken as independent.
    """

    stderr: float
    freedom: float

    @property
    def half_width(self) -> float:
        """Return half of the width of the difference's 95% confidence interval."""
        if math.isinf(self.freedom):
            return half_width(self.stderr)
        from scipy.special import stdtrit  # slow to import, and tuner.list needs none

        return float(stdtrit(self.freedom, (1 + _LEVEL) / 2)) * self.stderr


def tied_with(best: "Trial", trials: Iterable["Trial"]) -> list["Trial"]:
    """Return the trials of the final that do not differ significantly (95%) from the best.

    If the final trained the best with further seeds, those are the trials whose means over such
    seeds do not; else those whose ``w1_final`` does not.
    """
    if best.final is None:
        return []
    others = [t for t in ranked(trials) if t.final is not None and t.number != best.number]
    if (repeats := best.repeats) is not None:
        repeated = [(t, t.repeats) for t in others if t.repeats is not None]
        return [t for t, others in repeated if _are_tied(repeats, others)]
    return [t for t in others if w1_final(t) - w1_final(best) <= error_between(t, best).half_width]


def _are_tied(best: "Repeats", other: "Repeats") -> bool:
    """Tell whether two configurations do not differ significantly over their further seeds."""
    if not best.scores or not other.scores:
        return not best.scores and not other.scores
    gap = statistics.fmean(other.scores) - statistics.fmean(best.scores)
    return gap <= _welch_error(best.scores, other.scores).half_width


def mean_error(scores: Sequence[float]) -> Error:
    """Return the error of the mean of several seeds' scores; infinite for fewer than two."""
    if len(scores) < 2:
        return Error(math.inf, math.inf)
    return Error(statistics.stdev(scores) / math.sqrt(len(scores)), len(scores) - 1)


def _welch_error(one: Sequence[float], other: Sequence[float]) -> Error:
    """Return the error of the difference of two means of unequal variances (Welch 1947)."""
    errors = [mean_error(one), mean_error(other)]
    stderr = math.hypot(*(error.stderr for error in errors))
    if not 0 < stderr < math.inf:
        return Error(stderr, math.inf)
    spread = math.fsum(error.stderr**4 / error.freedom for error in errors)
    return Error(stderr, stderr**4 / spread)


def error_between(one: "Trial", other: "Trial") -> Error:
    """Return the error of the difference of two trials' ``w1_final``.

    It is paired if both were scored by a version that kept the parts of the scores; otherwise the
    two errors are taken as independent, which overrates it.
    """
    if (paired := paired_error(one.final_readings, other.final_readings)) is not None:
        return paired
    stderrs = [t.final["w1_final_stderr"] for t in (one, other) if t.final]
    return Error(math.hypot(*stderrs), math.inf)


def are_paired(trials: Iterable["Trial"]) -> bool:
    """Tell whether the scores of all trials of the final can be paired."""
    return all(t.final_readings is not None for t in trials if t.final is not None)


def paired_error(one: "Readings | None", other: "Readings | None") -> Error | None:
    """Return the error of the difference of two scores, or ``None`` if they cannot be paired.

    It has three independent parts: the real samples, the generated ones, and the critics. Its
    degrees of freedom are those of Welch and Satterthwaite (Satterthwaite 1946, eq. 17).
    """
    if one is None or other is None:
        return None
    shared = [(one[part], other[part]) for part in ("real", "critics")]
    if any(len(a) != len(b) for a, b in shared):
        return None
    generated = one["generated"], other["generated"]
    # Real samples in a generator's place may be fewer, and belong to none of the generated ones.
    is_paired = len(generated[0]) == len(generated[1])
    separate = [] if is_paired else [(values, [0.0] * len(values)) for values in generated]
    pairs = [*shared, *([generated] if is_paired else separate)]
    parts = [(_variance_of_mean(a, b), len(a) - 1) for a, b in pairs if len(a) > 1]
    variance = math.fsum(part for part, _ in parts)
    spread = math.fsum(part**2 / freedom for part, freedom in parts)
    return Error(math.sqrt(variance), variance**2 / spread if spread else math.inf)


def _variance_of_mean(one: Sequence[float], other: Sequence[float]) -> float:
    differences = [a - b for a, b in zip(one, other, strict=True)]
    return statistics.variance(differences) / len(differences)
