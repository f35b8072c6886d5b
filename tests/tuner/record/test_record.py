"""The event log: each report once, each trial to its end, over any number of sessions."""

import csv
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from final_scores import final_score

from tuner.record import record as record_module
from tuner.record.listener import Listener
from tuner.record.record import Record
from tuner.results import read_trials, snapshot, table
from tuner.space.spec import SearchSpec
from tuner.study.study import Study
from tuner.study.trial import Trial

MakeSpec = Callable[..., SearchSpec]
OpenRecord = Callable[[SearchSpec], tuple[Record, Any]]


class Witness(Listener):
    """Keeps what is on the disk at each event."""

    def __init__(self, record: Record, spec: SearchSpec) -> None:
        self.lines: list[int] = []
        self.trials: list[Trial] = []
        self.counts: list[dict[str, int]] = []
        self._record, self._spec = record, spec
        record.listeners.append(self)

    def trial_reported(self, trial: Trial, report: Mapping[str, float]) -> None:
        self.lines.append(len(lines(self._record)))
        self.trials.append(self._on_disk(trial.number))

    def trial_ended(self, trial: Trial) -> None:
        self.trials.append(self._on_disk(trial.number))
        self.counts.append(dict(self._record.counts()))

    def final_scored(self, trial: Trial) -> None:
        self.trials.append(self._on_disk(trial.number))

    def _on_disk(self, number: int) -> Trial:
        copy = self._record.run_dir / "copy.log"
        shutil.copy(self._record.run_dir / "study.log", copy)
        return Study(copy, self._spec).trial(number)


def start(record: Record) -> Trial:
    trial = record.next_trial()
    assert trial is not None
    return trial


def report(record: Record, number: int, steps: int, *, continues: bool = True, **metrics: float):
    """A report with what every one has."""
    record.reported(number, {"generator_steps": float(steps), **metrics}, continues=continues)


def lines(record: Record) -> list[dict]:
    text = (record.run_dir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def rows(record: Record) -> list[dict[str, str]]:
    with (record.run_dir / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def reported_steps(events: Any) -> list[float]:
    return [report["generator_steps"] for _, report in events.named("trial_reported")]


def names(events: Any) -> list[str]:
    return [name for name, *_ in events.all]


def test_listeners_are_notified_of_a_trial_with_all_of_its_data(
    make_spec: MakeSpec, open_record: OpenRecord
):
    record, events = open_record(make_spec())
    trial = start(record)
    assert record.running == {0: {}}
    report(record, 0, 50, critic_estimate=3.0)
    report(record, 0, 250, w1=2.0)
    report(record, 0, 300, critic_estimate=1.0)
    record.ended(0)

    assert events.trials == []
    assert names(events) == ["trial_started", *["trial_reported"] * 3, "trial_ended"]
    assert events.named("trial_started") == [(trial,)]
    told = events.named("trial_reported")
    assert [{"trial": t.number, **report} for t, report in told] == lines(record)
    assert [t.scores for t, _ in told] == [{}, {250: 2.0}, {250: 2.0}]
    assert events.named("trial_ended") == [(record.trials[0],)]
    assert [(line["trial"], line["generator_steps"]) for line in lines(record)] == [
        (0, 50.0), (0, 250.0), (0, 300.0),
    ]  # fmt: skip
    assert all(line["unix_time_s"] > 1.7e9 for line in lines(record))
    ended = record.trials[0]
    assert (ended.status, ended.scores, ended.score) == ("stopped", {250: 2.0}, 2.0)
    assert ended.metrics["critic_estimate"] == 1.0
    assert record.running == {}


def test_a_step_reported_again_is_recorded_once(make_spec: MakeSpec, open_record: OpenRecord):
    """A trial that restarts from its checkpoint says again what came after it."""
    spec = make_spec()
    record, events = open_record(spec)
    start(record)
    for steps in (50, 100, 50, 100, 150):
        report(record, 0, steps, critic_estimate=float(steps))
    assert [line["generator_steps"] for line in lines(record)] == [50, 100, 150]
    assert reported_steps(events) == [50, 100, 150]
    assert len(events.named("tick")) == 2

    record, events = open_record(spec)  # and so over a resume
    start(record)
    report(record, 0, 100, critic_estimate=0.0)
    report(record, 0, 200, critic_estimate=0.0)
    assert [line["generator_steps"] for line in lines(record)] == [50, 100, 150, 200]
    assert reported_steps(events) == [200]


def test_a_score_counts_as_passed_only_once_the_trial_may_go_on(
    make_spec: MakeSpec, open_record: OpenRecord
):
    """Else a search killed between report and ending would resume a trial that ASHA stopped."""
    record, _ = open_record(make_spec())
    start(record)
    report(record, 0, 250, w1=2.0, continues=False)
    assert record.trials[0].scores == {}
    record.ended(0)
    assert record.trials[0].scores == {250: 2.0}


@pytest.mark.parametrize(
    ("reports", "failed", "status", "w1"),
    [
        ([(250, {"w1": 2.0}), (4000, {"w1": 1.0})], False, "completed", 1.0),
        ([(250, {"w1": 2.0})], False, "stopped", 2.0),
        ([(250, {"w1": 2.0}), (300, {})], False, "stopped", 2.0),
        ([(250, {"w1": 2.0}), (300, {"diverged": 1.0})], False, "diverged", 2.0),
        ([(10, {"diverged": 1.0})], False, "diverged", None),
        ([(4000, {"diverged": 1.0})], False, "diverged", None),
        ([(250, {"w1": 2.0, "diverged": 0.0})], False, "stopped", 2.0),
        ([(4000, {})], False, "stopped", None),
        ([], False, "stopped", None),
        ([], True, "failed", None),
        ([(250, {"w1": 2.0}), (300, {})], True, "failed", 2.0),
        ([(4000, {"w1": 1.0})], True, "failed", None),
    ],
)
def test_how_a_trial_ended_follows_from_its_last_report(
    make_spec: MakeSpec,
    open_record: OpenRecord,
    reports: list[tuple[int, dict[str, float]]],
    failed: bool,
    status: str,
    w1: float | None,
):
    record, events = open_record(make_spec())
    start(record)
    for i, (steps, metrics) in enumerate(reports):
        report(record, 0, steps, continues=i < len(reports) - 1, **metrics)
    record.ended(0, "why" if failed else None, failed=failed)
    trial = record.trials[0]
    assert (trial.status, trial.score) == (status, w1)
    assert trial.generator_steps == (reports[-1][0] if reports else 0)
    assert trial.message == ("why" if failed else None)
    assert events.all[-1] == ("trial_ended", trial)
    assert record.counts() == {status: 1, "running": 0}
    assert record.best_so_far == (trial if status == "completed" else None)


def test_a_trial_that_failed_before_it_said_anything_again_keeps_its_last_report(
    make_spec: MakeSpec, open_record: OpenRecord
):
    spec = make_spec()
    record, _ = open_record(spec)
    start(record)
    report(record, 0, 50, critic_estimate=3.0)
    record, _ = open_record(spec)
    start(record)
    record.ended(0, "no memory", failed=True)
    assert (record.trials[0].generator_steps, record.trials[0].message) == (50, "no memory")


def test_a_resumed_record_gives_the_unfinished_trials_first_and_unchanged(
    make_spec: MakeSpec, open_record: OpenRecord
):
    spec = make_spec()
    record, _ = open_record(spec)
    begun = [start(record) for _ in range(3)]
    report(record, 1, 4000, w1=0.5, continues=False)
    record.ended(1)
    report(record, 2, 250, w1=0.7)

    record, events = open_record(spec)
    assert record.counts() == {"completed": 1, "running": 0}
    assert [(t.trial_id, t.status, len(t.scores)) for t in events.trials] == [
        ("00000", None, 0), ("00001", "completed", 1), ("00002", None, 1),
    ]  # fmt: skip
    again = [start(record) for _ in range(2)]
    assert [(t.number, t.config) for t in again] == [
        (begun[0].number, begun[0].config), (begun[2].number, begun[2].config),
    ]  # fmt: skip
    assert again[1].scores == {250: 0.7}
    assert start(record).number == 3
    assert record.next_trial() is None
    assert record.best_so_far is not None
    assert record.best_so_far.number == 1


def test_a_report_that_a_crash_cut_short_is_dropped_and_may_come_again(
    make_spec: MakeSpec, open_record: OpenRecord, tmp_path: Path
):
    spec = make_spec()
    record, _ = open_record(spec)
    start(record)
    report(record, 0, 50, critic_estimate=1.0)
    report(record, 0, 100, critic_estimate=math.nan)
    path = tmp_path / "metrics.jsonl"
    content = path.read_bytes()
    whole = content.index(b"\n") + 1
    for num_bytes in range(len(content) + 1):
        path.write_bytes(content[:num_bytes])
        record, _ = open_record(spec)
        assert path.read_bytes() == content[: content.rfind(b"\n", 0, num_bytes) + 1]
        start(record)
        report(record, 0, 100, critic_estimate=2.0)
        assert [line["generator_steps"] for line in lines(record)] == [
            *([50] if num_bytes >= whole else []), 100,
        ]  # fmt: skip


def test_the_picture_of_a_rung_is_kept_and_listeners_are_notified_of_it(
    make_spec: MakeSpec, open_record: OpenRecord, tmp_path: Path
):
    record, events = open_record(make_spec())
    start(record)
    report(record, 0, 250, w1=2.0)
    folder = tmp_path / "ray" / "checkpoint"
    folder.mkdir(parents=True)
    (folder / "samples.png").write_bytes(b"picture")
    record.checkpointed(0, str(folder))
    (kept,) = (tmp_path / "samples" / "00000").iterdir()
    assert (kept.name, kept.read_bytes()) == ("step_000250.png", b"picture")
    ((trial, steps, path),) = events.named("picture_saved")
    assert (trial.number, steps, path) == (0, 250, kept)
    assert record.trials[0].checkpoint == str(folder)


def test_a_checkpoint_between_rungs_has_no_picture(
    make_spec: MakeSpec, open_record: OpenRecord, tmp_path: Path
):
    record, events = open_record(make_spec())
    start(record)
    report(record, 0, 50)
    record.checkpointed(0, str(tmp_path / "ray" / "checkpoint"))
    assert record.trials[0].checkpoint == str(tmp_path / "ray" / "checkpoint")
    assert not (tmp_path / "samples").exists()
    assert names(events) == ["trial_started", "trial_reported"]


def test_a_trial_s_last_two_checkpoints_are_on_the_disk_and_no_others(
    make_spec: MakeSpec, open_record: OpenRecord, tmp_path: Path
):
    """Over all sessions; and of other trials none is touched."""
    spec = make_spec()
    folders = [tmp_path / "ray" / f"checkpoint_{i}" for i in range(4)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "state.pt").write_bytes(b"weights")

    def there() -> list[int]:
        return [i for i, folder in enumerate(folders) if folder.exists()]

    record, _ = open_record(spec)
    for number, i in ((0, 0), (1, 1), (0, 2)):
        while number not in record.trials:
            start(record)
        report(record, number, 50 + i)
        record.checkpointed(number, str(folders[i]))
    assert there() == [0, 1, 2, 3]
    record, _ = open_record(spec)
    start(record)
    report(record, 0, 400)
    record.checkpointed(0, str(folders[3]))
    record._removals.submit(lambda: None).result()  # they are removed one after the other
    assert there() == [1, 2, 3]
    assert record.trials[0].checkpoints == (str(folders[3]), str(folders[2]))


def test_checkpoints_that_a_kill_left_are_deleted_at_the_next_start(
    make_spec: MakeSpec, open_record: OpenRecord, tmp_path: Path
):
    """Of this search alone, and only those that no trial has."""
    folders = [
        tmp_path / run / "ray" / "session" / "search_00000" / f"checkpoint_{i:06d}"
        for run in ("search", "other")
        for i in range(4)
    ]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "state.pt").write_bytes(b"weights")
    record, _ = open_record(make_spec(), tmp_path / "search")
    record.remove_superseded()  # there is no trial yet that any could be of
    start(record)
    report(record, 0, 50)
    record._removals.shutdown()  # as a kill leaves it
    for i in (1, 2):
        record.checkpointed(0, str(folders[i]))
    record, _ = open_record(make_spec(), tmp_path / "search")
    record.remove_superseded()
    record._removals.shutdown()
    assert [i for i in range(8) if folders[i].exists()] == [1, 2, 4, 5, 6, 7]


def test_a_trial_whose_score_rises_counts_by_the_generator_of_its_best_rung(
    make_spec: MakeSpec, open_record: OpenRecord, tmp_path: Path
):
    """It completes with w1 1.45 after 0.6; another completes with 1.0, and is the second."""
    spec = make_spec(asha={"grace_generator_steps": 250, "max_generator_steps": 4000})
    record, _ = open_record(spec)
    folders: list[Path] = []

    def train(number: int, scores: Mapping[int, float]) -> None:
        between = [at + more for at in scores if at < 4000 for more in (10, 20)]
        for steps in sorted([*scores, *between]):
            folder = tmp_path / "ray" / "session" / f"{number}" / f"checkpoint_{len(folders)}"
            folders.append(folder)
            folder.mkdir(parents=True)
            files = ["state.pt", *["generator.pt", "samples.png"] * (steps in scores)]
            for name in files:
                (folder / name).write_text(f"{number} at {steps}")
            at_rung = {"w1": scores[steps]} if steps in scores else {}
            report(record, number, steps, continues=steps < 4000, **at_rung)
            record.checkpointed(number, str(folder))

    start(record)
    start(record)
    train(0, {250: 3.0, 1000: 0.6})
    record._removals.submit(lambda: None).result()
    running = record.trials[0]
    assert running.best_generator is not None
    assert Path(running.best_generator, "generator.pt").read_text() == "0 at 1000"
    assert not Path(running.best_generator, "state.pt").exists()

    train(0, {4000: 1.45})
    record.ended(0)
    train(1, {250: 2.0, 1000: 1.5, 4000: 1.0})
    record.ended(1)
    record._removals.submit(lambda: None).result()
    assert [(t.number, t.score, t.last_score) for t in record.finalists] == [
        (0, 0.6, 1.45), (1, 1.0, 1.0),
    ]  # fmt: skip
    kept = {str(file.relative_to(tmp_path / "ray" / "session")) for file in tmp_path.rglob("*.pt")}
    assert len(kept) == 7  # two checkpoints of each, and the generators of three rungs
    for trial in record.start_final():
        record.final_scored(trial.number, final_score(0.7 + trial.number, 0.1, seconds=1.0))
    best = record.best_so_far
    assert best is not None
    assert best.final is not None
    assert (best.number, best.final["generator_steps"], best.score) == (0, 1000.0, 0.6)
    record.write_table()
    assert [(row["w1"], row["w1_best"], row["best_rung"]) for row in rows(record)] == [
        ("1.45", "0.6", "1000"), ("1.0", "1.0", "4000"),
    ]  # fmt: skip
    assert [row.score for row in read_trials(record.run_dir / "trials.csv")] == [0.6, 1.0]
    again, _ = open_record(spec)
    assert again.best_so_far == best


def test_a_checkpoint_that_cannot_be_deleted_is_reported(
    make_spec: MakeSpec, open_record: OpenRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(folder: str) -> None:
        raise OSError(f"cannot delete {folder}: Permission denied")

    monkeypatch.setattr(record_module, "remove_folder", fail)
    record, events = open_record(make_spec())
    start(record)
    report(record, 0, 50)
    for i in range(3):
        record.checkpointed(0, str(tmp_path / "ray" / f"checkpoint_{i}"))
    record._removals.shutdown()
    first = tmp_path / "ray" / "checkpoint_0"
    reason = f"cannot delete {first}: Permission denied"
    assert events.named("noted") == [(f"a checkpoint that is no longer needed is left: {reason}",)]


def test_a_rung_is_on_the_disk_before_the_journal_refers_to_it(
    make_spec: MakeSpec, open_record: OpenRecord, monkeypatch: pytest.MonkeyPatch
):
    """A power cut loses what was not synchronised."""
    record, _ = open_record(make_spec())
    metrics, journal = record.run_dir / "metrics.jsonl", record.run_dir / "study.log"
    on_disk, fsync = [b""], os.fsync

    def keep(file: int) -> None:
        fsync(file)
        if os.path.sameopenfile(file, record._metrics_file.fileno()):
            on_disk.append(metrics.read_bytes())
            assert b'"intermediate_value"' not in journal.read_bytes()

    monkeypatch.setattr(os, "fsync", keep)
    start(record)
    report(record, 0, 50)
    assert on_disk[-1] == b""
    report(record, 0, 250, w1=2.0)
    assert on_disk[-1] == metrics.read_bytes()
    assert b'"intermediate_value"' in journal.read_bytes()


def test_the_table_says_how_things_stand(make_spec: MakeSpec, open_record: OpenRecord):
    record, _ = open_record(make_spec())
    for _ in range(3):
        start(record)
    report(record, 0, 4000, w1=0.5, critic_estimate=2.0, continues=False)
    record.ended(0)
    report(record, 2, 250, w1=0.75, w1_stderr=0.125)
    report(record, 2, 300, critic_estimate=1.0)
    record.write_table()
    assert [row["w1_stderr"] for row in rows(record)] == ["", "", "0.125"]
    found = [
        tuple(
            row[key] for key in ("trial_id", "status", "generator_steps", "w1", "critic_estimate")
        )
        for row in rows(record)
    ]
    assert found == [
        ("00000", "completed", "4000", "0.5", "2.0"),
        ("00001", "running", "0", "", ""),
        ("00002", "running", "300", "0.75", "1.0"),
    ]


def test_the_table_of_a_running_search_is_that_of_the_search_read_again(
    make_spec: MakeSpec, open_record: OpenRecord
):
    """Also of trials that were stopped, or failed, or are, between two rungs."""
    record, _ = open_record(make_spec())
    (record.run_dir / "spec.yaml").write_text(record.spec.to_yaml())
    for number in range(4):
        start(record)
        report(record, number, 250, w1=0.75, w1_stderr=0.125, critic_estimate=2.0)
        report(record, number, 300, critic_estimate=1.0)
    record.ended(0)
    record.ended(1, "no memory", failed=True)
    report(record, 2, 350, diverged=1.0)
    record.ended(2)
    record.write_table()
    assert [row["status"] for row in rows(record)] == ["stopped", "failed", "diverged", "running"]
    assert [row["w1"] for row in rows(record)] == ["0.75"] * 4
    read_again = record.run_dir / "again.csv"
    table.write_trials(read_again, snapshot.read_snapshot(record.run_dir).trials)
    assert read_again.read_text() == (record.run_dir / "trials.csv").read_text()


def test_the_table_is_written_at_most_every_few_seconds_and_at_the_end(
    make_spec: MakeSpec, open_record: OpenRecord, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(record_module, "_TABLE_EVERY_S", 3600.0)
    record, _ = open_record(make_spec())
    for number in range(3):
        start(record)
        record.ended(number)
        assert [row["trial_id"] for row in rows(record)] == ["00000"]
    record.close()
    assert [row["trial_id"] for row in rows(record)] == ["00000", "00001", "00002"]


def test_a_table_that_takes_long_is_written_the_more_seldom(
    make_spec: MakeSpec, open_record: OpenRecord, monkeypatch: pytest.MonkeyPatch
):
    """At most 2% of the time goes into it, however many trials there are."""
    now, written = 1000.0, []

    def write_slowly(path: Path, trials: list[Trial]) -> None:
        nonlocal now
        written.append(now)
        now += 1.0

    monkeypatch.setattr(record_module.time, "monotonic", lambda: now)
    monkeypatch.setattr(record_module, "write_trials", write_slowly)
    record, _ = open_record(make_spec(search={"num_trials": 12, "sampler": "random"}))
    for _ in range(12):
        record.ended(start(record).number)
        now += 10
    assert written == [1000.0, 1051.0, 1102.0]


def test_time_is_counted_over_all_sessions(
    make_spec: MakeSpec, open_record: OpenRecord, monkeypatch: pytest.MonkeyPatch
):
    now = 1000.0
    monkeypatch.setattr(record_module.time, "monotonic", lambda: now)
    spec = make_spec(search={"time_budget_s": 10, "sampler": "random"})
    record, _ = open_record(spec)
    start(record)
    now += 7
    assert (record.elapsed_s, record.is_over_budget) == (7.0, False)
    record, _ = open_record(spec)
    now += 2
    assert (record.elapsed_s, record.is_over_budget) == (9.0, False)
    assert start(record).number == 0
    now += 1
    assert record.is_over_budget
    assert record.next_trial() is None


def test_steps_and_gpu_hours_are_counted_over_all_trials_and_sessions(
    make_spec: MakeSpec, open_record: OpenRecord
):
    """Each step once: a trial that resumes reports its last one again."""
    spec = make_spec(
        search={"generator_steps": 700, "gpu_hours": 1.0, "sampler": "random"},
        resources={"gpus_per_trial": 0.5},
    )
    record, _ = open_record(spec)
    numbers = [start(record).number for _ in range(2)]
    seconds = {"training_seconds": 3000.0, "scoring_seconds": 600.0}
    for steps in (100, 200):
        report(record, numbers[0], steps, critic_estimate=1.0, **seconds)
    report(record, numbers[1], 300, critic_estimate=1.0, training_seconds=1800.0)
    assert record.spent.generator_steps == 500
    assert record.spent.trial_s == 5400.0
    record, _ = open_record(spec)
    assert (record.spent.generator_steps, record.spent.trial_s) == (500, 5400.0)
    assert start(record).number == numbers[0]
    report(record, numbers[0], 200, critic_estimate=1.0, **seconds)
    assert record.spent.generator_steps == 500
    assert not record.is_over_budget
    report(record, numbers[0], 400, critic_estimate=1.0, **seconds)
    assert record.is_over_budget
    assert record.next_trial() is None
    by_gpu = make_spec(search={"gpu_hours": 0.75, "sampler": "random"},
                       resources={"gpus_per_trial": 0.5})  # fmt: skip
    assert open_record(by_gpu)[0].is_over_budget


def complete(record: Record, *w1s: float) -> None:
    """Run as many trials to their last rung."""
    for w1 in w1s:
        number = start(record).number
        report(record, number, 4000, w1=w1, critic_estimate=1.0, continues=False)
        record.ended(number)


def test_the_best_completed_trials_are_in_the_final_each_once_over_all_sessions(
    make_spec: MakeSpec, open_record: OpenRecord
):
    spec = make_spec(objective={"final_trials": 2})
    record, events = open_record(spec)
    complete(record, 0.5, 0.3, 0.4)
    report(record, start(record).number, 250, w1=0.1, continues=False)
    record.ended(3)
    finalists = record.start_final()
    assert [trial.number for trial in finalists] == [1, 2]
    assert events.named("final_started") == [(finalists,)]
    assert record.in_final
    record.final_scored(2, final_score(0.7, 0.1, seconds=3.0))
    ((scored,),) = events.named("final_scored")
    assert scored == record.trials[2]
    told = scored.final
    assert (told["w1_final"], told["w1_final_stderr"], told["generator_steps"]) == (0.7, 0.1, 4000)
    assert record.best_so_far.number == 2  # the only one of which there is such a number

    record, events = open_record(spec)  # killed between the two
    assert [t.final for t in events.trials] == [None, None, told, None]
    assert [trial.number for trial in record.start_final()] == [1]
    record.final_scored(1, final_score(0.6, 0.1, seconds=3.0))
    assert record.best_so_far.number == 1

    record, events = open_record(spec)
    assert record.start_final() == []
    assert not record.in_final
    record.close()
    assert names(events) == ["search_ended"]
    assert [(row["w1"], row["w1_final"], row["w1_final_stderr"]) for row in rows(record)] == [
        ("0.5", "", ""), ("0.3", "0.6", "0.1"), ("0.4", "0.7", "0.1"), ("0.1", "", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("final_trials", "w1s", "numbers"), [(0, [0.5, 0.3], []), (3, [0.5], [0]), (3, [], [])]
)
def test_fewer_trials_or_none_may_be_in_the_final(
    make_spec: MakeSpec,
    open_record: OpenRecord,
    final_trials: int,
    w1s: list[float],
    numbers: list[int],
):
    record, _ = open_record(make_spec(objective={"final_trials": final_trials}))
    complete(record, *w1s)
    assert [trial.number for trial in record.start_final()] == numbers
    if final_trials == 0:
        assert record.best_so_far.number == 1


def test_a_trial_that_the_final_could_not_score_keeps_its_score_and_is_tried_again_at_a_resume(
    make_spec: MakeSpec, open_record: OpenRecord
):
    spec = make_spec()
    record, events = open_record(spec)
    complete(record, 0.5, 0.3)
    record.final_failed(1, "the worker died")
    assert events.all[-1] == ("final_failed", record.trials[1], "the worker died")
    assert record.final_faults == {1: "the worker died"}
    assert (record.best_so_far.number, record.best_so_far.score) == (1, 0.3)
    record.final_scored(0, final_score(0.9, 0.1, seconds=1.0))
    assert record.best_so_far.number == 0
    record, _ = open_record(spec)
    assert [trial.number for trial in record.start_final()] == [1]


def test_the_floor_stands_beside_every_score_and_only_there(
    make_spec: MakeSpec, open_record: OpenRecord, tmp_path: Path
):
    spec = make_spec()
    Study(tmp_path / "study.log", spec).set_floor({"w1_floor": 0.25, "w1_floor_stderr": 0.0625})
    record, _ = open_record(spec)
    start(record)
    report(record, 0, 50, critic_estimate=3.0)
    report(record, 0, 250, w1=2.0)
    assert [line.get("w1_floor") for line in lines(record)] == [None, 0.25]


def test_ranked_by_its_own_critic_a_trials_score_is_its_estimate_at_the_rungs(
    make_spec: MakeSpec, open_record: OpenRecord
):
    lr = {"low": 1e-5, "high": 1e-2, "log": True}
    record, _ = open_record(make_spec(objective="critic_estimate", training={"generator_lr": lr}))
    for number, estimate in ((0, 5.0), (1, 4.0)):
        start(record)
        report(record, number, 100, critic_estimate=0.1)
        report(record, number, 250, critic_estimate=6.0, w1=0.5)
        report(record, number, 4000, critic_estimate=estimate, w1=number + 1.0, continues=False)
        record.ended(number)
    assert record.trials[0].scores == {250: 6.0, 4000: 5.0}
    assert record.best_so_far.number == 1
    record.close()
    assert [(row["w1"], row["critic_estimate"]) for row in rows(record)] == [
        ("1.0", "5.0"), ("2.0", "4.0"),
    ]  # fmt: skip


def test_an_event_arrives_once_it_is_on_the_disk(make_spec: MakeSpec, open_record: OpenRecord):
    spec = make_spec()
    record, events = open_record(spec)
    witness = Witness(record, spec)
    start(record)
    report(record, 0, 250, w1=1.0)
    report(record, 0, 4000, w1=0.5, continues=False)
    record.ended(0)
    record.final_scored(0, final_score(0.6, 0.1, seconds=1.0))
    assert witness.lines == [1, 2]
    assert witness.counts == [{"completed": 1, "running": 0}]
    assert witness.trials == [trial for _, trial, *_ in events.all[1:]]
    assert events.all[-1][1].final["w1_final"] == 0.6


def test_a_listener_that_overrides_nothing_takes_every_event(
    make_spec: MakeSpec, open_record: OpenRecord, tmp_path: Path
):
    record, events = open_record(make_spec())
    Listener().search_started([])
    record.listeners.append(Listener())
    start(record)
    report(record, 0, 4000, w1=0.5, continues=False)
    (tmp_path / "ray" / "one").mkdir(parents=True)
    (tmp_path / "ray" / "one" / "samples.png").write_bytes(b"picture")
    record.checkpointed(0, str(tmp_path / "ray" / "one"))
    record.ended(0)
    start(record)
    record.reported(1, {"generator_steps": 250.0, "w1": 1.0}, continues=False, waits=True)
    record.left(1)
    record.start_final()
    record.final_scored(0, final_score(0.6, 0.1, seconds=1.0))
    record.final_failed(0, "the worker died")
    record.note("a line")
    record.tick()
    record.close()
    methods = {name for name in vars(Listener) if not name.startswith("_")}
    assert methods == {"search_started", *names(events)}


def fail(record: Record, message: str) -> None:
    record.ended(start(record).number, message, failed=True)


def test_trials_that_fail_alike_one_after_another_halt_the_search(
    make_spec: MakeSpec, open_record: OpenRecord
):
    spec = make_spec(search={"num_trials": 20}, resources={"max_equal_failures": 3})
    record, _ = open_record(spec)
    for message in ("step 3: no", "step 40: no", "another"):
        fail(record, message)
    report(record, start(record).number, 250, w1=1.0, continues=False)
    record.ended(3)
    for step in (1, 20):
        fail(record, f"step {step}: no")
    assert record.halted is None
    fail(record, "step 7: no")
    assert record.halted == "the last 3 trials failed alike: step 7: no"


def test_a_picture_that_cannot_be_fetched_costs_only_itself(
    make_spec: MakeSpec, open_record: OpenRecord, tmp_path: Path
):
    record, events = open_record(make_spec())
    start(record)
    report(record, 0, 250, w1=1.0)
    record.checkpointed(0, str(tmp_path / "ray" / "gone"))
    ((note,),) = events.named("noted")
    assert "trial 00000 continues without a picture of its samples: cannot read" in note
    assert record.trials[0].checkpoint == str(tmp_path / "ray" / "gone")
    assert names(events) == ["trial_started", "trial_reported", "noted"]


def test_files_that_could_not_be_written_are_left_as_they_are(
    make_spec: MakeSpec, open_record: OpenRecord
):
    """The journal may have half of a line: nothing may stand after it."""
    record, _ = open_record(make_spec())
    start(record)
    record.cannot_write(OSError(28, "No space left on device"))
    record.halt("a later reason")
    journal = (record.run_dir / "study.log").read_bytes()
    record.close()
    assert record.halted == f"cannot write into {record.run_dir}: No space left on device"
    assert (record.run_dir / "study.log").read_bytes() == journal
    assert not (record.run_dir / "trials.csv").exists()


def test_the_comparison_of_a_finalist_is_kept_in_a_file_of_its_own(
    make_spec: MakeSpec, open_record: OpenRecord
) -> None:
    record, _ = open_record(make_spec(search={"num_trials": 2, "sampler": "random"}))
    complete(record, 0.5, 0.3)
    kept = {"kind": "images", "picture": "", "distances": [1.0]}
    record.final_scored(0, replace(final_score(0.7, 0.1), comparison=kept))
    record.final_scored(1, final_score(0.6, 0.1))
    (file,) = (record.run_dir / "comparisons").iterdir()
    assert (file.name, json.loads(file.read_text())) == ("00000.json", kept)
    assert "distances" not in (record.run_dir / "study.log").read_text()


def test_the_diagnosis_of_a_finalist_is_kept_and_ranks_nothing(
    make_spec: MakeSpec, open_record: OpenRecord
) -> None:
    spec = make_spec(search={"num_trials": 2, "sampler": "random"})
    record, events = open_record(spec)
    complete(record, 0.5, 0.3)
    better = {"copy_ratio": 0.02, "metrics/fid": 1.5, "metrics/w1_final": 0.0}
    score = replace(final_score(0.7, 0.1), w1_train=0.8, diagnosis=better, faults=("out of order",))
    record.final_scored(0, score)
    record.final_scored(1, final_score(0.6, 0.1))
    assert ("trial 00000: out of order",) in events.named("noted")
    for _ in range(2):
        best, final = record.best_so_far, record.trials[0].final
        assert best is not None
        assert best.number == 1
        assert final is not None
        assert final["w1_final"] == 0.7
        assert final["w1_final_train"] == 0.8
        assert better.items() <= final.items()
        record.write_table()
        assert not any("fid" in column or "copy" in column for column in rows(record)[0])
        record, events = open_record(spec)  # another session


# --- Trials that wait to be promoted ------------------------------------------------------------

PROMOTION = {"variant": "promotion"}


def wait_at_250(record: Record, w1: float) -> int:
    """A trial that reports the first rung, and whose worker then is free again."""
    number = start(record).number
    record.reported(number, {"generator_steps": 250.0, "w1": w1}, continues=False, waits=True)
    record.left(number)
    return number


def test_a_trial_that_waits_is_known_to_all_that_show_a_search(
    make_spec: MakeSpec, open_record: OpenRecord
):
    record, events = open_record(make_spec(asha=PROMOTION))
    start(record)
    record.reported(0, {"generator_steps": 250.0, "w1": 1.0}, continues=False, waits=True)
    assert dict(record.counts()) == {"running": 0, "waiting": 1}  # as its checkpoint is written
    record.left(0)
    start(record)
    record.write_table()
    assert dict(record.counts()) == {"running": 1, "waiting": 1}
    assert [row["status"] for row in rows(record)] == ["waiting", "running"]
    read = read_trials(record.run_dir / "trials.csv")
    assert [trial.status for trial in read] == [None, None]  # neither has ended
    (waiting,) = [trial for name, trial, *_ in events.all if name == "trial_waits"]
    assert (waiting.status, waiting.shown_status, waiting.waiting_at) == (None, "waiting", 250)
    assert record.at_rung(250) == (1, 1.0)


def test_a_trial_that_waits_still_does_after_a_resume_and_continues_once_promoted(
    make_spec: MakeSpec, open_record: OpenRecord, tmp_path: Path
):
    spec = make_spec(asha=PROMOTION, search={"num_trials": 4})
    record, _ = open_record(spec)
    for number in (0, 1):
        folder = tmp_path / "ray" / "session" / f"t{number}" / "checkpoint_000000"
        folder.mkdir(parents=True)
        (folder / "samples.png").write_bytes(b"picture")
        trial = start(record)
        metrics = {"generator_steps": 250.0, "w1": 2.0 - number}
        record.reported(trial.number, metrics, continues=False, waits=True)
        record.checkpointed(trial.number, str(folder))
        record.left(trial.number)
    start(record)  # number 2, which the kill interrupts
    record.close()

    resumed, _ = open_record(spec)
    resumed.remove_superseded()
    assert [trial.shown_status for trial in resumed.by_number()] == ["waiting"] * 2 + ["running"]
    asked: list[set[int]] = []

    def promote(waiting: Any, is_last: bool) -> int | None:
        asked.append(set(waiting))
        return 1 if len(asked) == 1 else None

    assert resumed.next_trial(promote).number == 2  # type: ignore[union-attr] # the interrupted one
    promoted = resumed.next_trial(promote)
    assert promoted is not None
    assert (promoted.number, promoted.waiting_at, promoted.rests) == (1, None, False)
    assert promoted.folder_in(spec) == "search_00001_from_250"  # not over its checkpoints
    assert [Path(folder).exists() for folder in promoted.checkpoints] == [True]
    assert resumed.next_trial(promote).number == 3  # type: ignore[union-attr] # a new one
    assert asked == [{0, 1}, {0}]
    resumed.close()

    again, _ = open_record(spec)  # promoted and killed: it is interrupted, and waits no more
    assert [trial.waiting_at for trial in again.by_number()] == [250, None, None, None]
    assert [start(again).number for _ in range(3)] == [1, 2, 3]
    assert again.next_trial() is None


def test_a_kill_between_the_two_lines_of_a_wait_leaves_an_interrupted_trial(
    make_spec: MakeSpec, open_record: OpenRecord, monkeypatch: pytest.MonkeyPatch
):
    """Not one that seems to be promoted: it reports the rung again, and waits then."""
    spec = make_spec(asha=PROMOTION)
    record, _ = open_record(spec)
    start(record)
    with monkeypatch.context() as killed:
        killed.setattr(Study, "score", lambda *_: None)
        record.reported(0, {"generator_steps": 250.0, "w1": 1.0}, continues=False, waits=True)
    record.close()
    resumed, _ = open_record(spec)
    assert (resumed.trials[0].waiting_at, resumed.trials[0].scores) == (None, {})
    assert wait_at_250(resumed, w1=1.0) == 0
    assert resumed.trials[0].waiting_at == 250


def test_the_best_is_promoted_at_the_end_only_where_no_trial_has_completed(
    make_spec: MakeSpec, open_record: OpenRecord
):
    record, _ = open_record(make_spec(asha=PROMOTION, search={"num_trials": 3}))
    for w1 in (3.0, 2.0):
        wait_at_250(record, w1)
    running = start(record).number
    last: list[bool] = []

    def promote(waiting: Any, is_last: bool) -> int | None:
        last.append(is_last)
        return 1 if is_last else None

    assert record.next_trial(promote) is None  # one still runs, and may have another promoted
    assert record.may_promote
    record.reported(running, {"generator_steps": 250.0, "w1": 9.0}, continues=False, waits=True)
    record.left(running)
    promoted = record.next_trial(promote)
    assert promoted is not None
    assert (promoted.number, last) == (1, [False, False, True])
    report(record, 1, 4000, w1=1.0, continues=False)
    record.left(1)
    assert record.trials[1].status == "completed"
    assert record.next_trial(promote) is None
    assert (last[-1], record.may_promote) == (False, False)


def test_trials_that_wait_at_the_end_are_stopped_at_their_rung(
    make_spec: MakeSpec, open_record: OpenRecord
):
    spec = make_spec(asha=PROMOTION, search={"num_trials": 2})
    record, events = open_record(spec)
    for w1 in (3.0, 2.0):
        wait_at_250(record, w1)
    record.end_waiting()
    assert names(events)[-2:] == ["trial_ended"] * 2
    ended = [(t.status, t.waiting_at, t.generator_steps, t.rests) for t in record.by_number()]
    assert ended == [("stopped", None, 250, True)] * 2
    assert [trial.scores for trial in record.by_number()] == [{250: 3.0}, {250: 2.0}]
    assert dict(record.counts()) == {"running": 0, "stopped": 2}
