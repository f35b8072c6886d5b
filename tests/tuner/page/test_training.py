"""What trials reported in training, by metric."""

import math
from collections.abc import Callable
from dataclasses import replace

from made_search import facts, trial

from tuner.page import text, training
from tuner.page.facts import Facts
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]


def made(spec: SearchSpec) -> Facts:
    """A trial that was scored twice, one that diverged before the first rung, and one to come."""
    trials = [trial(spec, 0, [3.0, 2.0]), trial(spec, 1, [], "diverged"), trial(spec, 2, [], None)]
    loss = {"training_seconds": 1.0, "diverged": 0.0, "w1_stderr": 0.1}
    reports = {
        0: {
            250: {**loss, "critic_loss": -1.234567, "w1": 3.0, "sliced_w1": 4.0},
            500: {**loss, "critic_loss": -2.0},
            1000: {**loss, "critic_loss": -1.5, "w1": 2.0},
        },
        1: {100: {**loss, "critic_loss": 7.0}, 200: {**loss, "critic_loss": math.nan}},
    }
    return Facts(replace(facts(spec, trials).search, reports=reports))


def test_each_metric_has_the_reports_of_every_trial_and_a_gap_after_each(
    make_spec: MakeSpec,
) -> None:
    drawn = training.training_curves(made(make_spec()))
    assert drawn is not None
    assert training.series_names(drawn) == ["critic's loss", "w1 at the rungs", "sliced_w1"]
    assert [trace.name for trace in drawn.data] == ["stopped at 1,000 (1)", "diverged (1)"]
    stopped, diverged = drawn.layout.meta["series"]["critic's loss"]
    assert stopped == {
        "x": [250, 500, 1000, None], "y": [-1.2346, -2.0, -1.5, None],
        "customdata": [0, 0, 0, None],
    }  # fmt: skip
    assert diverged == {"x": [100, None], "y": [7.0, None], "customdata": [1, None]}
    assert drawn.layout.meta["series"]["w1 at the rungs"][0]["x"] == [250, 1000, None]
    assert list(drawn.data[0].y) == stopped["y"]


def test_the_most_trials_and_points_are_bounded_and_said(make_spec: MakeSpec) -> None:
    spec = make_spec()
    trials = [trial(spec, n, [1.0 + n]) for n in range(500)]
    reports = {n: {s: {"critic_loss": 1.0} for s in range(1, 101)} for n in range(500)}
    many = Facts(replace(facts(spec, trials).search, reports=reports))
    drawn = training.training_curves(many)
    assert drawn is not None
    numbers = [n for trace in drawn.data for n in trace.customdata if n is not None]
    num = len(set(numbers))
    assert num == 120
    assert len(numbers) == 40 * num
    assert {*range(60)} <= set(numbers), "the best are among them"
    assert text.trials(many)["training_note"] == f"Of 500 trials {num} are drawn."


def test_a_search_without_reports_has_no_curves(make_spec: MakeSpec) -> None:
    assert training.training_curves(Facts(replace(facts(make_spec(), []).search))) is None
    assert training.series_names(None) == []
