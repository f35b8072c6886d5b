"""Estimate what more trials would have bought, from the best score as a function of their number.

Of n trials in random order, the expected best of the first m is known for every m up to n without
any assumption on the distribution of scores (Dodge et al. 2019, "Show Your Work", eq. 8).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: With fewer completed trials the interval of the gain is not to be trusted.
MIN_TRIALS = 10
_NUM_RESAMPLES = 1000


@final
@dataclass(frozen=True)
class Outlook:
    """How much the last doubling of the number of trials lowered the best score.

    ``gain`` is the mean over all orders of the trials, ``low`` and ``high`` the ends of its 95%
    interval by resampling the trials. The next doubling gains as much or less on average, if
    trials are drawn as before: the best of n trials falls ever more slowly with n.
    """

    num_trials: int
    gain: float
    low: float
    high: float


def outlook(scores: Sequence[float]) -> Outlook | None:
    """Estimate what twice as many trials would gain; ``None`` for too few to tell.

    Args:
        scores: The scores of the completed trials; lower is better.
    """
    import numpy as np

    num = len(scores)
    if num < MIN_TRIALS:
        return None
    weights = _weights_of_minimum(num, num // 2) - _weights_of_minimum(num, num)
    rng = np.random.default_rng(0)
    ordered = np.sort(scores)
    resampled = rng.choice(ordered, (_NUM_RESAMPLES, num))
    gains = np.sort(resampled, axis=1) @ weights
    low, high = np.quantile(gains, (0.025, 0.975))
    return Outlook(num, float(ordered @ weights), float(low), float(high))


def outlook_text(scores: Sequence[float], metric: str) -> str | None:
    """Say in a sentence what twice the budget would have bought; ``None`` for too few trials."""
    if (found := outlook(scores)) is None:
        return None
    half = found.num_trials // 2
    return (
        f"twice the budget would lower the best {metric} at the rungs by about {found.gain:.2g} "
        f"(95%: {found.low:.2g} to {found.high:.2g}) or less on average, if it buys trials like "
        f"these: so much lower is the best of all {found.num_trials} completed trials than of "
        f"{half} of them, drawn at random"
    )


def _weights_of_minimum(num: int, size: int) -> "NDArray[np.float64]":
    """Return the chance of each sorted score to be the lowest of ``size`` drawn of ``num``."""
    import numpy as np

    of_all = math.comb(num, size)
    return np.array([math.comb(num - rank, size - 1) / of_all for rank in range(1, num + 1)])
