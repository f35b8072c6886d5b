"""Trials in this process: what goes wrong in one, or around it, ends as it would on Ray."""

import errno
import faulthandler
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import promotions
import pytest
import s3
import torch

from trainables.config import DataConfig
from trainables.data import Data, load
from trainables.trial import settings_restored
from tuner.cluster.interruption import Interruption
from tuner.cluster.local import LocalExecutor
from tuner.record.listener import Listener
from tuner.record.record import Record
from tuner.results.best import write_best
from tuner.study.trial import Trial

RANDOM = {"sampler": "random", "num_trials": 3}
RAISED = "RuntimeError: this network does not like its 50th batch"


@pytest.fixture(scope="module")
def data() -> Data:
    return load(DataConfig(dataset="eight_gaussians"))


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with settings_restored():
        yield


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of so small a trial, and has tests of its own."""
    monkeypatch.setattr("trainables.trial.save_samples", lambda _, __, path: path.touch())


class Interrupts(Listener):
    """Interrupts a search at a report."""

    def __init__(self, interrupted: Interruption, at: int) -> None:
        self.interrupted, self.left = interrupted, at

    def trial_reported(self, trial: Trial, report: Mapping[str, float]) -> None:
        self.left -= 1
        if self.left == 0:
            self.interrupted.set()


class Notes(Listener):
    """Keeps what was noted."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def noted(self, text: str) -> None:
        self.texts.append(text)


@dataclass
class Session:
    """A session of a search: what it did, and what was said in it."""

    record: Record
    is_interrupted: bool
    location: str
    notes: list[str]
    said: list[str] = field(default_factory=list)

    def outcome(self) -> dict[int, Any]:
        """All of the trials that must be the same in an equal search."""
        return {n: _without_times(trial) for n, trial in self.record.trials.items()}

    def statuses(self) -> list[str | None]:
        return [trial.status for trial in self.record.by_number()]


def _without_times(trial: Trial) -> tuple[Any, ...]:
    times = ("seconds", "_per_s", "unix_time_s")
    metrics = {k: v for k, v in trial.metrics.items() if not any(part in k for part in times)}
    return trial.config, trial.status, trial.message, dict(trial.scores), metrics


RunSession = Callable[..., Session]


@pytest.fixture
def run_session(
    make_spec: Callable[..., Any],
    open_record: Callable[..., tuple[Record, Any]],
    data: Data,
    tmp_path: Path,
) -> RunSession:
    """Run a session of a search whose generators go wrong in these ways, one after the other."""

    def run(
        *faults: str,
        name: str = "session",
        run_dir: Path | None = None,
        location: str | None = None,
        interrupt_at: int = 0,
        before: Callable[[Record], None] = lambda record: None,
        **sections: Mapping[str, Any],
    ) -> Session:
        run_dir = run_dir or tmp_path / "run"
        run_dir.mkdir(exist_ok=True)
        arguments = {"fault": {"choice": list(faults)}, "marks": str(tmp_path)}
        small: dict[str, dict[str, Any]] = {
            "networks": {
                "generator": "faulty:Generator",
                "generator_args": arguments,
                "critic_width": 16,
                "critic_depth": 1,
                "latent_dim": 4,
            },
            "training": {"batch_size": 16, "n_critic": 1},
            "objective": {"critic_steps": 5, "final_critic_steps": 5, "final_num_critics": 1,
                "final_cones": False},
            "search": {"sampler": "grid", "num_trials": None},
            "asha": {
                "grace_generator_steps": 15, "max_generator_steps": 40, "reduction_factor": 1,
            },
            "reporting": {
                "report_every_generator_steps": 10, "checkpoint_every_generator_steps": 10,
            },
            "resources": {"retries_per_trial": 1},
        }  # fmt: skip
        document = {k: {**small.get(k, {}), **sections.get(k, {})} for k in small | sections}
        spec = make_spec(data={"dataset": "eight_gaussians"}, **document)
        record, _ = open_record(spec, run_dir, location)
        notes, interrupted = Notes(), Interruption()
        record.listeners += [notes, Interrupts(interrupted, interrupt_at)]
        before(record)
        session = Session(record, False, f"{location or run_dir}/ray/{name}", notes.texts)
        executor = LocalExecutor(spec.resources, session.said.append)
        executor.load(data)
        executor.run_trials(record, session.location, interrupted)
        if not interrupted.is_set() and record.halted is None:
            record.end_waiting()
            executor.run_final(record, interrupted)
        session.is_interrupted = interrupted.is_set()
        return session

    return run


def test_trials_run_one_after_the_other_and_the_best_are_scored_again(
    run_session: RunSession,
) -> None:
    session = run_session("none", objective={"final_trials": 1}, search=RANDOM)
    assert session.statuses() == ["completed"] * 3
    assert session.record.running == {}
    assert [t.number for t in session.record.trials.values() if t.final] == [
        session.record.finalists[0].number
    ]
    assert (session.notes, session.said) == ([], [])
    for number in range(3):  # as Ray names them; the last two are kept
        folder = Path(session.location, f"search_{number:05d}")
        assert sorted(path.name for path in folder.iterdir())[-2:] == [
            "checkpoint_000003", "checkpoint_000004",
        ]  # fmt: skip
        assert str(folder / "checkpoint_000004") == session.record.trials[number].checkpoint


@pytest.mark.parametrize("interrupt_at", [1, 4, 8])
def test_an_interrupted_search_resumes_to_the_end_of_an_unbroken_one(
    run_session: RunSession, tmp_path: Path, interrupt_at: int
) -> None:
    given = {"search": {"sampler": "tpe", "num_trials": 3}, "asha": {"reduction_factor": 2}}
    given |= {"training": {"critic_lr": {"low": 1e-4, "high": 1e-2, "log": True}}}
    unbroken = run_session("none", run_dir=tmp_path / "unbroken", **given).outcome()
    first = run_session("none", interrupt_at=interrupt_at, **given)
    assert first.is_interrupted
    assert None in first.statuses()
    second = run_session("none", name="resumed", **given)
    assert second.outcome() == unbroken


def test_a_trial_that_raises_once_ends_as_if_it_had_not(run_session: RunSession) -> None:
    session = run_session("none", "raise_once")
    assert session.statuses() == ["completed", "completed"]
    trials = {t.config.networks.generator_args["fault"]: t for t in session.record.trials.values()}
    number = trials["raise_once"].number
    note = f"trial {number:05d} restarts from its last checkpoint (1 of 1): {RAISED}"
    assert session.notes == [note]
    (traceback,) = session.said
    assert "faulty.py" in traceback
    assert traceback.endswith(f"{RAISED}\n")
    reported = (session.record.run_dir / "metrics.jsonl").read_text().splitlines()
    assert len(reported) == 10, "each report is kept once"


def test_a_trial_that_raises_too_often_has_failed_and_the_others_go_on(
    run_session: RunSession,
) -> None:
    session = run_session("raise", "none")
    trials = {t.config.networks.generator_args["fault"]: t for t in session.record.trials.values()}
    assert (trials["raise"].status, trials["raise"].message) == ("failed", RAISED)
    assert trials["raise"].generator_steps == 20
    assert trials["none"].status == "completed"
    assert len(session.said) == 2


def test_trials_that_all_fail_alike_halt_the_search(run_session: RunSession) -> None:
    session = run_session(
        "raise", search={"sampler": "random", "num_trials": 9},
        resources={"retries_per_trial": 0, "max_equal_failures": 2},
    )  # fmt: skip
    assert session.record.halted == f"the last 2 trials failed alike: {RAISED}"
    assert session.statuses() == ["failed", "failed"]


def test_a_trial_that_is_not_finite_has_diverged(run_session: RunSession) -> None:
    session = run_session("nan", "explode")
    assert session.statuses() == ["diverged", "diverged"]
    assert all("w1" not in trial.metrics for trial in session.record.trials.values())


def test_a_full_disk_halts_the_search_and_costs_no_retry(run_session: RunSession) -> None:
    session = run_session("full_once")
    assert session.record.halted == "OSError: [Errno 28] No space left on device"
    assert session.statuses() == [None]
    assert run_session("full_once", name="resumed").statuses() == ["completed"]


@pytest.mark.parametrize("method", ["next_trial", "reported", "checkpointed", "ended"])
def test_the_search_halts_where_its_own_files_cannot_be_written(
    run_session: RunSession, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    session = run_session("none", before=lambda record: monkeypatch.setattr(record, method, fail))
    run_dir = session.record.run_dir
    assert session.record.halted == f"cannot write into {run_dir}: Input/output error"
    assert session.notes == []


def test_a_fault_of_the_record_is_none_of_the_trials(
    run_session: RunSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        run_session("none", before=lambda record: monkeypatch.setattr(record, "reported", fail))


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_jumps_by_hours_changes_nothing(
    run_session: RunSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Neither what is left of the budget nor a number of any trial."""
    given = {"search": {**RANDOM, "num_trials": 2, "time_budget_s": 1000}}
    unbroken = run_session("none", run_dir=tmp_path / "unbroken", **given).outcome()
    now, looks = time.time, itertools.count()
    monkeypatch.setattr(time, "time", lambda: now() + 3600 * hours * (next(looks) > 4))
    session = run_session("none", **given)
    assert next(looks) > 8, "it jumped in between"
    assert session.outcome() == unbroken
    assert session.record.elapsed_s < 1000


def test_trials_end_at_the_report_after_the_budget_is_used_up(run_session: RunSession) -> None:
    session = run_session("none", search={**RANDOM, "time_budget_s": 1e-9})
    assert session.statuses() == [], "none starts"
    many = {**RANDOM, "num_trials": 10_000, "time_budget_s": 1.5}
    session = run_session("none", run_dir=session.record.run_dir / "more", search=many)
    assert session.statuses()[-1] in ("stopped", "completed")
    assert len(session.statuses()) < 1000
    assert None not in session.statuses()


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_trial_resumes_from_the_newest_checkpoint_that_is_whole(
    run_session: RunSession, how: str
) -> None:
    first = run_session("none", interrupt_at=4)
    newest, older = map(Path, first.record.trials[0].checkpoints)
    if how == "damaged":
        os.truncate(newest / "state.pt", (newest / "state.pt").stat().st_size // 2)
    else:
        shutil.rmtree(newest)
    second = run_session("none", name="resumed")
    assert second.statuses() == ["completed"]
    (note,) = second.notes
    assert note.startswith(f"trial 00000: {newest.name} is {how}")
    assert note.endswith(f"resumed from {older.name}")


def test_a_checkpoint_of_another_trial_is_not_continued_from(
    run_session: RunSession, tmp_path: Path
) -> None:
    unbroken = run_session("none", run_dir=tmp_path / "unbroken", search=RANDOM)
    first = run_session("none", interrupt_at=8, search=RANDOM)  # in trial 1
    _, swapped = [Path(t.checkpoints[0]) for t in first.record.by_number() if t.checkpoints]
    shutil.rmtree(swapped)
    shutil.copytree(first.record.trials[0].checkpoints[1], swapped)
    second = run_session("none", name="resumed", search=RANDOM)
    (note,) = second.notes
    assert note.startswith(
        f"trial 00001: {swapped.name} is damaged (state.pt is of trial search_00"
    )
    assert second.outcome() == unbroken.outcome()


def test_a_generator_of_another_trial_is_not_scored_for_it(run_session: RunSession) -> None:
    def swap(record: Record) -> None:
        start = record.start_final

        def start_final() -> list[Trial]:
            finalists = start()
            one, other = (Path(str(trial.checkpoint), "generator.pt") for trial in finalists[:2])
            shutil.copyfile(one, other)
            return finalists

        record.start_final = start_final  # type: ignore[method-assign]

    session = run_session("none", search=RANDOM, before=swap)
    ((number, reason),) = session.record.final_faults.items()
    assert "generator.pt must be as it was saved, but it is of trial search_0000" in reason
    assert {n for n, t in session.record.trials.items() if t.final} == {0, 1, 2} - {number}


@pytest.mark.parametrize("leave", [shutil.move, shutil.copytree])
def test_a_search_whose_folder_was_moved_or_copied_continues_from_its_checkpoints_there(
    run_session: RunSession, tmp_path: Path, leave: Callable[[Path, Path], Any]
) -> None:
    assert run_session("none", interrupt_at=4).is_interrupted
    unbroken = run_session("none", run_dir=tmp_path / "unbroken")
    leave(tmp_path / "run", tmp_path / "elsewhere")
    before = _contents(tmp_path / "run")
    second = run_session("none", name="resumed", run_dir=tmp_path / "elsewhere")
    assert (second.outcome(), second.notes) == (unbroken.outcome(), [])
    best = second.record.trials[0]
    assert best.final is not None
    assert str(best.checkpoint).startswith(f"{tmp_path}/elsewhere/ray/resumed/")
    write_best(second.record.run_dir, best)
    assert (tmp_path / "elsewhere" / "best" / "generator.pt").exists()
    second.record._removals.submit(lambda: None).result()  # one after the other
    assert _contents(tmp_path / "run") == before


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_checkpoints_may_be_in_an_object_store(run_session: RunSession, server: s3.S3) -> None:
    first = run_session("none", location=server.uri("search"), interrupt_at=4)
    assert first.is_interrupted
    second = run_session("none", location=server.uri("search"), name="resumed")
    assert second.statuses() == ["completed"]
    assert second.notes == []
    checkpoint = second.record.trials[0].checkpoint
    assert checkpoint == f"{server.uri()}/search/ray/resumed/search_00000/checkpoint_000000"
    assert f"{checkpoint.removeprefix(server.uri() + '/')}/state.pt" in server.objects()
    assert not (second.record.run_dir / "ray").exists()


def test_a_finalist_that_cannot_be_scored_again_costs_only_its_own_score(
    run_session: RunSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(record: Record) -> None:
        start = record.start_final

        def start_final() -> list[Trial]:
            finalists = start()
            Path(str(finalists[0].best_generator), "generator.pt").unlink()
            return finalists

        monkeypatch.setattr(record, "start_final", start_final)

    session = run_session("none", search=RANDOM, before=spoil)
    ((number, reason),) = session.record.final_faults.items()
    assert reason.startswith("FileNotFoundError: cannot read generator.pt from ")
    assert {n for n, t in session.record.trials.items() if t.final} == {0, 1, 2} - {number}


def test_leaving_the_debugger_interrupts_the_search(run_session: RunSession) -> None:
    session = run_session("quit", search=RANDOM)
    assert session.is_interrupted
    assert session.statuses() == [None]
    assert (session.notes, session.said) == ([], [])


def test_no_clock_ends_the_process_while_somebody_debugs(
    run_session: RunSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a watchdog was started")

    monkeypatch.setattr(faulthandler, "dump_traceback_later", fail)
    session = run_session("none", resources={"report_timeout_s": 0.001})
    assert session.statuses() == ["completed"]
    assert session.record.trials[0].final is not None


@pytest.mark.parametrize(
    ("gpus", "is_there", "is_used"),
    [("auto", True, True), ("auto", False, False), (0, True, False), (1, True, True)],
)
def test_a_gpu_is_used_if_torch_sees_one_and_the_trial_takes_it(
    make_spec: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    gpus: str | int,
    *,
    is_there: bool,
    is_used: bool,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)
    executor = LocalExecutor(make_spec(resources={"gpus_per_trial": gpus}).resources, print)
    assert executor._use_gpu == is_used


# --- Trials that wait to be promoted ------------------------------------------------------------

PROMOTED = {
    "search": {"sampler": "random", "num_trials": 10},
    "asha": {"grace_generator_steps": 5, "max_generator_steps": 20, "reduction_factor": 2,
             "variant": "promotion"},
    "objective": {"final_trials": 1},
    "reporting": {"checkpoint_every_generator_steps": 100},
}  # fmt: skip


def test_trials_are_promoted_as_the_papers_algorithm_2_says(
    run_session: RunSession, tmp_path: Path
) -> None:
    session = run_session("none", **PROMOTED)
    reports = promotions.rung_reports(tmp_path / "run")
    assert [(number, rung) for number, rung, _ in reports] == promotions.by_algorithm_2(reports, 10)
    assert len({reported[:2] for reported in reports}) == len(reports)
    reached = {rung: sum(at == rung for _, at, _ in reports) for rung in (5, 10, 20)}
    assert reached[5] == 10
    assert reached[10] >= 5 > reached[20] >= 2
    assert session.statuses().count("completed") == reached[20]
    stopped = [t for t in session.record.by_number() if t.status == "stopped"]
    assert {trial.generator_steps for trial in stopped} == {5, 10}
    assert len(stopped) == 10 - reached[20]


def test_a_trial_that_waits_is_promoted_after_a_resume_as_without_it(
    run_session: RunSession, tmp_path: Path
) -> None:
    broken = run_session("none", interrupt_at=9, **PROMOTED)
    assert broken.is_interrupted
    waiting = {t.number: t.waiting_at for t in broken.record.by_number() if t.waiting_at}
    assert waiting
    broken.record.close()
    kept: list[bool] = []

    def look(record: Record) -> None:
        record.remove_superseded()
        trials = record.by_number()
        assert {t.number: t.waiting_at for t in trials if t.waiting_at} == waiting
        kept.extend(Path(record.trials[n].checkpoints[0], "state.pt").exists() for n in waiting)

    resumed = run_session("none", name="resumed", before=look, **PROMOTED)
    assert kept == [True] * len(waiting)
    reports = promotions.rung_reports(tmp_path / "run")
    assert [(number, rung) for number, rung, _ in reports] == promotions.by_algorithm_2(reports, 10)
    again = [t.number for t in resumed.record.by_number() if t.number in waiting and t.last_rung]
    assert any(resumed.record.trials[n].last_rung > waiting[n] for n in again)  # type: ignore[operator]


def test_a_budget_ends_the_trials_that_wait(run_session: RunSession) -> None:
    search = {"sampler": "random", "num_trials": 10, "generator_steps": 20}
    session = run_session("none", **{**PROMOTED, "search": search})
    assert set(session.statuses()) <= {"stopped", "completed"}
    assert 2 <= len(session.statuses()) < 10
    assert not any(trial.waiting_at for trial in session.record.by_number())
