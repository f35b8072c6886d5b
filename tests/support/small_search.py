"""A small search written to MLflow, and what must be there of it: each thing once."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from final_scores import final_score
from PIL import Image

from tuner.record.listener import Listener
from tuner.record.record import Record
from tuner.results.pictures import picture_name
from tuner.space.spec import SearchSpec, validate
from tuner.study.study import Study
from tuner.study.trial import Trial
from tuner.tracking import store as mlflow_store
from tuner.tracking.tracker import Tracker, kept_files

LRS = (1e-4, 1e-3)


def empty_database(folder: Path) -> Path:
    """The tables, to be copied for each test: making them takes seconds."""
    path = folder / "mlflow.db"
    mlflow_store.prepare_store()
    mlflow_store.open_client(f"sqlite:///{path}")
    return path


def copied(database: Path, folder: Path) -> str:
    """The URI of a database of one's own."""
    return f"sqlite:///{shutil.copy(database, folder / 'mlflow.db')}"


def read_runs(uri: str, experiment: str = "wgan") -> dict[str | None, Any]:
    """The one search of an experiment by trial id; fails where there are two runs for one trial."""
    client = mlflow_store.open_client(uri)
    known = client.get_experiment_by_name(experiment)
    assert known is not None
    found = client.search_runs([known.experiment_id])
    runs = {run.data.tags.get("tuner.trial_id"): run for run in found}
    assert len(runs) == len(found)
    return runs


def read_metric(uri: str, run: Any, key: str) -> list[tuple[int, float]]:
    history = mlflow_store.open_client(uri).get_metric_history(run.info.run_id, key)
    return [(metric.step, metric.value) for metric in history]


def read_files(uri: str, run: Any, folder: str | None = None) -> list[str]:
    return [file.path for file in mlflow_store.open_client(uri).list_artifacts(
        run.info.run_id, folder)]  # fmt: skip


class Client:
    """The real client, with an accident at chosen calls."""

    def __init__(
        self, uri: str, accident: Callable[[int, Callable[[], Any]], Any], name: str = ""
    ) -> None:
        """The accident gets the number of a call, of those of this name if there is one."""
        self.client, self.accident, self.num_calls = mlflow_store.open_client(uri), accident, 0
        self.name = name

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.name not in ("", name):
                return getattr(self.client, name)(*args, **kwargs)
            self.num_calls += 1
            return self.accident(
                self.num_calls, lambda: getattr(self.client, name)(*args, **kwargs)
            )

        return call


class SmallSearch:
    """A search of two trials, as a session drives it: the record writes, the tracker follows."""

    def __init__(self, folder: Path, experiment: str = "wgan", num_trials: int = 2) -> None:
        document = {
            "name": "gp",
            "training": {"critic_lr": {"choice": [*LRS, *(n / 64 for n in range(2, num_trials))]}},
            "search": {"sampler": "grid"},
            "asha": {"grace_generator_steps": 250, "max_generator_steps": 500,
                     "reduction_factor": 2},
            "mlflow": {"experiment": experiment},
        }  # fmt: skip
        checked, faults = validate(document)
        assert checked is not None, faults
        self.spec = checked
        self.run_dir = folder / "gp"
        self.run_dir.mkdir(exist_ok=True)
        self.record: Record | None = None

    def __enter__(self) -> "SmallSearch":
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def open(
        self,
        uri: str,
        warnings: list[str] | None = None,
        make_client: Callable[[str], Any] = mlflow_store.open_client,
    ) -> Tracker:
        """A session of its own, whose tracker is the one listener and not started yet."""
        self.leave()
        study = Study(self.run_dir / "study.log", self.spec)
        warn = ([] if warnings is None else warnings).append
        tracker = Tracker(self.spec, self.run_dir, study.search_id, warn, uri, make_client)
        self.record = Record(self.run_dir, self.spec, study)
        self.record.listeners.append(tracker)
        return tracker

    def start(
        self,
        uri: str,
        warnings: list[str] | None = None,
        make_client: Callable[[str], Any] = mlflow_store.open_client,
    ) -> Tracker:
        """The same, with the tracker started."""
        tracker = self.open(uri, warnings, make_client)
        self.current.start()
        return tracker

    def leave(self) -> None:
        """As a kill leaves it: MLflow is not written to any more."""
        if self.record is not None:
            self.record.listeners.clear()
            self.record.close()
            self.record = None

    @property
    def current(self) -> Record:
        assert self.record is not None
        return self.record

    @property
    def trials(self) -> list[Trial]:
        return self.current.by_number()

    def begin(self) -> int:
        trial = self.current.next_trial()
        assert trial is not None
        return trial.number

    def report(self, number: int, step: int, **metrics: float) -> None:
        """A report, at a rung with a score and a picture."""
        told = {"generator_steps": float(step), **metrics}
        if step in self.spec.asha.rungs:
            told = {"w1": step / 100 + number, **told}
        self.current.reported(number, told, continues=step < self.spec.asha.max_generator_steps)

    def save(self, number: int) -> None:
        """A checkpoint, with a picture at a rung."""
        steps = int(self.current.running[number]["generator_steps"])
        folder = self.run_dir / "ray" / f"{number}-{steps}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 2)).save(folder / "samples.png")
        self.current.checkpointed(number, str(folder))

    def run(self) -> None:
        """One trial that completes, and one still under way."""
        if 0 not in self.current.running:
            self.begin()
        self.report(0, 250)
        self.save(0)
        self.report(0, 500)
        self.current.ended(0, "all 500 steps")
        self.begin()
        self.report(1, 250)
        self.save(1)

    def finish(self, tracker: Tracker) -> str | None:
        """The second trial completes, resumed if the session has not begun it."""
        if 1 not in self.current.running:
            while self.begin() != 1:
                pass
            self.report(1, 250)  # a resumed trial reports its last step again
        self.report(1, 500)
        self.current.ended(1)
        return tracker.close("finished", timeout_s=30)

    def score_final(self) -> None:
        for trial in self.current.start_final():
            self.current.final_scored(trial.number, final_score(4.5, 0.25, seconds=1.0))


def assert_complete(uri: str, experiment: str = "wgan") -> None:
    """The small search, each thing once."""
    runs = read_runs(uri, experiment)
    assert runs.keys() == {None, "00000", "00001"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for number, lr in enumerate(LRS):
        run = runs[f"{number:05d}"]
        assert run.data.params == {"critic_lr": str(lr)}
        assert run.data.tags["status"] == "completed"
        assert run.data.tags["mlflow.parentRunId"] == runs[None].info.run_id
        assert read_metric(uri, run, "w1") == [(250, 2.5 + number), (500, 5.0 + number)]
        assert read_metric(uri, run, "while_training.generator_steps") == [(250, 250), (500, 500)]
        assert read_metric(uri, run, "w1_at_000250") == [(250, 2.5 + number)]
        assert read_metric(uri, run, "w1_at_000500") == [(500, 5.0 + number)]
        assert read_files(uri, run, "samples") == ["samples/step_000250.png"]
    assert runs[None].data.params["sampler"] == "grid"
    assert "critic_lr" not in runs[None].data.params
    assert runs[None].data.tags["status"] == "finished"
    # Both trials got worse after their first rung, whose generators are kept.
    assert [run.data.tags["best_rung"] for run in runs.values()] == ["250"] * 3
    assert read_metric(uri, runs[None], "best_w1") == [(1, 2.5), (2, 2.5)]


def wait_for_queue(tracker: Tracker) -> None:
    """Return once MLflow has all that happened so far, or the thread is dead."""
    assert tracker._thread is not None
    while tracker._changed.lacking and tracker._thread.is_alive():
        time.sleep(0.001)


class Patience(Listener):
    """Has the search wait, after each event, until MLflow has it."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def _wait(self, *_: object) -> None:
        wait_for_queue(self._tracker)

    search_started = trial_started = trial_reported = picture_saved = trial_ended = _wait


@dataclass(frozen=True)
class Told:
    """What a session's tracker answered at the end."""

    answer: str | None
    calls_s: list[float]  # what each event took it


def tell_search(
    search: SearchSpec,
    run_dir: Path,
    follow: Callable[[str], Tracker],
    *,
    finish: bool,
    timeout_s: float = 60,
) -> Told:
    """Drive a record of a search of two trials, as a session does; the second may be left open."""
    run_dir.mkdir(exist_ok=True)
    (run_dir / "spec.yaml").write_text(search.to_yaml())
    study = Study(run_dir / "study.log", search)
    tracker = follow(study.search_id)
    calls_s: list[float] = []
    record = Record(run_dir, search, study)
    record.listeners.append(timed(tracker, calls_s))
    record.start()
    while (trial := record.next_trial()) is not None:
        if trial.number == 1 and not finish:
            record.reported(1, {"generator_steps": 100.0, "critic_estimate": 1.0}, continues=True)
            break
        for steps in search.asha.rungs:
            picture = run_dir / "samples" / trial.trial_id / picture_name(steps)
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(b"a picture")
            metrics = {"generator_steps": float(steps), "w1": 1.0 + trial.number, "w1_stderr": 0.1}
            record.reported(trial.number, metrics, continues=steps != search.asha.rungs[-1])
            record.notify(Listener.picture_saved, trial, steps, picture)
        record.ended(trial.number)
    if finish:
        for trial in record.start_final():
            record.final_scored(trial.number, final_score(1.5, 0.1, seconds=2.0))
    record.close()
    ended = "finished" if finish else "interrupted"
    answer = tracker.close(ended, kept_files(run_dir), timeout_s)
    return Told(answer, calls_s)


def timed(tracker: Tracker, calls_s: list[float]) -> Any:
    """The tracker, with what each event took it kept."""

    class Timed:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            def call(*args: Any) -> None:
                begin = time.perf_counter()
                getattr(tracker, name)(*args)
                calls_s.append(time.perf_counter() - begin)

            return call

    return Timed()
