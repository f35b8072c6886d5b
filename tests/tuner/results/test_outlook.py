"""What twice as many trials would have bought, against known answers."""

import random
import re

import numpy as np
import pytest

from tuner.results.outlook import outlook, outlook_text


@pytest.mark.parametrize("num", [10, 11, 64])
def test_the_gain_is_that_of_all_trials_over_half_of_them_in_any_order(num: int):
    """The lowest of m of the numbers 1 to n is (n + 1) / (m + 1) on average."""
    scores = [float(score) for score in range(1, num + 1)]
    random.Random(0).shuffle(scores)
    found = outlook(scores)
    assert found is not None
    assert found.gain == pytest.approx((num + 1) / (num // 2 + 1) - 1)
    assert found == outlook(sorted(scores))
    assert found.low < found.gain < found.high


def test_of_equal_scores_more_gain_nothing():
    found = outlook([0.5] * 20)
    assert found is not None
    assert (found.gain, found.low, found.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def test_of_few_trials_nothing_is_said():
    assert outlook(range(9)) is None
    assert outlook_text(range(9), "w1") is None


def test_the_interval_holds_the_mean_gain_and_the_next_doubling_gains_less():
    rng = np.random.default_rng(1)
    minima = [rng.lognormal(size=(20_000, num)).min(axis=1).mean() for num in (8, 16, 32)]
    last, following = -np.diff(minima)
    found = [outlook(rng.lognormal(size=16)) for _ in range(100)]
    held = sum(one.low <= last <= one.high for one in found if one is not None)
    assert held >= 88
    assert following < last
    assert np.mean([one.gain for one in found if one]) == pytest.approx(last, rel=0.2)


def test_the_sentence_has_the_gain_its_interval_and_what_it_rests_on():
    text = outlook_text([1 + 0.1 * n for n in range(12)], "w1")
    assert text is not None
    assert re.fullmatch(
        r"twice the budget would lower the best w1 at the rungs by about 0\.086 "
        r"\(95%: \S+ to \S+\) or less on average, if it buys trials like these: so much lower is "
        r"the best of all 12 completed trials than of 6 of them, drawn at random",
        text,
    )
