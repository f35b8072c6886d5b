"""The spread over seeds, compared with SciPy's, and the rule for luck."""

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from tuner.retrain.spread import luck_text, seed_spread, spread_text


@settings(deadline=None)
@given(st.lists(st.floats(-10, 10, width=16), min_size=2, max_size=20, unique=True))
def test_the_mean_and_its_interval_are_scipys(scores: list[float]) -> None:
    spread = seed_spread(scores)
    low, high = ttest_1samp(scores, 0).confidence_interval(0.95)
    assert spread.mean - spread.mean_error == pytest.approx(low, rel=1e-9, abs=1e-9)
    assert spread.mean + spread.mean_error == pytest.approx(high, rel=1e-9, abs=1e-9)
    assert (spread.low, spread.high, spread.num) == (min(scores), max(scores), len(scores))
    assert spread.sd == pytest.approx(statistics.stdev(scores))


def test_a_further_score_lies_in_a_wider_interval_than_the_mean() -> None:
    """For four scores: t sd sqrt(1 + 1/4) against t sd / sqrt(4), so sqrt(5) times as wide."""
    spread = seed_spread([1.0, 2.0, 3.0, 4.0])
    assert spread.single_error == pytest.approx(math.sqrt(5) * spread.mean_error)


def test_one_score_has_no_spread() -> None:
    spread = seed_spread([0.5])
    assert (spread.mean, spread.low, spread.high) == (0.5, 0.5, 0.5)
    assert math.isnan(spread.sd)
    assert spread_text("w1", [0.5]) == "w1: 0.5"


def test_the_summary_has_mean_interval_sd_and_range() -> None:
    assert spread_text("w1", [1.0, 2.0, 3.0]) == (
        "w1: mean 2 +- 2.5 (95%) over 3 seeds, sd 1, 1 to 3"
    )


FRESH = [1.0, 1.02, 0.98, 1.01, 0.99]


@pytest.mark.parametrize(
    ("search_score", "verdict"),
    [
        (0.5, "it was a lucky draw, so expect the mean instead"),
        (1.5, "it was an unlucky draw"),
        (0.99, "no sign of a lucky draw"),
    ],
)
def test_luck_is_a_score_outside_the_interval_of_a_single_seed(
    search_score: float, verdict: str
) -> None:
    assert luck_text(search_score, FRESH).endswith(verdict)


def test_seeds_that_are_all_worse_are_said_to_be_so() -> None:
    """Within the interval of one seed, which of few seeds is wide, and yet no good sign."""
    text = luck_text(0.97, FRESH)
    assert "within the 95% interval of a single seed" in text
    assert text.endswith(
        "but all 5 fresh seeds are worse, by 0.01 to 0.05: expect the mean instead. A draw like "
        "the others is the best of 6 with a chance of 17%"
    )


def test_the_text_warns_of_few_seeds() -> None:
    assert luck_text(1.0, [1.0, 1.1]).endswith("so few seeds show only large differences")
    assert "one fresh seed: too few seeds to tell" in luck_text(0.1, [1.0])
