"""ASHA alone, without Ray: which trial is stopped at a rung, and that a resume changes nothing."""

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.cluster.asha import Asha, Decision
from tuner.space.sections import AshaConfig

CONTINUE, STOP = Decision.CONTINUE, Decision.STOP


def asha_config(
    grace: int = 250, last: int = 4000, factor: int = 4, brackets: int = 1
) -> AshaConfig:
    return AshaConfig(
        grace_generator_steps=grace,
        max_generator_steps=last,
        reduction_factor=factor,
        brackets=brackets,
    )


def make_asha(config: AshaConfig, seed: int = 0) -> Asha:
    return Asha(config, seed)


def cutoffs(asha: Asha, config: AshaConfig) -> list[float]:
    """What a newcomer would have to reach at each rung."""
    return [asha.cutoff(10**6, rung) for rung in config.rungs]


def test_it_needs_no_framework() -> None:
    frameworks = {"ray", "optuna", "torch", "mlflow"}
    code = f"import sys, tuner.cluster.asha; print({frameworks} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


# --- Decisions ---------------------------------------------------------------------------------


def test_a_rung_stops_the_worst_and_lets_the_best_pass() -> None:
    asha = make_asha(asha_config())
    assert asha.report(0, 250, 1.0) is CONTINUE  # nobody to compare with
    assert asha.report(1, 250, 2.0) is STOP
    assert asha.report(2, 250, 0.5) is CONTINUE
    assert asha.report(3, 250, 3.0) is STOP
    assert asha.report(4, 250, 0.4) is CONTINUE
    assert asha.report(2, 1000, 0.3) is CONTINUE
    assert asha.report(4, 1000, 0.35) is STOP  # another rung, other scores


def test_ties_continue() -> None:
    asha = make_asha(asha_config())
    assert [asha.report(number, 250, 0.1) for number in range(9)] == [CONTINUE] * 9


@given(scores=st.lists(st.floats(-10, 10), max_size=30), factor=st.integers(2, 10))
def test_a_trial_passes_if_it_is_in_the_best_part_of_those_before_it(
    scores: list[float], factor: int
) -> None:
    """The cutoff is the 1/reduction_factor quantile of the scores before, as NumPy computes it."""
    asha = make_asha(asha_config(10, 10 * factor, factor))
    before: list[float] = []
    for number, score in enumerate(scores):
        rewards = [-earlier for earlier in before]
        passes = not before or -score >= np.percentile(rewards, 100 * (1 - 1 / factor))
        assert asha.report(number, 10, score) is (CONTINUE if passes else STOP)
        before.append(score)


@pytest.mark.parametrize(
    ("num_scores", "factor", "cutoff"), [(1, 4, 0.0), (5, 4, 1.0), (7, 3, 2.0), (3, 2, 1.0)]
)
def test_the_cutoff_of_scores_that_count_up(num_scores: int, factor: int, cutoff: float) -> None:
    """Of 0, 1, ..., n the quantile q is q n."""
    asha = make_asha(asha_config(10, 10 * factor, factor))
    assert asha.cutoff(99, 10) == math.inf
    for number in range(num_scores):
        asha.report(number, 10, float(number))
    assert asha.cutoff(99, 10) == pytest.approx(cutoff, abs=1e-12)


@pytest.mark.parametrize(
    ("num_scores", "tie", "decision"), [(4, 0.1, CONTINUE), (7, 0.2, CONTINUE), (10, 0.3, STOP)]
)
def test_a_tie_with_the_cutoff_is_rounded_as_under_ray(
    num_scores: int, tie: float, decision: Decision
) -> None:
    """To the bit, for searches that resume: of 0.0, 0.1, ..., 0.9 the cutoff is just below 0.3."""
    asha = make_asha(asha_config(10, 30, 3))
    for number in range(num_scores):
        asha.report(number, 10, number / 10)
    assert asha.report(99, 10, tie) is decision


def test_with_a_reduction_factor_of_one_none_is_stopped_before_the_last_rung() -> None:
    config = asha_config(250, 4000, 1)
    assert config.rungs == (250, 4000)
    asha = make_asha(config)
    for number in range(5):
        assert asha.report(number, 250, float(number)) is CONTINUE
    assert [asha.report(number, 4000, float(number)) for number in range(5)] == [STOP] * 5


def test_the_last_rung_ends_a_trial_however_good() -> None:
    asha = make_asha(asha_config())
    decisions = [asha.report(0, rung, 0.1) for rung in (250, 1000, 4000, 5000)]
    assert decisions == [CONTINUE, CONTINUE, STOP, STOP]


def test_a_report_without_a_score_never_stops_and_leaves_no_mark() -> None:
    config = asha_config()
    asha = make_asha(config)
    asha.report(0, 250, 1.0)
    before = cutoffs(asha, config)
    for steps in (10, 50, 250, 300, 1000, 4000, 5000):
        assert asha.report(1, steps, None) is CONTINUE
    assert cutoffs(asha, config) == before


def test_a_rung_reported_again_after_a_restart_is_counted_once() -> None:
    config = asha_config()
    asha = make_asha(config)
    asha.report(0, 250, 1.0)
    asha.report(1, 250, 0.0)
    before = cutoffs(asha, config)
    assert asha.report(1, 250, 9.0) is CONTINUE  # the decision was made
    assert cutoffs(asha, config) == before


def test_a_report_counts_at_the_highest_rung_that_it_reached() -> None:
    config = asha_config()
    asha = make_asha(config)
    assert asha.report(0, 200, 1.0) is CONTINUE
    assert cutoffs(asha, config) == [math.inf] * 3  # no rung reached
    asha.report(0, 1100, 2.0)
    assert cutoffs(asha, config) == [math.inf, 2.0, math.inf]
    asha.report(0, 1200, 3.0)  # only where the trial is not recorded yet
    assert cutoffs(asha, config) == [3.0, 2.0, math.inf]


# --- A resume ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    config=st.sampled_from(
        [
            asha_config(),
            asha_config(brackets=2),
            asha_config(1, 100, 2, 6),
            asha_config(1, 1000, 10),
        ]
    ),
    data=st.data(),
)
def test_rungs_filled_again_from_the_study_decide_as_the_unbroken_search(
    config: AshaConfig, data: st.DataObject
) -> None:
    """Trials climb in any order; somewhere the search is killed and its rungs are made again."""
    num_trials = 12
    unbroken = resumed = make_asha(config, seed=5)
    scores: dict[int, dict[int, float]] = {number: {} for number in range(num_trials)}
    alive = list(range(num_trials))
    killed_at = data.draw(st.integers(0, 30), label="killed after so many reports")
    for report in range(60):
        if not alive:
            break
        if report == killed_at:
            resumed = make_asha(config, seed=5)
            order = data.draw(st.permutations(range(num_trials)))
            resumed.refill({number: scores[number] for number in order})
            for number in alive:  # each reports the rung that it was saved at once more
                if scores[number]:
                    rung = max(scores[number])
                    assert resumed.report(number, rung, scores[number][rung]) is CONTINUE
        number = data.draw(st.sampled_from(alive))
        rung = config.rungs[len(scores[number])]
        score = data.draw(st.floats(-1, 1) | st.just(0.5))
        decision = unbroken.report(number, rung, score)
        if resumed is not unbroken:
            assert resumed.report(number, rung, score) is decision
        scores[number][rung] = score
        if decision is STOP:
            alive.remove(number)


# --- Brackets ----------------------------------------------------------------------------------

#: The brackets of the first 60 trials, from searches that began under Ray's scheduler: a resume
#: must draw them alike for ever.
DRAWN = [
    (asha_config(250, 4000, 4, 2), 0,
     "010110001000000010101000001110000000000100101010101000100000"),
    (asha_config(1, 1000, 10, 3), 7,
     "010200001100000001120010100000111000000110000100000100002010"),
    (asha_config(1, 1000, 10, 3), 2**31,
     "111012010002002011000001100101010020210011101001010010000010"),
    (asha_config(1, 100, 2, 6), 5,
     "110101104100201001100000001110000010110001002201000120010000"),
    (asha_config(1, 243, 3, 4), 0,
     "020220001000000010201000003130000010100100201020201000100000"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "seed", "drawn"),
    DRAWN,
    ids=[f"{config.brackets} of seed {seed}" for config, seed, _ in DRAWN],
)
def test_the_brackets_of_known_searches(config: AshaConfig, seed: int, drawn: str) -> None:
    asha = make_asha(config, seed)
    assert "".join(str(asha.bracket(number)) for number in range(len(drawn))) == drawn


@pytest.fixture
def three_brackets() -> Callable[[int], Asha]:
    return lambda seed: make_asha(asha_config(1, 1000, 10, 3), seed)


def test_a_trials_bracket_follows_from_the_seed_and_its_number_alone(
    three_brackets: Callable[[int], Asha],
) -> None:
    asha = three_brackets(7)
    expected = [asha.bracket(number) for number in range(50)]
    np.random.seed(1)  # noqa: NPY002 - the global generator, which Ray's own scheduler draws from
    again = three_brackets(7)
    assert [again.bracket(number) for number in reversed(range(50))] == expected[::-1]
    assert [again.bracket(number) for number in range(50)] == expected
    other = three_brackets(8)
    assert [other.bracket(number) for number in range(50)] != expected


def test_the_global_generator_is_not_moved(three_brackets: Callable[[int], Asha]) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    asha = three_brackets(7)
    for number in range(50):
        asha.report(number, 1, 0.0)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_brackets_are_drawn_with_odds_that_fall_by_e(three_brackets: Callable[[int], Asha]) -> None:
    asha = three_brackets(0)
    odds = np.exp([0.0, -1.0, -2.0])
    drawn = np.bincount([asha.bracket(number) for number in range(4000)], minlength=3) / 4000
    assert drawn == pytest.approx(odds / odds.sum(), abs=0.03)


def test_a_trial_of_a_later_bracket_passes_the_early_rungs(
    three_brackets: Callable[[int], Asha],
) -> None:
    asha = three_brackets(7)
    late = [number for number in range(100) if asha.bracket(number) == 2]
    assert [asha.report(n, 1, float(n)) for n in late] == [CONTINUE] * len(late)
    assert [asha.report(n, 10, float(n)) for n in late] == [CONTINUE] * len(late)
    assert [asha.report(n, 100, float(n)) for n in late] == [CONTINUE] + [STOP] * (len(late) - 1)


def test_brackets_do_not_compare_their_trials(three_brackets: Callable[[int], Asha]) -> None:
    asha = three_brackets(7)
    first, second = (next(n for n in range(100) if asha.bracket(n) == b) for b in (0, 1))
    assert asha.report(first, 10, 0.0) is CONTINUE
    assert asha.report(second, 10, 1.0) is CONTINUE


def test_a_spared_trial_continues_to_the_last_rung_and_counts_for_the_others() -> None:
    config = asha_config()
    first, last = config.rungs[0], config.rungs[-1]
    decisions = {}
    for spared in (frozenset(), frozenset({3})):
        asha = Asha(config, 0, spared)
        decisions[spared] = [asha.report(n, first, float(n)) for n in range(4)]
        assert asha.report(3, last, 3.0) is Decision.STOP
        decisions[spared] += [asha.report(4, first, 0.5)]
    plain, spares = decisions.values()
    assert plain[3] is Decision.STOP
    assert spares[3] is Decision.CONTINUE
    assert [*plain[:3], plain[4]] == [*spares[:3], spares[4]]
