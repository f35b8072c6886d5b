"""A search as a person sees it: one screen of 80 by 24, or a line an ending."""

import io
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from tuner import display as display_module
from tuner import record as record_module
from tuner.display import Display, clock, decoding, ending_line, remaining_s
from tuner.record import Record
from tuner.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]
OpenRecord = Callable[[SearchSpec], tuple[Record, Any]]
ADDRESSES = {
    "dashboard": "http://127.0.0.1:8265",
    "MLflow": "mlflow ui --backend-store-uri "
    "sqlite:////home/somebody/with/a/rather/long/path/to/all/of/the/runs/mlflow.db",
}


def make_console(file: io.StringIO, **options: Any) -> Console:
    """A console as the command makes it."""
    return Console(file=file, highlight=False, markup=False, soft_wrap=True, _environ={}, **options)


class Clock:
    """A time that moves when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(record_module.time, "monotonic", lambda: found.now_s)
    return found


def report(record: Record, number: int, steps: int, goes_on: bool = True, **metrics: float):
    record.reported(number, {"generator_steps": float(steps), **metrics}, goes_on=goes_on)


def run_some(record: Record) -> None:
    """Two completed, one stopped, diverged and failed each, and eight under way."""
    for _ in range(13):
        assert record.next_trial() is not None
    for number, w1 in ((0, 0.25), (1, 0.125)):
        report(record, number, 250, w1=w1 + 2)
        report(record, number, 1000, w1=w1 + 1)
        report(record, number, 4000, w1=w1, goes_on=False)
        record.ended(number)
    report(record, 2, 250, w1=9.0, goes_on=False)
    record.ended(2)
    report(record, 3, 60, diverged=1.0)
    record.ended(3)
    record.ended(4, "out of memory", failed=True)
    for number in range(5, 13):
        report(record, number, 50, generator_steps_per_s=100.0)
    report(record, 12, 250, w1=1.5, generator_steps_per_s=50.0)


@pytest.fixture
def record(make_spec: MakeSpec, open_record: OpenRecord, time: Clock) -> Record:
    record, _ = open_record(
        make_spec(name="digits-gp", search={"num_trials": 20, "sampler": "random"})
    )
    run_some(record)
    time.now_s += 3725
    return record


def screen(record: Record) -> list[str]:
    """The last frame, on a terminal of 80 by 24."""
    console = make_console(io.StringIO(), width=80, height=24, record=True, force_terminal=True)
    with Display(console, ADDRESSES).showing(record):
        pass
    text = console.export_text(styles=False)
    frame = text[text.rindex(f"{record.spec.name}  ") :]
    return [line.rstrip() for line in frame.rstrip("\n").split("\n")]


def test_the_screen_fits_a_small_terminal_and_says_where_things_stand(record: Record):
    lines = screen(record)
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    assert re.search(r"^digits-gp +1:02:05 elapsed, about 3:06:15 left$", text, re.MULTILINE)
    assert "13 of 20: 2 completed, 1 stopped, 1 diverged, 1 failed, 8 running" in re.sub(
        r"\s+", " ", text
    )
    assert re.search(r"^best w1 +0\.125, trial 00001$", text, re.MULTILINE)
    assert re.search(r"^speed +750 generator steps/s over all trials$", text, re.MULTILINE)
    assert "http://127.0.0.1:8265" in text
    assert ADDRESSES["MLflow"].replace(" ", "") in "".join(text.split())  # folded, not cut
    assert "stops the search, to be resumed" in text


def test_the_ladder_has_a_rung_a_line_with_its_best_and_who_is_on_the_way(record: Record):
    text = "\n".join(screen(record))
    ladder = re.sub(r"\s+", " ", text[text.index("rung") :])
    assert ladder == (
        "rung scored best w1 on the way "
        "250 4 1.5 00005 at 50, 00006 at 50, 00007 at 50, 00008 at 50, 00009 at 50, 00010 at 50 "
        "and 1 more "
        "1000 2 1.125 00012 at 250 "
        "4000 2 0.125"
    )


def test_a_search_that_has_just_begun_has_a_screen_too(
    make_spec: MakeSpec, open_record: OpenRecord
):
    record, _ = open_record(make_spec())
    text = "\n".join(screen(record))
    assert "time left not known yet" in text
    assert "no trial completed yet" in text
    assert "0 of 4: 0 completed, 0 stopped, 0 diverged, 0 failed, 0 running" in re.sub(
        r"\s+", " ", text
    )


def test_brackets_in_a_name_are_no_markup(make_spec: MakeSpec, open_record: OpenRecord):
    record, _ = open_record(make_spec(name="gp.v2_x-1"))
    assert screen(record)[0].startswith("gp.v2_x-1  ")


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
        report(record, 0, 250, w1=2.0, goes_on=False)
        record.ended(0)
        assert out.getvalue().count("\n") == 3
        time.now_s += 9
        record.ended(1, why, failed=True)
    assert out.getvalue().removeprefix(addresses) == (
        "0:00:00  trial 00000 stopped at generator step 250, w1 2; 1 trials ended\n"
        f"0:00:09  trial 00001 failed at generator step 0 ({why}); 2 trials ended\n"
    )


def run_final(record: Record) -> None:
    """Three trials end, of which the best two are scored again: one of them cannot be."""
    for number, w1 in ((0, 0.25), (1, 0.5), (2, 0.125)):
        assert record.next_trial() is not None
        report(record, number, 4000, w1=w1, goes_on=False)
        record.ended(number)
    assert [trial.number for trial in record.start_final()] == [2, 0]
    record.final_scored(2, 0.75, 0.25, seconds=1.0)
    record.final_failed(0, "the worker died")


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


def test_the_screen_says_how_far_the_final_is(make_spec: MakeSpec, open_record: OpenRecord):
    record, _ = open_record(make_spec(objective={"final_trials": 2}))
    assert "final" not in "\n".join(screen(record))
    run_final(record)
    text = "\n".join(screen(record))
    assert re.search(r"^final +2 of the best 2 scored again by stronger critics$", text, re.M)
    assert re.search(r"^best w1 +0\.125, trial 00002, w1 0\.75 by the final$", text, re.M)


def test_what_ranks_the_trials_is_named(make_spec: MakeSpec, open_record: OpenRecord):
    record, _ = open_record(
        make_spec(objective="critic_estimate", training={"generator_lr": {"low": 1e-5, "high": 1}})
    )
    for number, estimate in ((0, 3.0), (1, 2.0)):
        assert record.next_trial() is not None
        report(record, number, 4000, w1=estimate + 1, critic_estimate=estimate, goes_on=False)
        record.ended(number)
    assert ending_line(record, record.trials[0]) == (
        "trial 00000 completed at generator step 4000, critic_estimate 3; 2/4 trials ended; "
        "best critic_estimate 2 (trial 00001)"
    )
    text = "\n".join(screen(record))
    assert re.search(r"^best critic_estimate +2, trial 00001$", text, re.MULTILINE)
    assert re.search(r"^ +4000 +2 +2$", text, re.MULTILINE)


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


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00:00"), (59.9, "0:00:59"), (60, "0:01:00"), (3600, "1:00:00"), (360000, "100:00:00")],
)
def test_a_clock(seconds: float, shown: str):
    assert clock(seconds) == shown


def test_the_time_left_is_that_of_the_first_limit(
    make_spec: MakeSpec, open_record: OpenRecord, time: Clock
):
    record, _ = open_record(
        make_spec(search={"num_trials": 4, "time_budget_s": 100, "sampler": "random"})
    )
    assert remaining_s(record) == 100
    record.next_trial()
    time.now_s += 10
    assert remaining_s(record) == 90
    record.ended(0)
    assert remaining_s(record) == 30  # three more of 10 s each
    time.now_s += 80
    assert remaining_s(record) == 10
    time.now_s += 80
    assert remaining_s(record) == 0


def test_decoding_that_takes_long_is_told_in_lines_elsewhere_than_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
):
    now = 100.0
    monkeypatch.setattr(display_module, "time", SimpleNamespace(monotonic=lambda: now))
    file = io.StringIO()
    with decoding(make_console(file)) as progress:
        for done in range(1, 2001):
            now += 0.1
            progress(done, 2000)
    lines = file.getvalue().splitlines()
    assert lines[0] == "decoded 301 of 2,000 images"
    assert len(lines) == 6


def test_on_a_terminal_it_is_a_bar_once_it_has_taken_a_second(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr(display_module, "time", SimpleNamespace(monotonic=lambda: now))
    for seconds, shows in ((0.5, False), (1.5, True)):
        file = io.StringIO()
        with decoding(make_console(file, force_terminal=True, width=80)) as progress:
            now += seconds
            progress(1, 4)
        assert ("decoding images" in file.getvalue()) == shows
