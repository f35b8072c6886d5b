"""How a score varies by seed, and whether one score among them was luck."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Scores of one configuration under several seeds; what needs two of them is NaN of one.

    ``sd`` has n - 1 in its denominator; ``mean_error`` is half of the 95% interval of the mean, by
    Student's t with n - 1 degrees of freedom, as the scores' own spread is all that is known of it.
    """

    num: int
    mean: float
    sd: float
    low: float
    high: float
    mean_error: float

    @property
    def single_error(self) -> float:
        """Half of the 95% prediction interval of one further score: t sd sqrt(1 + 1/n)."""
        return self.mean_error * math.sqrt(self.num + 1)


def seed_spread(scores: Sequence[float]) -> Spread:
    """Summarise one or more scores."""
    num, mean = len(scores), statistics.fmean(scores)
    if num == 1:
        return Spread(1, mean, math.nan, mean, mean, math.nan)
    from scipy.stats import t  # half a second

    sd = statistics.stdev(scores)
    error = float(t.ppf(0.975, num - 1)) * sd / math.sqrt(num)
    return Spread(num, mean, sd, min(scores), max(scores), error)


def spread_text(name: str, scores: Sequence[float]) -> str:
    """The summary in one line."""
    found = seed_spread(scores)
    if found.num == 1:
        return f"{name}: {found.mean:.4g}"
    return (
        f"{name}: mean {found.mean:.4g} +- {found.mean_error:.2g} (95%) over {found.num} seeds, "
        f"sd {found.sd:.2g}, {found.low:.4g} to {found.high:.4g}"
    )


def luck_text(own: float, fresh: Sequence[float]) -> str:
    """Whether a score that won a search was a lucky draw, by fresh seeds of its configuration.

    Winning does not make a score lucky: it is called so where it lies outside of where 95% of
    single scores of fresh seeds lie.
    """
    found = seed_spread(fresh)
    gap = own - found.mean
    by = f"{abs(gap):.2g} {'below' if gap < 0 else 'above'} the mean of the fresh seeds"
    if found.num == 1:
        return f"the search's own {own:.4g} is {by}, of which one is too few to call it luck or not"
    low, high = found.mean - found.single_error, found.mean + found.single_error
    told = f"the search's own {own:.4g} is {by}"
    single = f"where 95% of single seeds score ({low:.4g} to {high:.4g})"
    if own < low:
        return f"{told}, outside of {single}: it was a lucky draw, so expect the mean instead"
    if own > high:
        return f"{told}, outside of {single}: it was an unlucky draw"
    few = "; so few seeds tell only a large difference" if found.num < 5 else ""
    return f"{told}, within {single}: no sign of a lucky draw{few}"
