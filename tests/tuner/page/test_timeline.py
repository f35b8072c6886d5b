"""The search over its time: which trials ran when, and the best so far."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made_search import FLOOR, trial

from tuner.page.facts import Facts
from tuner.page.timeline import Stretch, best_so_far, stretches, timeline
from tuner.results.snapshot import Snapshot
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]
#: When each trial starts and ends; the search's clock starts at START.
START, TIMES = 1e9, [(0.0, 10.0), (2.0, 6.0), (6.0, 9.0), (10.0, 30.0)]


def made(spec: SearchSpec, w1: list[float]) -> Facts:
    """Completed trials that ran at TIMES; each reports once on its way, and at its end."""
    trials, reports = [], {}
    for number, ((start_s, end_s), score) in enumerate(zip(TIMES, w1, strict=True)):
        one = trial(spec, number, [9.0, 9.0, score], "completed")
        trials.append(replace(one, ended_unix_time_s=START + end_s))
        reports[number] = {
            steps: {
                "generator_steps": float(steps),
                "training_seconds": share * (end_s - start_s) - 0.5,
                "scoring_seconds": 0.5,
                "unix_time_s": START + start_s + share * (end_s - start_s),
            }
            for steps, share in ((2000, 0.5), (4000, 1.0))
        }
    return Facts(Snapshot(Path("/nowhere"), spec, "id", tuple(trials), reports, FLOOR, 60.0, False))


def rows(found: list[Stretch]) -> dict[int, tuple[float, float, int]]:
    return {s.trial.number: (s.start_s - START, s.end_s - START, s.row) for s in found}


def test_trials_that_overlap_are_in_different_rows(make_spec: MakeSpec) -> None:
    found = rows(stretches(made(make_spec(), [1.0, 1.0, 1.0, 1.0])))
    assert found == {
        0: pytest.approx((0, 10, 0)), 1: pytest.approx((2, 6, 1)),
        2: pytest.approx((6, 9, 1)), 3: pytest.approx((10, 30, 0)),
    }  # fmt: skip


def test_an_interruption_splits_a_bar(make_spec: MakeSpec) -> None:
    facts = made(make_spec(), [1.0, 1.0, 1.0, 1.0])
    last = facts.search.reports[3][4000]
    last["unix_time_s"] += 3600  # type: ignore[index]
    found = [s for s in stretches(facts) if s.trial.number == 3]
    spans = [(s.start_s - START, s.end_s - START) for s in found]
    assert spans == [pytest.approx((10, 20)), pytest.approx((3620, 3630))]
    drawn = timeline(facts)
    assert drawn is not None
    assert drawn.layout.xaxis.title.text == "minutes since the first trial started"
    (bars,) = drawn.data
    assert list(bars.customdata) == [0, 1, 2, 3, 3]
    minutes = [10 / 60, 4 / 60, 3 / 60, 10 / 60, 10 / 60]
    assert list(bars.x) == pytest.approx(minutes, rel=1e-5)


def test_the_best_so_far_follows_the_order_of_the_ends(make_spec: MakeSpec) -> None:
    facts = made(make_spec(), [3.0, 4.0, 5.0, 2.0])  # which end as 1, 2, 0, 3
    for by, xs in (("trials", [1, 2, 3, 4]), ("time", [6, 9, 10, 30])):
        drawn = best_so_far(facts, by)
        assert drawn is not None
        points, line = drawn.data
        assert list(points.customdata) == [1, 2, 0, 3]
        assert list(points.y) == [4, 5, 3, 2]
        assert list(line.y) == [4, 4, 3, 2]
        assert list(line.x) == pytest.approx(xs)
        assert drawn.layout.yaxis.title.text == "w1 (data units), at step 4,000"


def test_a_search_without_times_has_neither(make_spec: MakeSpec) -> None:
    facts = Facts(replace(made(make_spec(), [1.0] * 4).search, trials=(), reports={}))
    assert timeline(facts) is best_so_far(facts, "time") is best_so_far(facts, "trials") is None
