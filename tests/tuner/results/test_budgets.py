"""What a search has used of its budgets."""

from tuner.results.budgets import Spent, trial_seconds

SPENT = Spent(elapsed_s=50.0, generator_steps=3000, trial_s=7200.0, gpus_per_trial=0.5)


def test_each_budget_is_used_by_its_own_measure():
    budgets = {"time_budget_s": 100.0, "generator_steps": 12_000, "gpu_hours": 2.0}
    shares = {"time_budget_s": 0.5, "generator_steps": 0.25, "gpu_hours": 0.5}
    assert SPENT.shares_of(budgets) == shares
    assert SPENT.shares_of({"num_trials": 3, "time_budget_s": None}) == {}


def test_the_first_budget_that_is_used_up_ends_a_search():
    assert not SPENT.exceeds({"time_budget_s": 51, "generator_steps": 3001, "gpu_hours": 1.1})
    for key, budget in (("time_budget_s", 50), ("generator_steps", 3000), ("gpu_hours", 1.0)):
        assert SPENT.exceeds({"time_budget_s": 51, key: budget})


def test_a_trial_occupies_its_gpu_while_it_trains_and_is_scored():
    assert trial_seconds({"training_seconds": 3.0, "scoring_seconds": 2.0, "w1": 9.0}) == 5.0
    assert trial_seconds({}) == 0.0
