"""The trials at each rung, for made-up searches whose counts are known."""

from collections.abc import Callable
from dataclasses import replace

from made_search import facts, of_every_end, trial

from tuner.page.figures import rung_ladder
from tuner.page.ladder import ladder
from tuner.page.text import trials
from tuner.space.spec import SearchSpec


def test_each_trial_that_started_towards_a_rung_has_one_outcome(
    make_spec: Callable[..., SearchSpec],
) -> None:
    spec = make_spec(search={"num_trials": 9})
    cut = trial(spec, 8, [7.0]).with_metrics({"generator_steps": 700.0})
    some = facts(spec, [*of_every_end(spec), cut])
    rows = ladder(some)
    assert [r.entered for r in rows] == [9, 5, 3]
    ends = [(r.stopped, r.out_of_budget, r.diverged, r.failed, r.running) for r in rows]
    assert ends == [(1, 0, 1, 1, 1), (1, 1, 0, 0, 0), (0, 0, 0, 0, 0)]
    assert [r.continued for r in rows] == [5, 3, 3]
    assert [(r.best, r.median) for r in rows] == [(2.0, 5.0), (1.5, 2.25), (0.9, 1.0)]
    drawn = rung_ladder(some)
    assert drawn is not None
    assert {bar.name: sum(bar.x) for bar in drawn.data} == {
        "continued or completed": 11, "stopped": 2, "out of budget": 1, "diverged": 1, "failed": 1,
        "running": 1,
    }  # fmt: skip


def test_a_trial_that_waits_is_counted_at_its_rung(make_spec: Callable[..., SearchSpec]) -> None:
    spec = make_spec(search={"num_trials": 9}, asha={"variant": "promotion"})
    waiting = replace(trial(spec, 8, [0.5, 0.25]), status=None, waiting_at=1000)
    some = facts(spec, [*of_every_end(spec), waiting])
    assert some.outcome(waiting) == "waiting"
    assert [(row.waiting, row.running) for row in ladder(some)] == [(0, 1), (1, 0), (0, 0)]
    drawn = rung_ladder(some)
    assert drawn is not None
    assert {bar.name: sum(bar.x) for bar in drawn.data}["waiting"] == 1
    shown = trials(some)
    assert shown["ladder_head"][3:8] == ["stopped", "diverged", "failed", "running", "waiting"]
    assert [row[7] for row in shown["ladder"]] == ["0", "1", "0"]
