"""The spread over seeds against SciPy's; and what is called luck, and what is not."""

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
    found = seed_spread(scores)
    low, high = ttest_1samp(scores, 0).confidence_interval(0.95)
    assert found.mean - found.mean_error == pytest.approx(low, rel=1e-9, abs=1e-9)
    assert found.mean + found.mean_error == pytest.approx(high, rel=1e-9, abs=1e-9)
    assert (found.low, found.high, found.num) == (min(scores), max(scores), len(scores))
    assert found.sd == pytest.approx(statistics.stdev(scores))


def test_a_further_score_lies_in_a_wider_interval_than_the_mean() -> None:
    """Of four: t sd sqrt(1 + 1/4) against t sd / sqrt(4), sqrt(5) times as wide."""
    found = seed_spread([1.0, 2.0, 3.0, 4.0])
    assert found.single_error == pytest.approx(math.sqrt(5) * found.mean_error)


def test_one_score_has_no_spread() -> None:
    found = seed_spread([0.5])
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)
    assert math.isnan(found.sd)
    assert spread_text("w1", [0.5]) == "w1: 0.5"


def test_the_summary_has_mean_interval_sd_and_range() -> None:
    assert spread_text("w1", [1.0, 2.0, 3.0]) == (
        "w1: mean 2 +- 2.5 (95%) over 3 seeds, sd 1, 1 to 3"
    )


FRESH = [1.0, 1.02, 0.98, 1.01, 0.99]


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (0.5, "it was a lucky draw, so expect the mean instead"),
        (1.5, "it was an unlucky draw"),
        (0.99, "no sign of a lucky draw"),
    ],
)
def test_luck_is_a_score_outside_of_where_single_seeds_lie(own: float, said: str) -> None:
    assert luck_text(own, FRESH).endswith(said)


def test_few_seeds_say_how_little_they_tell() -> None:
    assert luck_text(1.0, [1.0, 1.1]).endswith("so few seeds tell only a large difference")
    assert "of which one is too few" in luck_text(0.1, [1.0])
