"""Summarize the scores of several seeds, and test whether a search's best score was luck."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A summary of the scores of one configuration under several seeds.

    ``sd`` is the sample standard deviation (n - 1). ``mean_error`` is half of the width of the 95%
    confidence interval of the mean, by Student's t with n - 1 degrees of freedom. Both are NaN for
    a single score.
    """

    num: int
    mean: float
    sd: float
    low: float
    high: float
    mean_error: float

    @property
    def single_error(self) -> float:
        """Return half of the 95% prediction interval of a further score: t sd sqrt(1 + 1/n)."""
        return self.mean_error * math.sqrt(self.num + 1)


def seed_spread(scores: Sequence[float]) -> Spread:
    """Summarize one or more scores."""
    num, mean = len(scores), statistics.fmean(scores)
    if num == 1:
        return Spread(1, mean, math.nan, mean, mean, math.nan)
    from scipy.stats import t  # the import takes half a second

    sd = statistics.stdev(scores)
    error = float(t.ppf(0.975, num - 1)) * sd / math.sqrt(num)
    return Spread(num, mean, sd, min(scores), max(scores), error)


def spread_text(name: str, scores: Sequence[float]) -> str:
    """Format the summary of scores in one line."""
    spread = seed_spread(scores)
    if spread.num == 1:
        return f"{name}: {spread.mean:.4g}"
    return (
        f"{name}: mean {spread.mean:.4g} +- {spread.mean_error:.2g} (95%) over {spread.num} seeds, "
        f"sd {spread.sd:.2g}, {spread.low:.4g} to {spread.high:.4g}"
    )


def luck_text(search_score: float, fresh_scores: Sequence[float]) -> str:
    """Describe whether a search's best score was luck, by scores of fresh seeds.

    It was if it lies outside of the 95% prediction interval of a single fresh score.
    """
    spread = seed_spread(fresh_scores)
    gap = search_score - spread.mean
    side = "below" if gap < 0 else "above"
    text = f"the score in the search, {search_score:.4g}, is {abs(gap):.2g} {side} the mean of "
    if spread.num == 1:
        return f"{text}one fresh seed: too few seeds to tell whether it was luck"
    low, high = spread.mean - spread.single_error, spread.mean + spread.single_error
    interval = f"the 95% interval of a single seed ({low:.4g} to {high:.4g})"
    text = f"{text}the fresh seeds"
    if search_score < low:
        return f"{text}, outside {interval}: it was a lucky draw, so expect the mean instead"
    if search_score > high:
        return f"{text}, outside {interval}: it was an unlucky draw"
    gaps = [score - search_score for score in fresh_scores]
    if min(gaps) > 0:
        return (
            f"{text}, within {interval}, but all {spread.num} fresh seeds are worse, by "
            f"{min(gaps):.2g} to {max(gaps):.2g}: expect the mean instead. A draw like the others "
            f"is the best of {spread.num + 1} with a chance of {1 / (spread.num + 1):.0%}"
        )
    few = "; so few seeds show only large differences" if spread.num < 5 else ""
    return f"{text}, within {interval}: no sign of a lucky draw{few}"
