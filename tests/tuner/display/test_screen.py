"""A search as a person at a terminal of 80 by 24 sees it."""

import io
import re

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

from tuner.display.screen import Screen
from tuner.display.text import remaining_s
from tuner.record import record as record_module
from tuner.record.record import Record
from tuner.results.text import clock


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


class Seen:
    """A screen that follows a record, looked at on a terminal of a given size."""

    def __init__(self, record: Record, height: int = 24, width: int = 80) -> None:
        self.console = make_console(
            io.StringIO(), width=width, height=height, record=True, force_terminal=True
        )
        self.screen = Screen(record, ADDRESSES, self.console)
        record.listeners.append(self.screen)

    def lines(self) -> list[str]:
        self.console.print(self.screen)
        text = self.console.export_text(styles=False)
        empty, *lines = text.rstrip("\n").split("\n")  # it keeps away from what was said before
        assert empty.strip() == ""
        return [line.rstrip() for line in lines]

    def text(self) -> str:
        return "\n".join(self.lines())


def lines_of(text: str, start: str, end: str) -> list[str]:
    """The lines from the one that starts so to before another, spaces run together."""
    part = text[text.index(start) : text.index(end)].strip()
    return [re.sub(r" +", " ", line.strip()) for line in part.split("\n")]


def test_it_fits_a_small_terminal_and_says_where_things_stand(record: Record):
    seen = Seen(record)
    lines = seen.lines()
    assert len(lines) < 23
    assert all(len(line) <= 80 for line in lines)
    assert lines[0] == "digits-gp  1:02:05 elapsed, about 3:06:15 left"
    text = "\n".join(lines)
    assert re.search(r"^trials +\S+ +5 of 20 ended$", text, re.MULTILINE)
    assert re.search(
        r"^ +2 completed, 1 stopped, 1 diverged, 1 failed, 8 running$", text, re.MULTILINE
    )
    assert re.search(r"^best w1 +0\.125, trial 00001$", text, re.MULTILINE)
    assert re.search(r"^speed +750 generator steps/s over all trials$", text, re.MULTILINE)
    assert "http://127.0.0.1:8265" in text
    assert ADDRESSES["MLflow"].replace(" ", "") in "".join(text.split())  # folded, not cut
    assert "stops the search, to be resumed" in text


def test_it_says_what_the_best_trial_has_of_what_is_searched(record: Record):
    best = record.best_so_far
    assert best is not None
    found = re.search(r"^with +critic_lr (\S+)$", Seen(record).text(), re.MULTILINE)
    assert found
    assert float(found[1]) == pytest.approx(best.config.training.critic_lr, rel=0.01)


def test_beside_the_best_score_stands_that_of_real_samples(
    make_spec: MakeSpec, open_record: OpenRecord
):
    spec = make_spec(objective={"final_trials": 2})
    record, _ = open_record(spec)
    record._study.set_floor({"w1_floor": 0.0625, "w1_floor_stderr": 0.01})
    record, _ = open_record(spec)
    run_final(record)
    wanted = "best w1  0.125, trial 00002, w1 0.75 by the final (real samples: 0.0625)"
    assert wanted in Seen(record).lines()


def test_the_bar_is_as_long_as_the_share_that_is_used_up(record: Record, time: Clock):
    def full() -> float:
        bar = re.search(r"^trials +(━*)([╸╺]?)(━*)", Seen(record).text(), re.MULTILINE)
        assert bar
        assert len("".join(bar.groups())) == 32
        return len(bar[1]) + 0.5 * (bar[2] == "╸")

    assert full() == 8  # a quarter has ended
    record.spec.search.__dict__["time_budget_s"] = 4967.0  # three quarters of it are over
    assert full() == pytest.approx(24, abs=0.5)
    assert "5 of 20 ended, 75% of the time" in Seen(record).text()
    record.spec.search.__dict__["generator_steps"] = int(record.spent.generator_steps / 0.9)
    assert "5 of 20 ended, 90% of the steps" in Seen(record).text()


def test_a_rung_is_a_line_with_its_best_and_who_is_on_the_way(record: Record):
    assert lines_of(Seen(record).text(), "rung", "dashboard") == [
        "rung scored best w1 on the way",
        "250 4 1.5 7 00005 at 50, 00006 at 50, 00007 at 50, 000…",
        "1000 2 1.125 1 00012 at 250",
        "4000 2 0.125 -",
    ]


def test_of_a_long_ladder_the_ends_are_shown_and_where_somebody_climbs(
    make_spec: MakeSpec, open_record: OpenRecord
):
    asha = {"grace_generator_steps": 1, "max_generator_steps": 512, "reduction_factor": 2}
    record, _ = open_record(make_spec(asha=asha))
    for number, steps in ((0, 3), (1, 40)):
        assert record.next_trial() is not None
        report(record, number, steps)
    shown = lines_of(Seen(record).text(), "rung", "dashboard")[1:]
    assert [line.split()[0] for line in shown] == ["1", "4", "64", "512"]


def test_the_latest_endings_are_shown_as_far_as_there_is_room(
    make_spec: MakeSpec, open_record: OpenRecord, time: Clock
):
    record, _ = open_record(make_spec(search={"num_trials": 20, "sampler": "random"}))
    by_height = {height: Seen(record, height) for height in (18, 21, 40)}
    for number in range(6):
        assert record.next_trial() is not None
        time.now_s += 1
        report(record, number, 250, w1=number + 0.5, continues=False)
        record.ended(number)
    endings = [
        f"0:00:0{n + 1}  trial 0000{n} stopped at generator step 250, w1 {n}.5" for n in range(6)
    ]
    shown = {
        height: [line for line in seen.lines() if " stopped at " in line]
        for height, seen in by_height.items()
    }
    assert shown == {18: [], 21: endings[-2:], 40: endings[-4:]}
    assert all(len(seen.lines()) < height - 1 for height, seen in by_height.items())


def test_a_search_that_has_just_begun_has_a_screen_too(
    make_spec: MakeSpec, open_record: OpenRecord
):
    record, _ = open_record(make_spec())
    text = Seen(record).text()
    assert "time left unknown yet" in text
    assert "no trial completed yet" in text
    assert "0 of 4 ended" in text
    assert "none has started" in text


def test_brackets_and_length_of_a_name_do_no_harm(make_spec: MakeSpec, open_record: OpenRecord):
    for name in ("gp.v2_x-1", "a" * 70):
        record, _ = open_record(make_spec(name=name))
        lines = Seen(record).lines()
        assert lines[0].startswith(name)
        assert all(len(line) <= 80 for line in lines)
        assert any(line.startswith("trials  ") for line in lines)


def test_the_markup_of_a_message_is_text(make_spec: MakeSpec, open_record: OpenRecord):
    record, _ = open_record(make_spec())
    seen = Seen(record, height=40)
    assert record.next_trial() is not None
    record.ended(0, "[red]why[/red]", failed=True)
    assert "([red]why[/red])" in seen.text()


def test_it_says_how_far_the_final_is(make_spec: MakeSpec, open_record: OpenRecord):
    record, _ = open_record(make_spec(objective={"final_trials": 2}))
    seen = Seen(record, height=40, width=120)
    assert "final" not in seen.text()
    run_final(record)
    text = seen.text()
    assert text.startswith("search  0:00:00 elapsed, the final is under way")
    assert re.search(r"^final +2 of the best 2 scored again by stronger critics$", text, re.M)
    assert re.search(r"^best w1 +0\.125, trial 00002, w1 0\.75 by the final$", text, re.M)
    assert "trial 00000 could not be scored again (the worker died): it keeps its score" in text
    assert "speed" not in text


def test_what_ranks_the_trials_is_named(make_spec: MakeSpec, open_record: OpenRecord):
    record, _ = open_record(
        make_spec(objective="critic_estimate", training={"generator_lr": {"low": 1e-5, "high": 1}})
    )
    for number, estimate in ((0, 3.0), (1, 2.0)):
        assert record.next_trial() is not None
        report(record, number, 4000, w1=estimate + 1, critic_estimate=estimate, continues=False)
        record.ended(number)
    text = Seen(record).text()
    assert re.search(r"^best critic_estimate +2, trial 00001$", text, re.MULTILINE)
    assert re.search(r"^ *4000 +2 +2 +-$", text, re.MULTILINE)


def test_what_stays_of_it_at_the_end_has_no_address_behind_which_nothing_is(record: Record):
    seen = Seen(record)
    seen.screen.is_over = True
    lines = seen.lines()
    assert lines[0] == "digits-gp  1:02:05 elapsed"
    assert not re.search("dashboard|MLflow|Ctrl-C", "\n".join(lines))


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


def test_trials_that_wait_are_counted_and_shown_among_the_latest(
    make_spec: MakeSpec, open_record: OpenRecord, time: Clock
):
    record, _ = open_record(make_spec(asha={"variant": "promotion"}, search={"num_trials": 4}))
    seen = Seen(record)
    for _ in range(2):
        assert record.next_trial() is not None
    record.reported(0, {"generator_steps": 250.0, "w1": 2.0}, continues=False, waits=True)
    record.left(0)
    time.now_s += 60
    shown = seen.text()
    assert "1 running, 1 waiting" in shown
    assert "trial 00000 waits at generator step 250, w1 2" in shown
    assert "0 of 4 ended" in shown
    assert "about 0:03:00 left" in shown  # one of four has come to where most trials end
