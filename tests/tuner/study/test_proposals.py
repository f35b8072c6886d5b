"""The subset of trials that the sampler sees, and the trials that it proposes."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.space.spec import SearchSpec, read_spec
from tuner.study import proposals
from tuner.study.proposals import NUM_BEST, NUM_LATEST, SamplerView, propose
from tuner.study.study import Study

MakeSpec = Callable[..., SearchSpec]

GP_SPACE = Path(__file__).parents[3] / "search_spaces" / "gp.yaml"
#: Simulated trials with a higher critic_lr diverge.
MAX_LR = 2e-3

STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)


def trial(number: int, state: TrialState, value: float, rung: int | None = 250) -> FrozenTrial:
    made = create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        intermediate_values={} if rung is None else {rung: value},
    )
    made.number = number
    return made


HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(STATES), st.integers(-3, 3), st.sampled_from((None, 250, 1000))
    ),
    max_size=60,
)  # fmt: skip


@given(history=HISTORIES, seed=st.integers(0, 9))
def test_the_view_has_the_best_the_latest_and_the_running_trials_in_any_order_of_ending(
    history: list[Any], seed: int
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposals, "NUM_BEST", 3)
        patch.setattr(proposals, "NUM_LATEST", 5)
        trials = [trial(i, state, float(w1), rung) for i, (state, w1, rung) in enumerate(history)]
        shuffled = Random(seed).sample(trials, len(trials))
        shown = SamplerView(shuffled).select(trials)
        informative = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        completed = sorted(
            (t for t in informative if t.state == TrialState.COMPLETE), key=lambda t: t.value
        )
        furthest = sorted(
            (t for t in informative if t.state == TrialState.PRUNED and t.last_step is not None),
            key=lambda t: (-t.last_step, t.intermediate_values[t.last_step]),
        )
        without = [t for t in informative if t.state == TrialState.PRUNED and t.last_step is None]
        best = [*completed, *furthest, *without][:3]
        running = [t for t in trials if t.state == TrialState.RUNNING]
        expected = {t.number for t in (*best, *informative[-5:], *running)}
        assert [t.number for t in shown] == sorted(expected)
        assert len(shown) <= 3 + 5 + len(running)


def test_a_running_trial_that_fails_leaves_the_view():
    running = trial(0, TrialState.RUNNING, 1.0)
    view = SamplerView([running])
    assert view.select([running]) == [running]
    failed = trial(0, TrialState.FAIL, 1.0)
    view.update(failed)
    assert view.select([failed]) == []


def test_the_view_of_a_small_search_has_all_trials():
    trials = [trial(i, TrialState.COMPLETE, float(-i)) for i in range(NUM_LATEST + 200)]
    assert SamplerView(trials[:NUM_LATEST]).select(trials[:NUM_LATEST]) == trials[:NUM_LATEST]
    assert len(SamplerView(trials).select(trials)) == NUM_LATEST
    worse_and_worse = [trial(i, TrialState.COMPLETE, float(i)) for i in range(NUM_LATEST + 200)]
    assert len(SamplerView(worse_and_worse).select(worse_and_worse)) == NUM_LATEST + NUM_BEST


# --- Diverged trials ---------------------------------------------------------------------------


def diverged(number: int, state: TrialState, rung: int | None = 250) -> FrozenTrial:
    made = trial(number, state, 1e-3, rung)  # a score that would be the best of all
    made.set_user_attr("ending", {"status": "diverged"})
    return made


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.COMPLETE])
def test_a_diverged_trial_is_never_among_the_best(state: TrialState):
    trials = [diverged(number, state) for number in range(NUM_BEST)]
    trials += [trial(NUM_BEST + i, TrialState.PRUNED, 2.0) for i in range(NUM_LATEST)]
    assert SamplerView(trials).select(trials) == trials[NUM_BEST:]


@pytest.mark.parametrize("scores", [[], [0.0], [-0.5, -0.1], [1e-6], [3.0, 0.2], [-1e9]])
def test_the_gaussian_process_sees_a_diverged_trial_worse_than_every_score(scores: list[float]):
    """Estimates of W1 may be negative, so that twice the worst score would be the best."""
    stopped = [trial(i, TrialState.PRUNED, w1) for i, w1 in enumerate(scores)]
    last = diverged(len(scores), TrialState.PRUNED, rung=None)
    seen = proposals._as_sampled([*stopped, last], "gp")[-1]
    assert seen.state == TrialState.COMPLETE
    assert seen.value is not None
    assert math.isfinite(seen.value)
    assert all(seen.value > w1 for w1 in scores)
    assert (last.state, last.value) == (TrialState.PRUNED, None)  # untouched


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_diverged_trial_of_an_older_journal_is_seen_as_one_of_a_new_journal(sampler: str):
    """Older journals have it COMPLETE, with a value worse than all scores by then."""
    seen = []
    for state in (TrialState.PRUNED, TrialState.COMPLETE):
        trials = [trial(0, TrialState.PRUNED, 3.0), diverged(1, state)]
        copies = proposals._as_sampled(trials, sampler)
        seen.append((copies[1].state, copies[1].value, copies[1].intermediate_values))
        assert trials[1].intermediate_values == {250: 1e-3}  # untouched
    assert seen[0] == seen[1]
    assert seen[0][0] == (TrialState.COMPLETE if sampler == "gp" else TrialState.PRUNED)
    assert seen[0][2] == {}


def _end(study: Study, number: int, critic_lr: float, *, is_old: bool) -> None:
    """End a trial: diverged above MAX_LR, else stopped at the first rung."""
    if critic_lr <= MAX_LR:
        score = 1 + abs(math.log10(critic_lr) + 4)
        study.end(number, "stopped", {"generator_steps": 150.0}, score)
    elif is_old:
        ending = {"status": "diverged", "metrics": {}, "score": None, "message": None}
        study._storage.set_trial_user_attr(study._id(number), "ending", ending)
        study._study.tell(number, 10.0)
        study._sampler_view.update(study._storage.get_trial(study._id(number)))
    else:
        study.end(number, "diverged", {"generator_steps": 10.0}, None)


@pytest.mark.parametrize("is_old", [False, True], ids=["journal", "older journal"])
@pytest.mark.parametrize("seed", range(3))
def test_tpe_leaves_the_region_that_diverges_before_any_trial_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, is_old: bool
):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    search = read_spec(GP_SPACE, ["search.num_trials=90", f"search.seed={seed}"])
    study = Study(tmp_path / "study.log", search)
    key = "training.critic_lr"
    # 40 trials that no sampler proposed: every fourth diverges.
    for number in range(40):
        exponent = -2.6 + 0.01 * number if number % 4 == 0 else -5 + 2.2 * number / 40
        study._points = [{key: 10**exponent}] * 40
        proposed = study.ask()
        assert proposed is not None
        _end(study, number, proposed.params[key], is_old=is_old)
    study = Study(tmp_path / "study.log", search)
    study._points = []
    rates = []
    while (proposed := study.ask()) is not None:
        rates.append(proposed.params[key])
        _end(study, proposed.number, rates[-1], is_old=is_old)
    assert len(rates) == 50
    assert sum(rate > MAX_LR for rate in rates) < 5


def test_a_proposal_depends_on_the_seed_the_number_and_the_earlier_trials_alone(
    make_spec: MakeSpec,
):
    spec = make_spec(search={"num_trials": 40, "sampler": "tpe"})
    trials: list[FrozenTrial] = []
    for number in range(30):
        drawn, config = propose(spec, number, trials, None)
        score = abs(config.training.critic_lr - 1e-3)
        trials.append(
            create_trial(value=score, params=drawn.params, distributions=drawn.distributions)
        )
        trials[-1].number = number
    proposed = [propose(spec, 30, trials, None)[1] for _ in range(2)]
    assert proposed[0] == proposed[1]
    assert [t.number for t in trials] == list(range(30))  # untouched
    rates = {
        config.training.critic_lr
        for config in (
            proposed[0],
            propose(spec, 31, trials, None)[1],
            propose(spec, 30, trials[:20], None)[1],
            propose(make_spec(search={"num_trials": 40, "seed": 1}), 30, trials, None)[1],
        )
    }
    assert len(rates) == 4


def test_an_initial_point_is_drawn_as_it_is(make_spec: MakeSpec):
    drawn, config = propose(make_spec(), 0, [], {"training.critic_lr": 2e-4})
    assert config.training.critic_lr == drawn.params["training.critic_lr"] == 2e-4


def test_given_seeds_are_those_of_the_first_trials_and_change_nothing_else(make_spec: MakeSpec):
    search = {"num_trials": 4, "sampler": "random"}
    given = make_spec(search={**search, "trial_seeds": [7, 2**32 - 1]})
    ours, theirs = ([propose(s, n, [], None)[1] for n in range(4)] for s in (given, make_spec()))
    assert [config.seed for config in ours[:2]] == [7, 2**32 - 1]
    assert ours[2:] == theirs[2:]
    assert [config.training for config in ours] == [config.training for config in theirs]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_reopened_study_with_a_partial_view_proposes_the_same_trials(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, sampler: str
):
    monkeypatch.setattr(proposals, "NUM_BEST", 4)
    monkeypatch.setattr(proposals, "NUM_LATEST", 12)
    log = {"low": 1e-5, "high": 1e-2, "log": True}
    spec = make_spec(
        training={"critic_lr": log, "generator_lr": log},
        search={"num_trials": 26, "sampler": sampler},
    )

    def propose(name: str, *, reopens: bool) -> list[Any]:
        study, configs = Study(tmp_path / name, spec), []
        while (proposed := study.ask()) is not None:
            configs.append(proposed.config)
            score = abs(proposed.config.training.critic_lr - 1e-3)
            ending = "stopped" if proposed.number % 3 == 0 else "completed"
            study.end(proposed.number, ending, {"generator_steps": 1000.0}, score)
            if reopens:
                study = Study(tmp_path / name, spec)
        return configs

    assert propose("reopened.log", reopens=True) == propose("open.log", reopens=False)


# --- Trials that wait to be promoted -----------------------------------------------------------


def test_where_trials_wait_one_with_a_score_is_seen_as_one_that_was_stopped():
    """TPE counts a running trial as bad, and all but the last would run until the end."""
    waiting = [trial(i, TrialState.RUNNING, float(-i)) for i in range(NUM_LATEST + 200)]
    new = trial(len(waiting), TrialState.RUNNING, 0.0, rung=None)
    trials = [*waiting, new]
    shown = SamplerView(trials, promotes=True).select(trials)
    assert len(shown) == NUM_LATEST + 1  # of them the best are the latest
    seen = {t.number: t.state for t in proposals._as_sampled(shown, "tpe", promotes=True)}
    assert seen.pop(new.number) == TrialState.RUNNING
    assert set(seen.values()) == {TrialState.PRUNED}
    assert SamplerView(trials).select(trials) == trials  # as ever where none waits
    assert {t.state for t in proposals._as_sampled(trials, "tpe")} == {TrialState.RUNNING}


def test_the_view_does_not_depend_on_when_a_trial_was_promoted():
    def promoted(number: int, rungs: int) -> FrozenTrial:
        scores = {250 * 4**i: 1.0 - i for i in range(rungs)}
        made = create_trial(state=TrialState.RUNNING, intermediate_values=scores)
        made.number = number
        return made

    step_by_step = SamplerView(promotes=True)
    for rungs in range(3):
        for number in range(NUM_LATEST + 60):
            if rungs < 2 or number < 3:
                step_by_step.update(promoted(number, rungs))
    gone = diverged(1, TrialState.PRUNED)
    step_by_step.update(gone)
    trials = [promoted(n, 2 if n < 3 else 1) for n in range(NUM_LATEST + 60)]
    trials[1] = gone
    at_once = SamplerView(trials, promotes=True)
    shown = [view.select(trials) for view in (step_by_step, at_once)]
    assert shown[0] == shown[1]
    assert {0, 2} <= {t.number for t in shown[0]}  # the best, by the rung that they came to
    assert 1 not in {t.number for t in shown[0]}
