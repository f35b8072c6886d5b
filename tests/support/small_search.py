"""A small search told to MLflow, and what must be there of it: each thing once."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.record.record import Record
from tuner.results.pictures import picture_name
from tuner.space.spec import SearchSpec
from tuner.study.study import Study
from tuner.tracking import store as mlflow_store
from tuner.tracking.history import TrialHistory
from tuner.tracking.naming import Naming
from tuner.tracking.tracker import Tracker, kept_files

NAMING = Naming("gp", {"num_trials": 2, "seed": None}, {"git": "abc"})


def empty_database(folder: Path) -> Path:
    """The tables, to be copied for each test: making them takes seconds."""
    path = folder / "mlflow.db"
    mlflow_store.prepare_store()
    mlflow_store.open_client(f"sqlite:///{path}")
    return path


def copied(database: Path, folder: Path) -> str:
    """The URI of a database of one's own."""
    return f"sqlite:///{shutil.copy(database, folder / 'mlflow.db')}"


def make_tracker(
    uri: str,
    said: list[str] | None = None,
    make_client: Callable[[str], Any] | None = None,
    experiment: str = "wgan",
) -> Tracker:
    said = [] if said is None else said
    return Tracker(
        uri, experiment, None, NAMING, "search-1",
        warn=said.append, make_client=make_client,
    )  # fmt: skip


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


def report(step: int) -> dict[str, float]:
    return {"generator_steps": step, "w1": step / 100, "unix_time_s": 1.7e9 + step}


class Client:
    """The real client, with an accident at chosen calls."""

    def __init__(self, uri: str, accident: Callable[[int, Callable[[], Any]], Any]) -> None:
        self.client, self.accident, self.num_calls = mlflow_store.open_client(uri), accident, 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.num_calls += 1
            return self.accident(
                self.num_calls, lambda: getattr(self.client, name)(*args, **kwargs)
            )

        return call


def run_small_search(tracker: Any, picture: Path) -> None:
    """One trial that completes, and one still under way."""
    tracker.trial_started("00000", {"lr": 1e-4})
    tracker.trial_reported("00000", report(250), picture)
    tracker.trial_reported("00000", report(500))
    tracker.trial_ended("00000", "completed", "all 500 steps")
    tracker.search_progress(1, {"best_w1": 5.0})
    tracker.trial_started("00001", {"lr": 1e-3})
    tracker.trial_reported("00001", report(250), picture)


def small_history(picture: Path) -> list[TrialHistory]:
    done = [report(250), report(500)]
    return [
        TrialHistory("00000", {"lr": 1e-4}, done, {250: picture}, "completed", "all 500 steps"),
        TrialHistory("00001", {"lr": 1e-3}, [report(250)], {250: picture}, None, None),
    ]


def finish_small_search(tracker: Any) -> str | None:
    tracker.trial_started("00001", {"lr": 1e-3})
    tracker.trial_reported("00001", report(250))  # a resumed trial reports its last step again
    tracker.trial_reported("00001", report(500))
    tracker.trial_ended("00001", "stopped")
    tracker.search_progress(1, {"best_w1": 5.0})
    tracker.search_progress(2, {"best_w1": 5.0})
    return tracker.close("finished", timeout_s=30)


def assert_complete(uri: str, experiment: str = "wgan") -> None:
    """The small search, each thing once."""
    runs = read_runs(uri, experiment)
    assert runs.keys() == {None, "00000", "00001"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for trial_id, lr, status in (("00000", "0.0001", "completed"), ("00001", "0.001", "stopped")):
        run = runs[trial_id]
        assert run.data.params == {"lr": lr}
        assert run.data.tags["status"] == status
        assert run.data.tags["mlflow.parentRunId"] == runs[None].info.run_id
        assert read_metric(uri, run, "w1") == [(250, 2.5), (500, 5.0)]
        assert read_metric(uri, run, "while_training/generator_steps") == [(250, 250), (500, 500)]
        assert read_metric(uri, run, "w1_at_000250") == [(250, 2.5)]
        assert read_metric(uri, run, "w1_at_000500") == [(500, 5.0)]
        assert read_files(uri, run, "samples") == ["samples/step_000250.png"]
    assert runs[None].data.params == {"num_trials": "2"}
    assert runs[None].data.tags["status"] == "finished"
    assert read_metric(uri, runs[None], "best_w1") == [(1, 5.0), (2, 5.0)]


def wait_for_queue(tracker: Tracker) -> None:
    """Return once all that the tracker was told so far is written, or its thread is dead."""
    assert tracker._thread is not None
    while len(tracker._backlog) and tracker._thread.is_alive():
        time.sleep(0.001)


def wait_for_each(tracker: Tracker) -> Any:
    """The tracker, each of whose calls returns once it is written."""

    class OneByOne:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            def call(*args: Any) -> None:
                getattr(tracker, name)(*args)
                wait_for_queue(tracker)

            return call

    return OneByOne()


@dataclass(frozen=True)
class Told:
    """What a sitting of a real record told its tracker, and what the tracker said at the end."""

    answer: str | None
    calls_s: list[float]  # what each call to the tracker took


def tell_search(
    search: SearchSpec,
    run_dir: Path,
    follow: Callable[[str], Tracker],
    *,
    finish: bool,
    timeout_s: float = 60,
) -> Told:
    """Drive a record of a search of two trials, as a sitting does; the second may be left open."""
    run_dir.mkdir(exist_ok=True)
    (run_dir / "spec.yaml").write_text(search.to_yaml())
    study = Study(run_dir / "study.log", search)
    tracker = follow(study.search_id)
    calls_s: list[float] = []
    record = Record(run_dir, search, study, timed(tracker, calls_s))
    while (trial := record.next_trial()) is not None:
        if trial.number == 1 and not finish:
            record.reported(1, {"generator_steps": 100.0, "critic_estimate": 1.0}, goes_on=True)
            break
        for steps in search.asha.rungs:
            picture = run_dir / "samples" / trial.trial_id / picture_name(steps)
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(b"a picture")
            metrics = {"generator_steps": float(steps), "w1": 1.0 + trial.number, "w1_stderr": 0.1}
            record.reported(trial.number, metrics, goes_on=steps != search.asha.rungs[-1])
            told = record.running[trial.number]
            timed(tracker, calls_s).trial_reported(trial.trial_id, told, picture)
        record.ended(trial.number)
    if finish:
        for trial in record.start_final():
            record.final_scored(trial.number, 1.5, 0.1, 2.0)
    record.close()
    ended = "finished" if finish else "interrupted"
    answer = tracker.close(ended, kept_files(run_dir), timeout_s)
    return Told(answer, calls_s)


def timed(tracker: Tracker, calls_s: list[float]) -> Any:
    """The tracker, with what each call took kept."""

    class Timed:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                begin = time.perf_counter()
                answer = getattr(tracker, name)(*args)
                calls_s.append(time.perf_counter() - begin)
                return answer

            return call

    return Timed()
