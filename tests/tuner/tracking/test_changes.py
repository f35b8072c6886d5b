"""The trials that wait for MLflow: each is taken as it is then, and counted until it is done."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from made_search import trial

from tuner.space.spec import SearchSpec
from tuner.study.trial import Trial
from tuner.tracking.changes import ChangedTrials


@pytest.fixture
def running(make_spec: Callable[..., SearchSpec]) -> list[Trial]:
    return [trial(make_spec(), number, [], None) for number in range(3)]


def test_a_trial_that_changed_often_is_taken_once_and_as_it_is(running: list[Trial]) -> None:
    changed = ChangedTrials()
    changed.mark(running[1], is_running=True)
    changed.mark(running[0], is_running=True)
    ended = replace(running[1], status="completed")
    changed.mark(ended, is_running=False)
    changes = changed.take(0)
    assert changes is not None
    assert list(changes.trials) == [1, 0], "the one that has waited longest goes first"
    assert changes.trials[1] is ended
    assert changes.running == {0}
    assert changes.since_ms[1] <= changes.since_ms[0]


def test_a_trial_is_lacking_until_it_is_done_but_for_changes_meanwhile(
    running: list[Trial],
) -> None:
    changed = ChangedTrials()
    for one in running[:2]:
        changed.mark(one)
    assert changed.lacking == {None, "00000", "00001"}
    changed.take(0)
    changed.mark(running[1])  # while the two are written
    for one in (*running[:2], None):
        changed.done(one)
    assert changed.lacking == {None, "00001"}
    changed.take(0)
    for one in (running[1], None):
        changed.done(one)
    assert changed.lacking == set()


def test_once_closed_no_trial_runs_no_change_is_taken_and_the_search_lacks_its_end(
    running: list[Trial],
) -> None:
    changed = ChangedTrials()
    for one in running[:2]:
        changed.mark(one, is_running=True)
        changed.take(0)
        changed.done(one)
    changed.close()
    changed.mark(running[2])
    assert changed.trials() == running[:2]
    assert changed.lacking == {None, "00000", "00001"}
    changes = changed.take(60)
    assert changes is not None
    assert (list(changes.trials), changes.running) == ([0, 1], frozenset())
    assert changed.take(60) is None
    changed.done(None)
    assert None in changed.lacking
    changed.all_done()
    assert None not in changed.lacking


def test_whoever_waits_gets_what_is_marked_later(running: list[Trial]) -> None:
    changed, taken = ChangedTrials(), []
    thread = threading.Thread(target=lambda: taken.append(changed.take(0)))
    thread.start()
    changed.mark(running[0])
    thread.join(10)
    assert list(taken[0].trials) == [0]
