"""What a search says as it runs: a line an ending where there is no terminal, and its log."""

import io
import threading
from collections.abc import Callable
from time import sleep
from types import SimpleNamespace

import pytest
from shown_search import (
    ADDRESSES,
    Clock,
    MakeSpec,
    OpenRecord,
    make_console,
    report,
    run_final,
    run_some,
)

from tuner.display import lines as lines_module
from tuner.display import progress as progress_module
from tuner.display.lines import Display
from tuner.display.progress import acknowledging, counting, working
from tuner.display.text import STOPPING, ending_line
from tuner.record import record as record_module
from tuner.record.record import Record

LINE = "decoded {done:,} of {total:,} images"


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(record_module.time, "monotonic", lambda: found.now_s)
    return found


@pytest.fixture
def record(make_spec: MakeSpec, open_record: OpenRecord, time: Clock) -> Record:
    record, _ = open_record(
        make_spec(name="digits-gp", search={"num_trials": 20, "sampler": "random"})
    )
    run_some(record)
    time.now_s += 3725
    return record


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (
            0,
            "trial 00000 completed at generator step 4000, w1 0.25; 5/20 trials ended; "
            "best w1 0.125 (trial 00001)",
        ),
        (
            3,
            "trial 00003 diverged at generator step 60; 5/20 trials ended; best w1 0.125 "
            "(trial 00001)",
        ),
        (
            4,
            "trial 00004 failed at generator step 0 (out of memory); 5/20 trials ended; "
            "best w1 0.125 (trial 00001)",
        ),
    ],
)
def test_the_line_of_an_ending(record: Record, number: int, line: str):
    assert ending_line(record, record.trials[number]) == line


def test_without_a_terminal_each_ending_is_a_line_as_it_happens(
    make_spec: MakeSpec, open_record: OpenRecord, time: Clock
):
    """One line however long: whoever reads a log searches it by lines."""
    record, _ = open_record(make_spec(search={"time_budget_s": 100, "sampler": "random"}))
    out = io.StringIO()
    why = "[red]a long message[/red] " * 10
    with Display(make_console(out, width=40), ADDRESSES).showing(record):
        addresses = out.getvalue()
        assert addresses.splitlines() == [f"{name}: {at}" for name, at in ADDRESSES.items()]
        for _ in range(2):
            record.next_trial()
        report(record, 0, 250, w1=2.0, continues=False)
        record.ended(0)
        assert out.getvalue().count("\n") == 3
        time.now_s += 9
        record.ended(1, why, failed=True)
    assert out.getvalue().removeprefix(addresses) == (
        "0:00:00  trial 00000 stopped at generator step 250, w1 2; 1 trial ended\n"
        f"0:00:09  trial 00001 failed at generator step 0 ({why}); 2 trials ended\n"
    )


def test_without_a_terminal_the_final_is_a_line_a_trial(
    make_spec: MakeSpec, open_record: OpenRecord
):
    record, _ = open_record(make_spec(objective={"final_trials": 2}))
    out = io.StringIO()
    with Display(make_console(out), {}).showing(record):
        run_final(record)
    assert [line.split("  ", 1)[1] for line in out.getvalue().splitlines()[3:]] == [
        "the final: the best 2 trials are scored again, by stronger critics",
        "trial 00002 in the final: w1 0.75 +- 0.49 (95%) by the final, w1 0.125 at its last rung",
        "trial 00000 could not be scored again (the worker died): it keeps its score",
    ]


def test_what_ranks_the_trials_is_named(make_spec: MakeSpec, open_record: OpenRecord):
    record, _ = open_record(
        make_spec(objective="critic_estimate", training={"generator_lr": {"low": 1e-5, "high": 1}})
    )
    for number, estimate in ((0, 3.0), (1, 2.0)):
        assert record.next_trial() is not None
        report(record, number, 4000, w1=estimate + 1, critic_estimate=estimate, continues=False)
        record.ended(number)
    assert ending_line(record, record.trials[0]) == (
        "trial 00000 completed at generator step 4000, critic_estimate 3; 2/4 trials ended; "
        "best critic_estimate 2 (trial 00001)"
    )


def test_without_a_terminal_a_long_silence_is_broken_by_a_line_on_how_things_stand(
    make_spec: MakeSpec, open_record: OpenRecord, time: Clock
):
    record, _ = open_record(make_spec())
    out = io.StringIO()
    with Display(make_console(out), {}).showing(record):
        record.next_trial()
        for steps in (10, 50, 100):
            report(record, 0, steps, generator_steps_per_s=12.0)
            time.now_s += 600
            if steps == 10:
                assert out.getvalue() == ""
    assert out.getvalue().splitlines() == [
        f"{at}  trials 1 of 4: 0 completed, 0 stopped, 0 diverged, 0 failed, 1 running; best w1 no "
        "trial completed yet; speed 12 generator steps/s over all trials"
        for at in ("0:10:00", "0:20:00")
    ]


def test_in_the_final_the_silence_is_broken_by_how_far_it_is(
    make_spec: MakeSpec, open_record: OpenRecord, time: Clock
):
    record, _ = open_record(make_spec(objective={"final_trials": 2}))
    run_final(record)
    out = io.StringIO()
    record.in_final = True
    with Display(make_console(out), {}).showing(record):
        time.now_s += 31
        record.tick()
    assert (
        out.getvalue()
        .splitlines()[0]
        .endswith("  the final: 2 of the best 2 scored again by stronger critics")
    )


def test_decoding_that_takes_long_is_told_in_lines_elsewhere_than_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
):
    now = 100.0
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: now))
    file = io.StringIO()
    with counting(make_console(file), "decoding images", LINE) as progress:
        for done in range(1, 2001):
            now += 0.1
            progress(done, 2000)
    lines = file.getvalue().splitlines()
    assert lines[0] == "decoded 81 of 2,000 images"
    assert len(lines) == 24


def test_on_a_terminal_it_is_a_bar_once_it_has_taken_a_second(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: now))
    for seconds, shows in ((0.5, False), (1.5, True)):
        file = io.StringIO()
        console = make_console(file, force_terminal=True, width=80)
        with counting(console, "decoding images", LINE) as progress:
            now += seconds
            progress(1, 4)
        assert ("decoding images" in file.getvalue()) == shows


def test_without_a_terminal_work_that_takes_time_is_named_at_once_and_then_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_module, "LINE_EVERY_S", 0.05)
    out = io.StringIO()
    with working(make_console(out), "starting Ray"):
        assert out.getvalue() == "starting Ray ...\n"
        wait_for(lambda: out.getvalue().count("\n") >= 3)
    lines = out.getvalue().splitlines()
    assert set(lines[1:]) == {"starting Ray ... 0:00:00"}


def test_an_interruption_of_what_takes_long_is_acknowledged_once_and_at_once() -> None:
    out, interrupted = io.StringIO(), threading.Event()
    with acknowledging(interrupted, make_console(out), "stopping"):
        sleep(0.5)
        assert out.getvalue() == ""
        interrupted.set()
        wait_for(lambda: out.getvalue() != "")
        sleep(0.5)
    assert out.getvalue() == "stopping\n"


def test_work_that_ends_soon_is_not_named() -> None:
    out = io.StringIO()
    with working(make_console(out), "measuring", delay_s=60):
        pass
    assert out.getvalue() == ""


def test_an_interruption_is_said_at_once_and_a_line_comes_though_nothing_happens(
    record: Record, time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "_LOOK_EVERY_S", 0.01)
    out, interrupted = io.StringIO(), threading.Event()
    with Display(make_console(out, width=200), {}, interrupted).showing(record):
        for count in (1, 2):
            time.now_s += 7.9
            sleep(0.1)
            assert out.getvalue().count(" of 20: ") == count - 1
            time.now_s += 0.2
            wait_for(lambda count=count: out.getvalue().count(" of 20: ") == count)
        assert STOPPING not in out.getvalue()
        interrupted.set()
        wait_for(lambda: STOPPING in out.getvalue())
    assert out.getvalue().count(STOPPING) == 1


def wait_for(is_true: Callable[[], bool]) -> None:
    """Wait for another thread; a test's own limit ends a wait in vain."""
    while not is_true():
        sleep(0.01)


def test_a_trial_that_waits_is_a_line_and_is_counted_apart(
    make_spec: MakeSpec, open_record: OpenRecord, time: Clock
):
    record, _ = open_record(make_spec(asha={"variant": "promotion"}))
    out = io.StringIO()
    with Display(make_console(out), {}).showing(record):
        for number, w1 in ((0, 2.0), (1, 1.0)):
            record.next_trial()
            metrics = {"generator_steps": 250.0, "w1": w1}
            record.reported(number, metrics, continues=False, waits=True)
            record.left(number)
        time.now_s += 600
        record.tick()
        record.end_waiting()
    printed = [line.split("  ", 1)[1] for line in out.getvalue().splitlines()]
    assert printed[:2] == [
        "trial 00000 waits at generator step 250, w1 2; 0/4 trials ended",
        "trial 00001 waits at generator step 250, w1 1; 0/4 trials ended",
    ]
    assert (
        "trials 2 of 4: 0 completed, 0 stopped, 0 diverged, 0 failed, 0 running, 2 waiting;"
        in (printed[2])
    )
    assert printed[3] == "trial 00000 stopped at generator step 250, w1 2; 1/4 trials ended"
