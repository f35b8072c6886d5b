"""What waits for MLflow: order within a trial, fewer requests, and every write counted."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tuner.tracking.backlog import Backlog, Event
from tuner.tracking.values import Change

KINDS = st.sampled_from(["report", "file", "end"])


def change(step: int) -> Change:
    return Change(reports=[{"generator_steps": step}])


def fill(events: list[tuple[str, str]], written: list[tuple[str, str, Any]]) -> Backlog:
    """A backlog of numbered events, which keep what is written in `written`."""

    def write(trial_id: str | None, merged: Change) -> None:
        written.append((str(trial_id), "report", [r["generator_steps"] for r in merged.reports]))

    backlog = Backlog(write)
    for number, (trial_id, kind) in enumerate(events):
        if kind == "report":
            backlog.put_change(trial_id, change(number))
        else:
            mark = (trial_id, kind, number)
            backlog.put(Event(trial_id, lambda m=mark: written.append(m), is_file=kind == "file"))
    return backlog


def drain(backlog: Backlog) -> None:
    for event in backlog.taken():
        event.write()
        backlog.done(event)


@given(st.lists(st.tuples(st.sampled_from("ab"), KINDS), max_size=30))
def test_all_is_written_in_order_with_files_alone_overtaken(events: list[tuple[str, str]]) -> None:
    written: list[tuple[str, str, Any]] = []
    backlog = fill(events, written)
    assert len(backlog) == len(events)
    backlog.close([])
    drain(backlog)
    assert len(backlog) == 0
    assert backlog.missing() == Counter()
    for trial in "ab":
        told = [(kind, n) for n, (of, kind) in enumerate(events) if of == trial]
        mine = [(kind, what) for of, kind, what in written if of == trial]
        flat = [(k, n) for k, what in mine for n in (what if k == "report" else [what])]
        for kinds in (("report", "end"), ("file", "end")):
            assert [e for e in flat if e[0] in kinds] == [e for e in told if e[0] in kinds]
        # Never more requests than between two ends one of all reports.
        num_ends = sum(kind == "end" for kind, _ in told)
        assert sum(kind == "report" for kind, _ in mine) <= num_ends + 1


def test_the_trial_that_has_waited_longest_goes_first_and_the_end_last() -> None:
    written: list[tuple[str, str, Any]] = []
    backlog = fill([("a", "report"), ("b", "report"), ("a", "report")], written)
    backlog.close([Event(None, lambda: written.append(("", "end", None)))])
    drain(backlog)
    assert written == [("a", "report", [0, 2]), ("b", "report", [1]), ("", "end", None)]


def test_what_is_not_written_is_counted_by_trial() -> None:
    backlog = fill([("a", "report"), ("a", "report"), ("b", "file")], [])
    backlog.expect("c")
    backlog.leave_out("b", 2)
    backlog.close([Event(None, lambda: None)])
    taken = next(iter(backlog.taken()))
    assert taken.num_writes == 2
    assert backlog.missing() == Counter({"a": 2, "b": 3, "c": 1, None: 1})
    backlog.done(taken)
    assert backlog.missing() == Counter({"b": 3, "c": 1, None: 1})


def test_nothing_is_added_once_it_is_closed() -> None:
    backlog = Backlog(lambda trial_id, merged: None)
    backlog.close([])
    backlog.put_change("a", change(1))
    assert list(backlog.taken()) == []
    assert len(backlog) == 0


def test_the_last_params_and_the_last_ending_hold() -> None:
    first = Change({"lr": 1, "n": 2}, [{"w1": 1.0}], time_ms=5)
    second = Change({"lr": 3}, [{"w1": 2.0}], ("completed", None), time_ms=9)
    merged = Change.merged([first, second])
    assert merged == Change(
        {"lr": 3, "n": 2}, [{"w1": 1.0}, {"w1": 2.0}], ("completed", None), time_ms=5
    )
    assert Change.merged([change(1)]).params is None
