"""The curve of the best score: one value for each trial that ends, live as afterwards."""

import math
from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_search import trial

from tuner.space.spec import SearchSpec
from tuner.study.trial import Trial
from tuner.tracking.best_scores import BestScores

MakeSpec = Callable[..., SearchSpec]
NOTHING_YET = -math.inf


def ended(spec: SearchSpec, number: int, status: str, w1: float, at_s: float) -> Trial:
    made = trial(spec, number, [w1] * 3, status)  # type: ignore[arg-type]
    return replace(made, ended_unix_time_s=at_s)


def curve(scores: BestScores, since: float = NOTHING_YET) -> list[tuple[float, float]]:
    return [(r["trials_finished"], r["best_w1"]) for r in scores.since(since)]


def test_it_starts_with_the_first_trial_that_completes_and_never_rises(make_spec: MakeSpec):
    spec, scores = make_spec(), BestScores("w1")
    rows = [("stopped", 0.1), ("completed", 0.5), ("failed", 0.1), ("completed", 0.7),
            ("completed", 0.3)]  # fmt: skip
    assert scores.add([trial(spec, 9, [1.0], None)]) is False, "one that runs does not count"
    assert scores.add(ended(spec, i, *row, at_s=i) for i, row in enumerate(rows))
    assert curve(scores) == [(2, 0.5), (3, 0.5), (4, 0.5), (5, 0.3)]
    assert curve(scores, since=3) == [(4, 0.5), (5, 0.3)]
    assert [r["unix_time_s"] for r in scores.since(3)] == [3.0, 4.0]


ENDS = st.tuples(st.sampled_from(["completed", "stopped", "failed"]), st.floats(0, 9))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ENDS, max_size=12), st.data())
def test_it_is_the_same_however_often_it_was_looked_at(
    make_spec: MakeSpec, rows: list[tuple[str, float]], data: st.DataObject
):
    """Live the trials come as they end; at a resume all of them come at once, by number."""
    spec = make_spec()
    trials = [ended(spec, i, *row, at_s=100.0 - i) for i, row in enumerate(rows)]
    afterwards, live = BestScores("w1"), BestScores("w1")
    afterwards.add(trials)
    as_they_end = trials[::-1]
    while as_they_end:
        num = data.draw(st.integers(1, len(as_they_end)))
        live.add(data.draw(st.permutations(as_they_end[:num])))
        as_they_end = as_they_end[num:]
    assert curve(live) == curve(afterwards)
