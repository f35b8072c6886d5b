"""Searches replayed on recorded trials, and the stopping rules."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from benchmarks.efficiency.curves import SCORED_AT, recorded
from benchmarks.efficiency.replay import NUM_TRIALS, Replay, SearchAsha, Setting, Table
from benchmarks.efficiency.rungs import Pasha, SoftHalving

ALL_RUN = Setting("random, none stopped", ("search.sampler=random", "asha.reduction_factor=1"))
DEFAULT = Setting("default")


@pytest.fixture(scope="module")
def table() -> Table:
    return Table(recorded(), DEFAULT.spec.domains)


def test_every_recorded_trial_was_scored_at_all_rungs_or_diverged(table: Table) -> None:
    assert len(table.curves) >= 150
    for curve in table.curves:
        scored = [steps for steps, report in curve.reports.items() if "w1" in report]
        assert scored == list(SCORED_AT[: len(scored)])
        assert (len(scored) == len(SCORED_AT)) or curve.has_diverged


def test_a_proposal_of_a_recorded_trial_is_that_trial_until_it_is_taken(table: Table) -> None:
    taken = np.zeros(len(table.curves), bool)
    for index in (0, 40, 149):
        assert table.nearest(table.curves[index].params, taken) == index
    taken[40] = True
    assert table.nearest(table.curves[40].params, taken) != 40


def test_a_search_that_stops_none_pays_the_full_length_of_each_trial(table: Table) -> None:
    outcome = Replay(ALL_RUN, table, seed=0).run(1, table.best_truth)
    last = outcome.first(table.best_truth)
    assert last.generator_steps == SCORED_AT[-1] * last.num_trials
    # The truth after more trials may be worse only where w1 misplaces one: here never by much.
    assert outcome.after_num_trials.num_trials == NUM_TRIALS
    assert all(pick.generator_steps % SCORED_AT[-1] == 0 for pick in outcome.picks)


def test_more_workers_take_as_many_steps_and_less_time(table: Table) -> None:
    one, eight = (Replay(ALL_RUN, table, seed=1).run(n, table.best_truth) for n in (1, 8))
    alone, together = (o.first(table.best_truth) for o in (one, eight))
    assert alone.num_trials == pytest.approx(together.num_trials, abs=8)
    assert together.seconds < alone.seconds / 4


def test_asha_needs_fewer_steps_for_as_many_trials(table: Table) -> None:
    stopped = replace(ALL_RUN, overrides=("search.sampler=random",))
    after = [Replay(s, table, 0).run(1, np.inf).after_num_trials for s in (ALL_RUN, stopped)]
    assert after[1].generator_steps < after[0].generator_steps / 2


def test_soft_halving_with_no_tolerance_is_asha(table: Table) -> None:
    asha, soft = SearchAsha(DEFAULT.spec, 0), SoftHalving(DEFAULT.spec, 0, num_errors=0.0)
    rng = np.random.default_rng(0)
    for number in range(300):
        report = {"w1": float(rng.normal()), "w1_stderr": float(rng.uniform())}
        for steps in (75, 300):
            continues = asha.continues(number, steps, report)
            assert continues == soft.continues(number, steps, report)
            if not continues:
                break


def test_soft_halving_continues_a_trial_that_is_behind_by_less_than_its_tolerance() -> None:
    def passes(num_errors: float) -> bool:
        soft = SoftHalving(DEFAULT.spec, 0, num_errors)
        for number in range(4):
            soft.continues(number, 75, {"w1": 1.0, "w1_stderr": 0.3})
        # behind by 1, two standard errors of the difference: hypot(0.4, 0.3) = 0.5
        return soft.continues(4, 75, {"w1": 2.0, "w1_stderr": 0.4})

    assert (passes(1.9), passes(2.1)) == (False, True)


def test_pasha_opens_a_rung_only_when_the_order_changes_by_more_than_the_noise() -> None:
    def top_after(below: float, stderr: float) -> int:
        pasha = Pasha(DEFAULT.spec, 0)
        assert pasha.top_generator_steps == 300
        for number, (first, second) in enumerate([(2.0, 0.5), (below, 1.0)]):
            assert pasha.continues(number, 75, {"w1": first, "w1_stderr": stderr})
            pasha.continues(number, 300, {"w1": second, "w1_stderr": stderr})
        return pasha.top_generator_steps

    assert top_after(below=1.0, stderr=0.01) == 1200  # the second was ahead, and now is behind
    assert top_after(below=1.0, stderr=1.0) == 300


def test_a_search_that_promotes_trains_each_trial_to_a_rung_once(table: Table) -> None:
    setting = Setting("promoted", ("asha.variant=promotion",))
    outcome = Replay(setting, table, 0).run(8, np.inf).after_num_trials
    rungs = setting.spec.asha.rungs
    # 60 trials reach the first rung, and a quarter of each rung's trials the next; early arrivals
    # are promoted beyond their quarter.
    least = sum(60 // 4**i * (rung - ([0, *rungs][i])) for i, rung in enumerate(rungs))
    assert 0.5 * least < outcome.generator_steps < 2 * least


def test_the_settings_that_are_compared_are_what_they_are_called() -> None:
    from benchmarks.efficiency.settings import SETTINGS, VARIANTS

    by_name = {setting.name: setting for setting in (*SETTINGS, *VARIANTS)}
    assert len(by_name) == len(SETTINGS) + len(VARIANTS)
    assert by_name["random, none stopped"].spec.search.sampler == "random"
    assert by_name["rungs x2 from 75"].spec.asha.rungs == (75, 150, 300, 600, 1200)
    objective = by_name["by the own critic's estimate"].spec.objective
    assert objective.score_of({"w1": 1.0, "critic_estimate": 7.0}) == 7.0
    assert isinstance(by_name["stopped beyond 2 standard errors"].stopping_rule, partial)
