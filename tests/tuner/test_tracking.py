"""MLflow on a real SQLite file: every run and every value once, whatever dies and whenever."""

import math
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tuner import mlflow_runs, tracking
from tuner.history import TrialHistory
from tuner.tracking import Tracker

# SQLAlchemy 2.1's own, at MLflow 3.17's first import of its store.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables, made once: it takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow_runs._prepare_mlflow()
    mlflow_runs.open_client(f"sqlite:///{path}")
    return path


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(tracking, "FIRST_RETRY_S", 0.01)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "grid of trial 3.png"
    path.write_bytes(b"a picture")
    return path


def make_tracker(
    uri: str, said: list[str] | None = None, make_client: Callable[[str], Any] | None = None
) -> Tracker:
    said = [] if said is None else said
    return Tracker(
        uri, "wgan", None, "gp", "search-1", {"num_trials": 2, "seed": None}, {"git": "abc"},
        warn=said.append, make_client=make_client,
    )  # fmt: skip


def read_runs(uri: str) -> dict[str | None, Any]:
    """The search's runs by trial id (None: the parent); fails where there are two for one."""
    client = mlflow_runs.open_client(uri)
    experiment = client.get_experiment_by_name("wgan")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], "tags.`tuner.search_id` = 'search-1'")
    runs = {run.data.tags.get("tuner.trial_id"): run for run in found}
    assert len(runs) == len(found)
    return runs


def read_metric(uri: str, run: Any, key: str) -> list[tuple[int, float]]:
    history = mlflow_runs.open_client(uri).get_metric_history(run.info.run_id, key)
    return [(metric.step, metric.value) for metric in history]


def read_files(uri: str, run: Any, folder: str | None = None) -> list[str]:
    return [file.path for file in mlflow_runs.open_client(uri).list_artifacts(
        run.info.run_id, folder)]  # fmt: skip


NUM_CALLS = 16  # requests that the small search below takes, whose reports wait for the first


def report(step: int) -> dict[str, float]:
    return {"generator_steps": step, "w1": step / 100, "unix_time_s": 1.7e9 + step}


class Client:
    """The real client, with an accident at chosen calls."""

    def __init__(self, uri: str, accident: Callable[[int, Callable[[], Any]], Any]) -> None:
        self.client, self.accident, self.num_calls = mlflow_runs.open_client(uri), accident, 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.num_calls += 1
            return self.accident(
                self.num_calls, lambda: getattr(self.client, name)(*args, **kwargs)
            )

        return call


def run_small_search(tracker: Tracker, picture: Path) -> None:
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


def finish_small_search(tracker: Tracker) -> str | None:
    tracker.trial_started("00001", {"lr": 1e-3})
    tracker.trial_reported("00001", report(250))  # a resumed trial reports its last step again
    tracker.trial_reported("00001", report(500))
    tracker.trial_ended("00001", "stopped")
    tracker.search_progress(1, {"best_w1": 5.0})
    tracker.search_progress(2, {"best_w1": 5.0})
    return tracker.close("finished", timeout_s=30)


def wait_for_queue(tracker: Tracker) -> None:
    reached = threading.Event()
    tracker._queue.put(tracking._Event(None, lambda: reached.set()))
    assert reached.wait(30)


def assert_complete(uri: str) -> None:
    """The small search, each thing once."""
    runs = read_runs(uri)
    assert runs.keys() == {None, "00000", "00001"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for trial_id, lr, status in (("00000", "0.0001", "completed"), ("00001", "0.001", "stopped")):
        run = runs[trial_id]
        assert run.data.params == {"lr": lr}
        assert run.data.tags["status"] == status
        assert run.data.tags["mlflow.parentRunId"] == runs[None].info.run_id
        assert read_metric(uri, run, "w1") == [(250, 2.5), (500, 5.0)]
        assert read_metric(uri, run, "generator_steps") == [(250, 250), (500, 500)]
        assert read_files(uri, run, "samples") == ["samples/step_000250.png"]
    assert runs[None].data.params == {"num_trials": "2"}
    assert runs[None].data.tags["status"] == "finished"
    assert read_metric(uri, runs[None], "best_w1") == [(1, 5.0), (2, 5.0)]


def test_one_parent_and_one_child_a_trial(uri: str, picture: Path) -> None:
    said: list[str] = []
    tracker = make_tracker(uri, said)
    tracker.start()
    run_small_search(tracker, picture)
    assert finish_small_search(tracker) is None
    assert said == []
    assert_complete(uri)
    runs = read_runs(uri)
    assert {run.info.run_name for run in runs.values()} == {"gp", "gp 00000", "gp 00001"}
    assert runs[None].data.tags["git"] == "abc"
    assert runs["00000"].data.tags["message"] == "all 500 steps"


def test_the_report_s_own_time_is_mlflow_s(uri: str) -> None:
    tracker = make_tracker(uri)
    tracker.start()
    tracker.trial_reported("00000", report(250))
    tracker.close("finished")
    run = read_runs(uri)["00000"]
    (metric,) = mlflow_runs.open_client(uri).get_metric_history(run.info.run_id, "w1")
    assert metric.timestamp == 1_700_000_250_000
    assert "unix_time_s" not in run.data.metrics


@pytest.mark.parametrize(
    ("status", "state"),
    [("completed", "FINISHED"), ("stopped", "FINISHED"), ("diverged", "FAILED"),
     ("failed", "FAILED")],
)  # fmt: skip
def test_states(uri: str, status: str, state: str) -> None:
    tracker = make_tracker(uri)
    tracker.start()
    tracker.trial_started("00000", {})
    tracker.trial_ended("00000", status, "why")
    assert tracker.close("failed") is None
    runs = read_runs(uri)
    assert runs["00000"].info.status == state
    assert runs["00000"].data.tags["status"] == status
    assert runs[None].info.status == "FAILED"


def test_an_interrupted_search_leaves_no_run_open_and_can_go_on(uri: str, picture: Path) -> None:
    tracker = make_tracker(uri)
    tracker.start()
    run_small_search(tracker, picture)
    assert tracker.close("interrupted", [picture]) is None
    runs = read_runs(uri)
    assert runs["00001"].info.status == "KILLED"
    assert runs["00001"].data.tags["status"] == "interrupted"
    assert runs[None].info.status == "KILLED"
    assert read_files(uri, runs[None]) == [picture.name]
    resumed = make_tracker(uri)
    resumed.start(small_history(picture))
    assert finish_small_search(resumed) is None
    assert_complete(uri)


def test_infinities_and_nan_are_nan_and_odd_params_survive(uri: str) -> None:
    tracker = make_tracker(uri)
    tracker.start()
    tracker.trial_started("00000", {"widths": [64, 32], "none": None, "long": "x" * 9_000})
    tracker.trial_reported(
        "00000", {"generator_steps": 1, "w1 (ä|b)": 1, "up": math.inf, "nan": math.nan}
    )
    assert tracker.close("finished") is None
    data = read_runs(uri)["00000"].data
    assert data.params == {"widths": "[64, 32]", "long": "x" * 6_000}
    assert math.isnan(data.metrics["up"])
    assert math.isnan(data.metrics["nan"])
    assert data.metrics["w1 _ä_b_"] == 1


@pytest.mark.filterwarnings("ignore:Exception in thread mlflow")
@pytest.mark.parametrize("num_calls", range(NUM_CALLS))
def test_killed_after_any_request_then_resumed(uri: str, picture: Path, num_calls: int) -> None:
    def die(call: int, request: Callable[[], Any]) -> Any:
        if call > num_calls:
            raise SystemExit  # nothing catches it: the thread ends there, as in a kill
        return request()

    killed = make_tracker(uri, make_client=lambda uri: Client(uri, die))
    killed.start()
    run_small_search(killed, picture)
    assert killed._thread is not None
    killed._thread.join(10)
    assert not killed._thread.is_alive()
    resumed = make_tracker(uri)
    resumed.start(small_history(picture))
    resumed.search_progress(1, {"best_w1": 5.0})
    assert finish_small_search(resumed) is None
    assert_complete(uri)


def test_lost_answers_double_nothing(
    uri: str, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "MAX_ATTEMPTS_AT_CLOSE", 50)
    random = Random(0)

    def lose(_: int, request: Callable[[], Any]) -> Any:
        answer = request()
        if random.random() < 0.3:
            raise ConnectionError("[Errno 104] Connection reset by peer")
        return answer

    said: list[str] = []
    tracker = make_tracker(uri, said, lambda uri: Client(uri, lose))
    tracker.start()
    run_small_search(tracker, picture)
    assert finish_small_search(tracker) is None
    assert len(said) == 1
    assert_complete(uri)


def test_a_finished_history_costs_no_request(uri: str, picture: Path) -> None:
    tracker = make_tracker(uri)
    tracker.start()
    run_small_search(tracker, picture)
    finish_small_search(tracker)
    clients: list[Client] = []

    def count(uri: str) -> Client:
        clients.append(Client(uri, lambda _, request: request()))
        return clients[0]

    resumed = make_tracker(uri, make_client=count)
    resumed.start(small_history(picture)[:1] * 50)
    resumed.close("finished")
    assert clients[0].num_calls < 12


FINAL = {
    "w1_final": 4.5, "w1_final_stderr": 0.25, "generator_steps": 500.0, "unix_time_s": 1.7e9 + 600,
}  # fmt: skip
FINAL_MS = 1_700_000_600_000


def assert_has_the_final(uri: str) -> None:
    runs = read_runs(uri)
    assert read_metric(uri, runs["00000"], "w1_final") == [(500, 4.5)]
    assert read_metric(uri, runs["00000"], "w1_final_stderr") == [(500, 0.25)]
    assert read_metric(uri, runs[None], "best_w1_final") == [(0, 4.5)]
    assert runs[None].data.tags["best_trial"] == "00000"
    assert "w1_final" not in runs["00001"].data.metrics
    assert_complete(uri)


def test_the_final_goes_to_runs_that_have_ended_and_again_is_as_once(
    uri: str, picture: Path
) -> None:
    said: list[str] = []
    tracker = make_tracker(uri, said)
    tracker.start()
    run_small_search(tracker, picture)
    for _ in range(2):
        tracker.trial_final("00000", FINAL)
        tracker.search_best("00000", {"best_w1_final": 4.5}, FINAL_MS)
    assert finish_small_search(tracker) is None
    assert_has_the_final(uri)
    resumed = make_tracker(uri, said)
    history = small_history(picture)
    resumed.start([replace(history[0], final=FINAL), history[1]])
    resumed.search_best("00000", {"best_w1_final": 4.5}, FINAL_MS)
    assert finish_small_search(resumed) is None
    assert said == []
    assert_has_the_final(uri)


def test_a_kill_while_the_database_is_made_costs_nothing(tmp_path: Path) -> None:
    """MLflow makes its tables one by one, and cannot use a database that has some of them."""
    code = """
import os, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from tuner import mlflow_runs

@event.listens_for(Engine, "before_cursor_execute")
def kill(connection, cursor, statement, *_):
    if statement.startswith("CREATE INDEX"):
        os._exit(9)

mlflow_runs._prepare_mlflow()
mlflow_runs._create_database("sqlite:///" + sys.argv[1], Path(sys.argv[1]))
"""
    path = tmp_path / "mlflow.db"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == 9
    assert not path.exists()
    mlflow_runs._create_database(f"sqlite:///{path}", path)
    tracker = make_tracker(f"sqlite:///{path}")
    tracker.start()
    assert tracker.close("finished", []) is None
    assert set(read_runs(f"sqlite:///{path}")) == {None}


def test_a_new_database_gets_the_final_too(uri: str, picture: Path) -> None:
    tracker = make_tracker(uri)
    history = small_history(picture)
    tracker.start([replace(history[0], final=FINAL), history[1]])
    tracker.search_progress(1, {"best_w1": 5.0})
    tracker.search_best("00000", {"best_w1_final": 4.5}, FINAL_MS)
    assert finish_small_search(tracker) is None
    assert_has_the_final(uri)


def test_a_new_database_gets_the_whole_history(uri: str, picture: Path) -> None:
    tracker = make_tracker(uri)
    tracker.start(small_history(picture))
    tracker.search_progress(1, {"best_w1": 5.0})
    assert finish_small_search(tracker) is None
    assert_complete(uri)


def test_a_server_that_comes_back_gets_everything(uri: str, picture: Path) -> None:
    def refuse(call: int, request: Callable[[], Any]) -> Any:
        if call <= 3 or 12 <= call <= 15:
            raise ConnectionError("[Errno 111] Connection refused")
        return request()

    said: list[str] = []
    tracker = make_tracker(uri, said, lambda uri: Client(uri, refuse))
    tracker.start()
    run_small_search(tracker, picture)
    wait_for_queue(tracker)
    assert finish_small_search(tracker) is None
    assert len(said) == 1
    assert_complete(uri)


def test_an_unreachable_server_is_said_once_and_harms_nobody(
    picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "FIRST_RETRY_S", 0.05)
    said: list[str] = []
    tracker = make_tracker("http://user:pa@ss@127.0.0.1:9", said)
    tracker.start(small_history(picture))
    run_small_search(tracker, picture)
    time.sleep(0.5)
    begin = time.perf_counter()
    answer = tracker.close("finished", timeout_s=10)
    assert time.perf_counter() - begin < 10
    place = "MLflow (http://***@127.0.0.1:9)"
    reason = "Connection refused"
    assert said == [f"{place} cannot be written: {reason}. The search goes on."]
    assert answer is not None
    assert answer.startswith(f"{place} lacks ")
    assert answer.endswith("resume the search once that is mended, and they will be written.")
    assert tracker.ui_command == "http://***@127.0.0.1:9"
    assert tracker.close("finished") == answer


def test_nobody_waits_for_a_slow_server() -> None:
    class Slow:
        def __getattr__(self, _: str) -> Any:
            time.sleep(2)
            raise ConnectionError

    tracker = make_tracker("http://slow", make_client=lambda _: Slow())
    tracker.start()
    begin = time.perf_counter()
    for step in range(1_000):
        tracker.trial_reported("00000", report(step))
    assert time.perf_counter() - begin < 0.5
    assert "did not answer in time" in (tracker.close("interrupted", timeout_s=0.1) or "")


def test_a_full_queue_leaves_out_the_later_reports_until_a_resume(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "MAX_PENDING_REPORTS", 3)
    said: list[str] = []
    tracker = make_tracker(uri, said)
    reports = [report(step) for step in range(1, 8)]
    for each in reports:
        tracker.trial_reported("00000", each)
    tracker.trial_ended("00000", "completed")
    tracker.start()
    assert "lacks 4 of this search's writes" in (tracker.close("finished") or "")
    assert [line for line in said if "leaves out" in line] == said
    run = read_runs(uri)["00000"]
    assert [step for step, _ in read_metric(uri, run, "w1")] == [1, 2, 3]
    assert run.data.tags["tuner.incomplete"] == "true"
    resumed = make_tracker(uri)
    resumed.start([TrialHistory("00000", {}, reports, {}, "completed", None)])
    assert resumed.close("finished") is None
    run = read_runs(uri)["00000"]
    assert [step for step, _ in read_metric(uri, run, "w1")] == [1, 2, 3, 4, 5, 6, 7]
    assert run.data.tags["tuner.incomplete"] == "false"


class Picky:
    """The real client, which counts the requests with metrics, and refuses those of a step."""

    def __init__(self, uri: str, refused_step: int | None = None) -> None:
        self.client, self.refused_step = mlflow_runs.open_client(uri), refused_step
        self.steps: list[list[int]] = []

    def log_batch(self, run_id: str, metrics: Any, **others: Any) -> None:
        steps = sorted({metric.step for metric in metrics})
        if steps:
            self.steps.append(steps)
        if self.refused_step in steps:
            raise Refused("a metric that MLflow does not take")
        self.client.log_batch(run_id, metrics=metrics, **others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


class Refused(Exception):
    error_code = "INVALID_PARAMETER_VALUE"


def test_reports_that_wait_travel_in_one_request_a_trial(uri: str) -> None:
    client = Picky(uri)
    tracker = make_tracker(uri, make_client=lambda uri: client)
    for step in (1, 2, 3):
        for trial_id in ("00000", "00001"):
            tracker.trial_reported(trial_id, report(step))
    tracker.trial_ended("00000", "completed")
    tracker.start()
    assert tracker.close("finished") is None
    assert client.steps == [[1, 2, 3], [1, 2, 3]]
    runs = read_runs(uri)
    for trial_id in ("00000", "00001"):
        assert read_metric(uri, runs[trial_id], "w1") == [(1, 0.01), (2, 0.02), (3, 0.03)]


def test_a_report_that_is_refused_takes_no_other_with_it(uri: str) -> None:
    client = Picky(uri, refused_step=2)
    tracker = make_tracker(uri, make_client=lambda uri: client)
    for step in (1, 2, 3, 4):
        tracker.trial_reported("00000", report(step))
    tracker.start()
    answer = tracker.close("finished") or ""
    assert "lacks 1 of this search's writes (a metric that MLflow does not take)" in answer
    found = read_metric(uri, read_runs(uri)["00000"], "w1")
    assert [step for step, _ in found] == [1, 3, 4]


def test_a_lost_picture_stops_nothing_else(uri: str, picture: Path) -> None:
    said: list[str] = []
    tracker = make_tracker(uri, said)
    tracker.start()
    tracker.trial_reported("00000", report(250), picture.with_name("gone.png"))
    tracker.trial_ended("00000", "completed")
    answer = tracker.close("finished")
    assert answer is not None
    assert "lacks 1 of this search's writes" in answer
    assert "No such file" in answer
    assert len(said) == 1
    run = read_runs(uri)["00000"]
    assert run.info.status == "FINISHED"
    resumed = make_tracker(uri)
    resumed.start([TrialHistory("00000", {}, [report(250)], {250: picture}, "completed", None)])
    assert resumed.close("finished") is None
    assert read_files(uri, run, "samples") == ["samples/step_000250.png"]


def test_a_run_deleted_in_the_browser_stops_nothing_else(uri: str) -> None:
    said: list[str] = []
    tracker = make_tracker(uri, said)
    tracker.start()
    tracker.trial_started("00000", {})
    tracker.close("interrupted")
    run_id = read_runs(uri)["00000"].info.run_id
    resumed = make_tracker(uri, said)
    resumed.start([TrialHistory("00000", {}, [], {}, None, None)])
    resumed._queue.put(tracking._Event(None, lambda: resumed._writer._client.delete_run(run_id)))
    resumed.trial_reported("00000", report(250))
    resumed.trial_reported("00001", report(250))
    assert "must be in the 'active' state" in (resumed.close("finished") or "")
    assert len(said) == 1
    assert read_metric(uri, read_runs(uri)["00001"], "w1") == [(250, 2.5)]


def test_two_searches_never_make_the_tables_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "FIRST_RETRY_S", 0.01)
    inside, most = 0, Counter[str]()
    barrier = threading.Barrier(2)

    def make_client(_: str) -> Any:
        nonlocal inside
        inside += 1
        most["inside"] = max(most["inside"], inside)
        time.sleep(0.1)
        inside -= 1
        raise ConnectionError

    def search() -> None:
        tracker = make_tracker(f"sqlite:///{tmp_path}/new/mlflow.db", make_client=make_client)
        barrier.wait()
        tracker.start()
        tracker.close("finished")

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most["inside"] == 1


def test_ui_command_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = make_tracker("sqlite:///my runs/mlflow.db")
    shown = f"-m mlflow ui --backend-store-uri 'sqlite:///{tmp_path}/my runs/mlflow.db'"
    expected = f"{shlex.quote(sys.executable)} {shown}"
    assert tracker.ui_command == expected


def test_a_search_id_that_cannot_be_searched_for_is_refused() -> None:
    with pytest.raises(ValueError, match=r"search_id is \"it's\": use letters, digits"):
        Tracker("http://h", "e", None, "n", "it's", {}, {}, warn=lambda _: None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:secret@host/api fails", "https://***@host/api fails"),
        ("postgresql://me:p@ss:w@host/db", "postgresql://***@host/db"),
        ("GET /x?token=abc&step=3", "GET /x?token=***&step=3"),
    ],
)
def test_credentials_are_masked(text: str, expected: str) -> None:
    assert tracking._masked(text) == expected
