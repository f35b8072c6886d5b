"""ASHA under Ray's interface, with Ray imported and never started, and Ray's own as the oracle."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from trainables.config import ObjectiveConfig
from tuner.cluster.asha import Asha
from tuner.cluster.scheduler import AshaScheduler
from tuner.space.sections import AshaConfig

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP
CONTROLLER: Any = None  # which no scheduler here looks at


@dataclass
class FakeRayTrial:
    """All that a scheduler may look at."""

    number: int

    @property
    def config(self) -> dict[str, Any]:
        return {"number": self.number}

    @property
    def trial_id(self) -> str:
        return str(self.number)


def fake_trial(number: int) -> Any:
    return FakeRayTrial(number)


def asha_config(
    grace: int = 250, last: int = 4000, factor: int = 4, brackets: int = 1
) -> AshaConfig:
    return AshaConfig(
        grace_generator_steps=grace,
        max_generator_steps=last,
        reduction_factor=factor,
        brackets=brackets,
    )


def make_scheduler(objective: ObjectiveConfig | None = None) -> AshaScheduler:
    return AshaScheduler(Asha(asha_config(), seed=0), objective or ObjectiveConfig())


def report(scheduler: TrialScheduler, number: int, steps: float, **metrics: float) -> str:
    result = {"generator_steps": steps, **metrics}
    return scheduler.on_trial_result(CONTROLLER, fake_trial(number), result)


# --- What Ray reports --------------------------------------------------------------------------


def test_trials_are_stopped_in_rays_words() -> None:
    scheduler = make_scheduler()
    assert report(scheduler, 0, 250.0, w1=1.0) == CONTINUE
    assert report(scheduler, 1, 250.0, w1=2.0) == STOP
    assert report(scheduler, 0, 4000.0, w1=0.1) == STOP


def test_ranked_by_their_own_critics_trials_are_judged_at_the_rungs_alone() -> None:
    """Between rungs every report has a critic's estimate; at a rung ``w1`` is next to it."""
    scheduler = make_scheduler(ObjectiveConfig(name="critic_estimate"))
    assert report(scheduler, 0, 250, w1=2.0, critic_estimate=1.0) == CONTINUE
    assert report(scheduler, 1, 300, critic_estimate=9.0) == CONTINUE
    assert report(scheduler, 2, 250, critic_estimate=float("inf"), diverged=1.0) == CONTINUE
    assert report(scheduler, 3, 250, w1=1.0, critic_estimate=2.0) == STOP
    assert report(scheduler, 4, 250, w1=3.0, critic_estimate=0.5) == CONTINUE


def test_a_diverged_trial_ends_by_itself_and_leaves_every_cutoff_as_it_was() -> None:
    scheduler = make_scheduler()
    report(scheduler, 0, 250, w1=0.5)
    assert report(scheduler, 1, 250, critic_estimate=-9.0, diverged=1.0) == CONTINUE
    assert report(scheduler, 1, 4000, critic_estimate=-9.0, diverged=1.0) == CONTINUE
    assert report(scheduler, 2, 250, w1=0.5) == CONTINUE


def test_a_trial_may_end_without_a_report() -> None:
    result = {"done": True, "trial_id": "0"}  # which Ray fills in
    assert make_scheduler().on_trial_result(CONTROLLER, fake_trial(0), result) == CONTINUE


ENDINGS: dict[str, Callable[[TrialScheduler, Any], None]] = {
    "completed": lambda scheduler, trial: scheduler.on_trial_complete(CONTROLLER, trial, {}),
    "removed before it started": lambda scheduler, trial: scheduler.on_trial_remove(
        CONTROLLER, trial
    ),
    "failed": lambda scheduler, trial: scheduler.on_trial_error(CONTROLLER, trial),
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_trial_that_ended_may_start_again(
    ending: Callable[[TrialScheduler, Any], None],
) -> None:
    """A restart adds a trial again; its rungs are known, and the score at its last stays."""
    scheduler = make_scheduler()
    report(scheduler, 0, 250, w1=0.5)
    report(scheduler, 1, 250, w1=0.4)
    for _ in range(2):
        scheduler.on_trial_add(CONTROLLER, fake_trial(1))
        assert report(scheduler, 1, 250, w1=0.4) == CONTINUE
        ending(scheduler, fake_trial(1))
    assert report(scheduler, 2, 250, w1=0.45) == STOP


# --- Ray's own scheduler is the oracle ---------------------------------------------------------


@st.composite
def ladders(draw: st.DrawFn) -> AshaConfig:
    grace, last = sorted(draw(st.lists(st.integers(1, 10**6), min_size=2, max_size=2, unique=True)))
    factor = draw(st.integers(2, 50))
    most = len(asha_config(grace, last, factor).rungs) - 1
    return asha_config(grace, last, factor, draw(st.integers(1, min(most, 20))))


powers = st.builds(
    lambda grace, factor, exponent: asha_config(grace, grace * factor**exponent, factor, exponent),
    st.integers(1, 1000),
    st.integers(2, 20),
    st.integers(1, 4),
)
#: log(243)/log(3) and log(1000)/log(10) come out below the whole number that they are.
MISLED_BY_FLOATS = [
    asha_config(1, 243, 3, 4), asha_config(1, 1000, 10, 3), asha_config(1, 125, 5), asha_config(),
]  # fmt: skip


def rays(config: AshaConfig, first_rung: int = 0, brackets: int = 1) -> AsyncHyperBandScheduler:
    """Ray's scheduler; with one bracket it draws nothing."""
    return AsyncHyperBandScheduler(
        time_attr="generator_steps",
        metric="w1",
        mode="min",
        max_t=config.max_generator_steps,
        grace_period=config.rungs[first_rung],
        reduction_factor=config.reduction_factor,
        brackets=brackets,
    )


def rays_rungs(config: AshaConfig) -> list[list[int]]:
    """The rungs of Ray's brackets, ascending."""
    text = rays(config, brackets=config.brackets).debug_string()
    brackets = [line for line in text.splitlines() if line.startswith("Bracket")]
    return [[int(rung) for rung in re.findall(r"Iter (\d+)\.000", b)][::-1] for b in brackets]


def below_the_last(config: AshaConfig) -> list[list[int]]:
    last = config.max_generator_steps
    return [[rung for rung in rungs if rung < last] for rungs in rays_rungs(config)]


@pytest.mark.parametrize("config", MISLED_BY_FLOATS, ids=str)
def test_rays_brackets_have_our_rungs_where_floats_mislead(config: AshaConfig) -> None:
    assert below_the_last(config) == [list(config.rungs[b:-1]) for b in range(config.brackets)]


@given(config=ladders() | powers)
def test_rays_brackets_have_our_rungs(config: AshaConfig) -> None:
    assert below_the_last(config) == [list(config.rungs[b:-1]) for b in range(config.brackets)]


@given(config=ladders() | powers | st.sampled_from(MISLED_BY_FLOATS), seed=st.integers(0, 2**32))
def test_brackets_are_drawn_with_rays_odds(config: AshaConfig, seed: int) -> None:
    """Ray's are the softmax of the number of rungs, which floats make one less here and there."""
    sizes = np.array([len(rungs) for rungs in rays_rungs(config)])
    odds = np.exp(sizes - sizes.max())
    asha = Asha(config, seed)
    for number in range(10):
        rng = np.random.default_rng([seed, number])
        assert asha.bracket(number) == rng.choice(len(sizes), p=odds / odds.sum())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of infinities
@settings(max_examples=300, deadline=None)
@given(config=ladders() | powers, seed=st.integers(0, 9), data=st.data())
def test_every_decision_is_rays(config: AshaConfig, seed: int, data: st.DataObject) -> None:
    """Reports may come in any order, at and between rungs, again, and with any score."""
    near_rungs = [max(1, rung + by) for rung in config.rungs for by in (-1, 0, 0, 0, 1)]
    reports = st.tuples(
        st.integers(0, 14),
        st.sampled_from(near_rungs),
        st.floats(-1, 1) | st.sampled_from([-0.0, 0.0, 0.1, 0.2, 0.3, np.nan, np.inf, -np.inf]),
    )
    asha = Asha(config, seed)
    ours = AshaScheduler(asha, ObjectiveConfig())
    # Each bracket is one of Ray's schedulers, which starts from the bracket's first rung.
    oracles = [rays(config, first) for first in range(config.brackets)]
    for number in range(15):
        oracles[asha.bracket(number)].on_trial_add(CONTROLLER, fake_trial(number))
    for number, steps, w1 in data.draw(st.lists(reports, min_size=20, max_size=40)):
        oracle = oracles[asha.bracket(number)]
        assert report(ours, number, steps, w1=w1) == report(oracle, number, steps, w1=w1)
