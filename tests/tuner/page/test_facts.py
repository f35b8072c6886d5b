"""The numbers of a report, for made-up searches whose answers are known."""

from collections.abc import Callable, Sequence

import pytest
from made_search import facts, of_every_end, trial

from tuner.page.facts import Facts, cost, critic_pick, last_common_rung
from tuner.space.spec import SearchSpec
from tuner.study.trial import Trial

MakeSpec = Callable[..., SearchSpec]


@pytest.fixture
def spec(make_spec: MakeSpec) -> SearchSpec:
    """Return a search with rungs at 250, 1,000 and 4,000."""
    return make_spec(search={"num_trials": 9})


@pytest.fixture
def some(spec: SearchSpec) -> Facts:
    return facts(spec, of_every_end(spec))


def numbers(trials: Sequence[Trial]) -> list[int]:
    return [trial.number for trial in trials]


def test_places_are_by_the_final_then_the_last_rung_then_the_rung_reached(some: Facts) -> None:
    assert numbers(some.places) == [0, 1, 2, 3, 6, 4, 5, 7]
    assert some.place_of[6] == 5


def test_the_cost_adds_up_and_only_what_a_rung_stopped_was_saved(some: Facts) -> None:
    spent = cost(some)
    assert spent.generator_steps == 3 * 4000 + 1000 + 250 + 10 + 250 + 10
    assert spent.saved_steps == 3000 + 3750
    assert spent.training_cpu_s == pytest.approx(spent.generator_steps / 20)
    assert (spent.scoring_cpu_s, spent.final_cpu_s, spent.wall_s) == (4.0, 4.0, 60.0)
    assert spent.saved_share == pytest.approx(6750 / (6750 + 13520))


def test_what_the_time_budget_cut_off_was_not_saved(spec: SearchSpec) -> None:
    cut = trial(spec, 0, [3.0]).with_metrics({"generator_steps": 700.0})
    found = facts(spec, [cut])
    assert found.outcome(cut) == "out of budget"
    assert cost(found).saved_steps == 0


def test_cut_off_trials_are_compared_at_the_last_common_rung(
    spec: SearchSpec,
) -> None:
    def cut(number: int, *w1: float) -> Trial:
        return trial(spec, number, w1).with_metrics({"generator_steps": 3000.0})

    best = trial(spec, 0, [3.0, 2.0, 1.0], "completed")
    # The last has a lower w1 than the best had at that rung, and was stopped there by its rung.
    trials = [
        *(best, cut(1, 5.0, 1.9), cut(2, 2.9, 1.5), cut(3, 1.0, 2.1), trial(spec, 4, [1.0])),
        cut(5, 1.0, 1.99),  # within the error
    ]
    ahead = facts(spec, trials).cut_off
    assert [(a.trial.number, a.steps, a.w1, a.best_w1) for a in ahead] == [
        (2, 1000, 1.5, 2.0),
        (1, 1000, 1.9, 2.0),
    ]
    assert facts(spec, trials[1:2]).cut_off == []


def test_trials_compare_at_the_last_rung_that_both_reached(some: Facts) -> None:
    trials = some.search.trials
    assert last_common_rung(some, trials[0], trials[3]) == 1000
    assert last_common_rung(some, trials[0], trials[5]) is None
    assert some.median is not None
    assert some.median.number == 0  # of 0.9, 1.0 and 1.2


def test_critics_that_order_backwards_pick_the_worst(some: Facts) -> None:
    pick = critic_pick(some, 250)
    assert pick is not None
    assert (pick.trial.number, pick.best.number, pick.place, pick.num_trials) == (4, 2, 6, 6)
    assert pick.alike == pytest.approx(0)


def test_critics_that_agree_pick_the_best(spec: SearchSpec) -> None:
    trials = [trial(spec, n, [1.0 + n]) for n in range(4)]
    pick = critic_pick(facts(spec, trials, estimate=lambda w1: 7 * w1), 250)
    assert pick is not None
    assert (pick.trial, pick.place, pick.alike) == (pick.best, 1, 1.0)
    assert critic_pick(facts(spec, trials[:1]), 250) is None


def test_one_swapped_pair_of_neighbours_is_one_pair_of_six(spec: SearchSpec) -> None:
    trials = [trial(spec, n, [1.0 + n]) for n in range(4)]
    swapped = {1.0: 1.0, 2.0: 3.0, 3.0: 2.0, 4.0: 4.0}
    pick = critic_pick(facts(spec, trials, estimate=swapped.__getitem__), 250)
    assert pick is not None
    assert pick.alike == pytest.approx(5 / 6)


def test_equal_estimates_agree_as_by_chance(spec: SearchSpec) -> None:
    trials = [trial(spec, n, [1.0 + n]) for n in range(4)]
    pick = critic_pick(facts(spec, trials, estimate=lambda w1: 0.0), 250)
    assert pick is not None
    assert pick.alike == 0.5


def test_curves_are_of_w1_under_the_own_critics_objective_too(make_spec: MakeSpec) -> None:
    spec = make_spec(
        objective="critic_estimate", training={"generator_lr": {"low": 1e-5, "high": 1e-2}}
    )
    found = facts(spec, [trial(spec, 0, [3.0, 2.0])])
    only_scores = Facts(
        type(found.search)(**{**vars(found.search), "reports": {}})  # no report has a w1
    )
    assert found.curves == {0: {250: 3.0, 1000: 2.0}}
    assert only_scores.curves == {}
