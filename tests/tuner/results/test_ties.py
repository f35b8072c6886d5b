"""Which trials the final cannot tell from the best one."""

import math
import random
from dataclasses import replace

import pytest

from trainables.config import TrialConfig
from tuner.results.ranking import best_of
from tuner.results.text import ties_text
from tuner.results.ties import error_between, paired_error, tied_with
from tuner.study import Readings, Repeats, Trial

UNPAIRED = ", as if their errors were independent: an earlier version scored them"


def trial(
    number: int,
    final: tuple[float, float] | None = None,
    readings: Readings | None = None,
    w1: float = 1.0,
) -> Trial:
    return Trial(
        number, TrialConfig(seed=9), {}, {4000: w1}, "completed", {"generator_steps": 4000.0},
        final=final and {"w1_final": final[0], "w1_final_stderr": final[1]},
        final_readings=readings,
    )  # fmt: skip


def noise(num: int, seed: int, sd: float = 1.0) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(0, sd) for _ in range(num)]


@pytest.mark.parametrize(
    ("difference", "stderrs", "is_tied"),
    [
        (0.0, (0.0, 0.0), True),
        (0.9799, (0.3, 0.4), True),  # 1.96 times the hypotenuse of the two
        (0.9801, (0.3, 0.4), False),
        (0.9799, (0.4, 0.3), True),
        (1e-9, (0.0, 0.0), False),
    ],
)
def test_scores_of_an_earlier_version_tie_as_if_independent(
    difference: float, stderrs: tuple[float, float], is_tied: bool
):
    winner = trial(0, (2.0, stderrs[0]))
    parts = {"real": [1.0], "generated": [], "critics": []}
    other = trial(1, (2.0 + difference, stderrs[1]), parts)
    without = trial(2, w1=0.0)
    assert best_of([other, winner]) == winner
    assert tied_with(winner, [other, winner, without]) == [other] * is_tied
    expected = f"tied within the error with trial 00001 ({2.0 + difference:.4g}){UNPAIRED}"
    assert ties_text(winner, [other, winner]) == (expected if is_tied else None)


def repeated(number: int, *w1: float | None) -> Trial:
    repeats = Repeats(dict(enumerate(w1)), 3.0, 2.0)
    one = trial(number, (0.1, 0.01))
    return replace(one, repeats=repeats, final={**(one.final or {}), **repeats.values})


@pytest.mark.parametrize(
    ("other", "is_tied"),
    [
        # Variances of 1 and 4, 3 seeds each: 2.94 degrees of freedom, means 4.155 apart.
        ((1.0, 3.0, 5.0), True),
        ((5.0, 7.0, 9.0), False),
        ((3.08, 5.08, 7.08), True),
        ((3.2, 5.2, 7.2), False),
        ((99.0,), True),  # a single seed cannot be told from another
        ((99.0, None, None), True),
        ((None, None), False),
    ],
)
def test_configurations_tie_by_the_spread_over_their_further_seeds(
    other: tuple[float | None, ...], is_tied: bool
):
    best, worse = repeated(0, 0.0, 1.0, 2.0), repeated(1, *other)
    once = trial(2, (0.1, 0.01))
    assert tied_with(best, [best, worse, once]) == [worse] * is_tied
    mean = (worse.final or {}).get("w1_final_mean", 0.0)
    text = f"tied within the error with trial 00001 ({mean:.4g}), over their further seeds"
    assert ties_text(best, [best, worse]) == (text if is_tied else None)


def test_scores_that_err_alike_are_told_apart_though_each_is_uncertain():
    """Of errors of 1 each, 0.995 are of the real samples that both were scored on."""
    shared = noise(256, 0, 16.0)
    one = {"real": shared, "generated": [0.0, 0.0], "critics": [5.0, 5.0]}
    other = {"real": [x + e for x, e in zip(shared, noise(256, 1, 1.6), strict=True)]}
    winner, second = trial(0, (5.0, 1.0), one), trial(1, (6.0, 1.0), {**one, **other})
    assert error_between(winner, second).stderr == pytest.approx(0.1, rel=0.1)
    assert tied_with(winner, [winner, second]) == []
    assert ties_text(winner, [winner, second]) is None
    without = [trial(0, (5.0, 1.0)), trial(1, (6.0, 1.0))]
    assert tied_with(without[0], without) == [without[1]]


def test_scores_that_err_independently_tie_as_before():
    parts = [{"real": noise(256, n, 16.0), "generated": [0.0], "critics": [5.0]} for n in (0, 1)]
    winner, second = (trial(n, (5.0 + 2 * n, 1.0), parts[n]) for n in (0, 1))
    error = error_between(winner, second)
    assert error.stderr == pytest.approx(math.sqrt(2), rel=0.1)
    assert error.half_width == pytest.approx(1.96 * math.sqrt(2), rel=0.1)
    assert tied_with(winner, [winner, second]) == [second]
    assert ties_text(winner, [winner, second]) == "tied within the error with trial 00001 (7)"


def test_the_three_parts_add_up_with_the_freedom_of_each():
    """By hand: variances 2 / 2, 8 / 2 and 2 / 2; of one degree of freedom each."""
    one = {"real": [1.0, -1.0], "generated": [2.0, -2.0], "critics": [3.0, 1.0]}
    other = {part: [0.0, 0.0] for part in one}
    error = paired_error(one, other)
    assert error is not None
    assert error.stderr == pytest.approx(math.sqrt(1 + 4 + 1))
    assert error.freedom == pytest.approx(6**2 / (1 + 16 + 1))
    assert error.half_width == pytest.approx(4.302653 * math.sqrt(6))  # Student's t, 2 degrees


@pytest.mark.parametrize("lacking", [None, {"real": [1.0], "generated": [1.0], "critics": [1.0]}])
def test_scores_on_other_samples_are_not_paired(lacking: Readings | None):
    one = {"real": [1.0, -1.0], "generated": [1.0], "critics": [1.0]}
    assert paired_error(one, lacking) is None


def test_one_critic_and_equal_readings_have_no_error():
    one = {"real": [1.0, -1.0], "generated": [1.0, -1.0], "critics": [1.0]}
    error = paired_error(one, one)
    assert error is not None
    assert error.half_width == 0


def test_without_a_final_nothing_is_said_of_ties():
    assert tied_with(trial(0), [trial(0), trial(1, (1.0, 0.1))]) == []
    assert ties_text(trial(0), [trial(0), trial(1)]) is None


def test_several_ties_are_told_in_the_order_of_their_scores():
    winner = trial(0, (1.0, 0.1), w1=3.0)
    others = [trial(1, (1.1, 0.1), w1=2.0), trial(2, (1.2, 0.1), w1=1.0)]
    assert ties_text(winner, [winner, *others]) == (
        f"tied within the error with trials 00002 (1.2), 00001 (1.1){UNPAIRED}"
    )
