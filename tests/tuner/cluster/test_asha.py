"""ASHA, with Ray imported and never started: who is stopped, and that a resume changes nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import TrialScheduler

from trainables.config import ObjectiveConfig, TrialConfig
from tuner.cluster.asha import Asha
from tuner.space.sections import AshaConfig
from tuner.study.trial import Trial

GO_ON, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


@dataclass
class FakeRayTrial:
    """All that the scheduler may look at."""

    config: dict[str, Any]


class Driver:
    """Gives a scheduler trials and reports, as Ray does."""

    def __init__(self, scheduler: Asha) -> None:
        self.scheduler = scheduler
        self.added: dict[int, FakeRayTrial] = {}

    def report(self, number: int, steps: int, **metrics: float) -> str:
        if number not in self.added:
            self.added[number] = FakeRayTrial({"number": number})
            self.scheduler.on_trial_add(None, self.added[number])
        trial, result = self.added[number], {"generator_steps": steps, **metrics}
        action = self.scheduler.on_trial_result(None, trial, result)
        if action == STOP:
            self.scheduler.on_trial_complete(None, trial, result)
        return action


def asha_config(
    grace: int = 250, last: int = 4000, factor: int = 4, brackets: int = 1
) -> AshaConfig:
    return AshaConfig(
        grace_generator_steps=grace,
        max_generator_steps=last,
        reduction_factor=factor,
        brackets=brackets,
    )


W1 = ObjectiveConfig()


def make_scheduler(
    config: AshaConfig, seed: int, trials: Sequence[Trial] = (), objective: ObjectiveConfig = W1
) -> Asha:
    return Asha(config, seed, objective, trials)


def study_trial(number: int, scores: Mapping[int, float]) -> Trial:
    return Trial(number, TrialConfig(), {}, dict(scores))


# --- Rungs are Ray's ---------------------------------------------------------------------------


@st.composite
def ladders(draw: st.DrawFn) -> AshaConfig:
    grace, last = sorted(draw(st.lists(st.integers(1, 10**6), min_size=2, max_size=2, unique=True)))
    factor = draw(st.integers(2, 50))
    most = len(asha_config(grace, last, factor).rungs) - 1
    return asha_config(grace, last, factor, draw(st.integers(1, min(most, 20))))


powers = st.builds(
    lambda grace, factor, exponent: asha_config(grace, grace * factor**exponent, factor),
    st.integers(1, 1000),
    st.integers(2, 20),
    st.integers(1, 4),
)


def milestones_below_the_last(config: AshaConfig) -> list[tuple[int, ...]]:
    return [
        tuple(sorted(step for step, _ in bracket._rungs if step < config.max_generator_steps))
        for bracket in make_scheduler(config, seed=0)._brackets
    ]


@pytest.mark.parametrize(
    "config",
    [asha_config(1, 243, 3, 4), asha_config(1, 1000, 10, 3), asha_config(1, 125, 5), asha_config()],
    ids=lambda c: f"{c.max_generator_steps}_by_{c.reduction_factor}",
)
def test_rays_brackets_have_our_rungs_where_floats_mislead(config: AshaConfig):
    """log(243)/log(3) and log(1000)/log(10) come out below the whole number that they are."""
    assert milestones_below_the_last(config) == [
        config.rungs[bracket:-1] for bracket in range(config.brackets)
    ]


@given(config=ladders() | powers)
def test_rays_brackets_have_our_rungs(config: AshaConfig):
    assert milestones_below_the_last(config) == [
        config.rungs[bracket:-1] for bracket in range(config.brackets)
    ]


# --- Decisions ---------------------------------------------------------------------------------


def test_a_rung_stops_the_worst_and_lets_the_best_pass():
    driver = Driver(make_scheduler(asha_config(), seed=0))
    assert driver.report(0, 250, w1=1.0) == GO_ON  # nobody to compare with
    assert driver.report(1, 250, w1=2.0) == STOP
    assert driver.report(2, 250, w1=0.5) == GO_ON
    assert driver.report(3, 250, w1=3.0) == STOP
    assert driver.report(4, 250, w1=0.4) == GO_ON
    assert driver.report(2, 1000, w1=0.3) == GO_ON
    assert driver.report(4, 1000, w1=0.35) == STOP  # another rung, other scores


def test_ranked_by_their_own_critics_trials_are_judged_at_the_rungs_alone():
    """Between rungs every report has a critic's estimate; a rung's is the one beside ``w1``."""
    own = ObjectiveConfig(name="critic_estimate")
    driver = Driver(make_scheduler(asha_config(), seed=0, objective=own))
    assert driver.report(0, 250, w1=2.0, critic_estimate=1.0) == GO_ON
    assert driver.report(1, 300, critic_estimate=9.0) == GO_ON
    assert driver.report(2, 250, critic_estimate=float("inf"), diverged=1.0) == GO_ON
    assert driver.report(3, 250, w1=1.0, critic_estimate=2.0) == STOP
    assert driver.report(4, 250, w1=3.0, critic_estimate=0.5) == GO_ON


def test_with_a_reduction_factor_of_one_none_is_stopped_before_the_last_rung():
    config = asha_config(250, 4000, 1)
    assert config.rungs == (250, 4000)
    driver = Driver(make_scheduler(config, seed=0))
    for number in range(5):
        assert driver.report(number, 250, w1=float(number)) == GO_ON
    assert [driver.report(number, 4000, w1=float(number)) for number in range(5)] == [STOP] * 5


def test_the_last_rung_ends_a_trial_however_good():
    driver = Driver(make_scheduler(asha_config(), seed=0))
    assert [driver.report(0, rung, w1=0.1) for rung in (250, 1000, 4000)] == [GO_ON, GO_ON, STOP]


@given(scores=st.lists(st.floats(-10, 10), max_size=30), factor=st.integers(2, 10))
def test_a_trial_passes_if_it_is_in_the_best_part_of_those_before_it(
    scores: list[float], factor: int
):
    """The cutoff is the 1/reduction_factor quantile of the scores before, as NumPy reckons it."""
    driver = Driver(make_scheduler(asha_config(10, 10 * factor, factor), seed=0))
    before: list[float] = []
    for number, w1 in enumerate(scores):
        rewards = [-score for score in before]
        passes = not before or -w1 >= np.percentile(rewards, 100 * (1 - 1 / factor))
        assert driver.report(number, 10, w1=w1) == (GO_ON if passes else STOP)
        before.append(w1)


def rungs_of(scheduler: Asha) -> list[list[tuple[int, dict[str, float]]]]:
    return [[(step, dict(recorded)) for step, recorded in b._rungs] for b in scheduler._brackets]


def test_a_report_without_a_score_never_stops_and_leaves_no_mark():
    scheduler = make_scheduler(asha_config(), seed=0)
    driver = Driver(scheduler)
    driver.report(0, 250, w1=1.0)
    before = rungs_of(scheduler)
    for steps in (10, 50, 250, 300, 1000, 4000, 5000):
        assert driver.report(1, steps, critic_estimate=99.0) == GO_ON
    assert rungs_of(scheduler) == before


def test_a_diverged_trial_leaves_every_cutoff_as_it_was():
    scheduler = make_scheduler(asha_config(), seed=0)
    driver = Driver(scheduler)
    driver.report(0, 250, w1=1.0)
    driver.report(1, 250, w1=0.9)
    before = rungs_of(scheduler)
    assert driver.report(1, 260, diverged=1.0) == GO_ON  # it ends by itself
    scheduler.on_trial_complete(None, driver.added[1], {"generator_steps": 260, "diverged": 1.0})
    assert rungs_of(scheduler) == before


def test_a_rung_reported_again_after_a_restart_is_counted_once():
    scheduler = make_scheduler(asha_config(), seed=0)
    driver = Driver(scheduler)
    driver.report(0, 250, w1=1.0)
    before = rungs_of(scheduler)
    assert driver.report(0, 250, w1=1.0) == GO_ON
    assert rungs_of(scheduler) == before


@pytest.mark.parametrize("method", ["on_trial_complete", "on_trial_remove"])
def test_a_trial_that_ended_is_forgotten_and_may_be_again(method: str):
    scheduler = make_scheduler(asha_config(), seed=0)
    trial = FakeRayTrial({"number": 3})
    scheduler.on_trial_add(None, trial)
    ending = {
        "on_trial_complete": lambda: scheduler.on_trial_complete(None, trial, {}),
        "on_trial_remove": lambda: scheduler.on_trial_remove(None, trial),
    }[method]
    ending()
    ending()
    assert scheduler._trial_info == {}


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
def test_rungs_filled_again_from_the_study_decide_as_the_unbroken_scheduler(
    config: AshaConfig, data: st.DataObject
):
    """Trials climb in any order; somewhere the search is killed and its scheduler made anew."""
    num_trials = 12
    unbroken = resumed = Driver(make_scheduler(config, seed=5))
    scores: dict[int, dict[int, float]] = {number: {} for number in range(num_trials)}
    alive = list(range(num_trials))
    killed_at = data.draw(st.integers(0, 30), label="killed after so many reports")
    for report in range(60):
        if not alive:
            break
        if report == killed_at:
            known = [study_trial(n, s) for n, s in scores.items()]
            resumed = Driver(make_scheduler(config, 5, data.draw(st.permutations(known))))
            for number in alive:  # each says the rung that it was saved at once more
                if scores[number]:
                    rung = max(scores[number])
                    assert resumed.report(number, rung, w1=scores[number][rung]) == GO_ON
        number = data.draw(st.sampled_from(alive))
        rung = config.rungs[len(scores[number])]
        w1 = data.draw(st.floats(-1, 1) | st.just(0.5))
        action = unbroken.report(number, rung, w1=w1)
        if resumed is not unbroken:
            assert resumed.report(number, rung, w1=w1) == action
        scores[number][rung] = w1
        if action == STOP:
            alive.remove(number)


# --- Brackets ----------------------------------------------------------------------------------


def brackets_of(scheduler: Asha, numbers: Sequence[int]) -> list[int]:
    found = []
    for number in numbers:
        scheduler.on_trial_add(None, FakeRayTrial({"number": number}))
        found.append(scheduler._brackets.index(scheduler._trial_info[str(number)]))
    return found


@pytest.fixture
def make_asha() -> Callable[[int], Asha]:
    return lambda seed: make_scheduler(asha_config(1, 1000, 10, 3), seed)


def test_a_trials_bracket_follows_from_the_seed_and_its_number_alone(
    make_asha: Callable[[int], Asha],
):
    expected = brackets_of(make_asha(7), range(50))
    np.random.seed(1)  # noqa: NPY002 - the global generator, which Ray draws from
    assert brackets_of(make_asha(7), range(50)) == expected
    backwards = brackets_of(make_asha(7), range(49, -1, -1))
    assert backwards == expected[::-1]
    scheduler = make_asha(7)
    assert brackets_of(scheduler, range(50)) == expected
    assert brackets_of(scheduler, range(50)) == expected  # a retry is added again
    assert brackets_of(make_asha(8), range(50)) != expected


def test_the_global_generator_is_not_moved(make_asha: Callable[[int], Asha]):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    brackets_of(make_asha(7), range(50))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_brackets_are_drawn_with_rays_odds(make_asha: Callable[[int], Asha]):
    """Softmax of the number of rungs: with 3, 2 and 1 of them, e^0 : e^-1 : e^-2."""
    drawn = brackets_of(make_asha(0), range(4000))
    odds = np.exp([0.0, -1.0, -2.0])
    found = np.bincount(drawn, minlength=3) / 4000
    assert found == pytest.approx(odds / odds.sum(), abs=0.03)


def test_a_trial_of_a_later_bracket_passes_the_early_rungs(make_asha: Callable[[int], Asha]):
    scheduler = make_asha(7)
    late = [n for n, b in enumerate(brackets_of(scheduler, range(100))) if b == 2]
    driver = Driver(scheduler)
    assert [driver.report(n, 1, w1=float(n)) for n in late] == [GO_ON] * len(late)
    assert [driver.report(n, 10, w1=float(n)) for n in late] == [GO_ON] * len(late)
    assert [driver.report(n, 100, w1=float(n)) for n in late] == [GO_ON] + [STOP] * (len(late) - 1)
