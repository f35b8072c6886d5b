"""MLflow on a real SQLite file: every run and every value once, whatever dies and whenever."""

import math
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
from small_search import (
    Client,
    assert_complete,
    finish_small_search,
    make_tracker,
    read_files,
    read_metric,
    read_runs,
    report,
    run_small_search,
    small_history,
    wait_for_each,
    wait_for_queue,
)

from tuner.tracking import store as mlflow_store
from tuner.tracking import tracker as tracking
from tuner.tracking.history import Links
from tuner.tracking.tracker import Tracker


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
    (metric,) = mlflow_store.open_client(uri).get_metric_history(run.info.run_id, "w1")
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


#: Requests that the small search takes when everything waits, and when nothing does.
MERGED, ONE_BY_ONE = 13, 17


def start_small_search(tracker: Tracker, picture: Path, *, merged: bool) -> None:
    if merged:
        run_small_search(tracker, picture)
        tracker.start()
    else:
        tracker.start()
        run_small_search(wait_for_each(tracker), picture)


@pytest.mark.parametrize(("merged", "num_calls"), [(True, MERGED), (False, ONE_BY_ONE)])
def test_what_waits_takes_fewer_requests(
    uri: str, picture: Path, merged: bool, num_calls: int
) -> None:
    clients: list[Client] = []

    def count(uri: str) -> Client:
        clients.append(Client(uri, lambda _, request: request()))
        return clients[0]

    tracker = make_tracker(uri, make_client=count)
    start_small_search(tracker, picture, merged=merged)
    wait_for_queue(tracker)
    assert clients[0].num_calls == num_calls
    assert finish_small_search(tracker) is None
    assert_complete(uri)


@pytest.mark.filterwarnings("ignore:Exception in thread mlflow")
@pytest.mark.parametrize(
    ("merged", "num_calls"),
    [*((True, n) for n in range(MERGED)), *((False, n) for n in range(ONE_BY_ONE))],
)
def test_killed_after_any_request_then_resumed(
    uri: str, picture: Path, merged: bool, num_calls: int
) -> None:
    def die(call: int, request: Callable[[], Any]) -> Any:
        if call > num_calls:
            raise SystemExit  # nothing catches it: the thread ends there, as in a kill
        return request()

    killed = make_tracker(uri, make_client=lambda uri: Client(uri, die))
    start_small_search(killed, picture, merged=merged)
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


def note(links: Links) -> str:
    return f"the files {', '.join(sorted(links.files))}"


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
        tracker.search_best("00000", {"best_w1_final": 4.5}, FINAL_MS, note)
    assert finish_small_search(tracker) is None
    assert_has_the_final(uri)
    resumed = make_tracker(uri, said)
    history = small_history(picture)
    resumed.start([replace(history[0], final=FINAL), history[1]])
    resumed.search_best("00000", {"best_w1_final": 4.5}, FINAL_MS, note)
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
from tuner.tracking import store as mlflow_store

@event.listens_for(Engine, "before_cursor_execute")
def kill(connection, cursor, statement, *_):
    if statement.startswith("CREATE INDEX"):
        os._exit(9)

mlflow_store.prepare_store()
mlflow_store.create_database("sqlite:///" + sys.argv[1], Path(sys.argv[1]))
"""
    path = tmp_path / "mlflow.db"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == 9
    assert not path.exists()
    mlflow_store.create_database(f"sqlite:///{path}", path)
    tracker = make_tracker(f"sqlite:///{path}")
    tracker.start()
    assert tracker.close("finished", []) is None
    assert set(read_runs(f"sqlite:///{path}")) == {None}


@pytest.fixture
def started(tmp_path: Path, picture: Path) -> Path:
    """A database and its files, of a search that was interrupted."""
    database = tmp_path / "first" / "mlflow.db"
    mlflow_store.prepare_store()
    database.parent.mkdir()
    mlflow_store.create_database(f"sqlite:///{database}", database)
    tracker = make_tracker(f"sqlite:///{database}")
    tracker.start()
    run_small_search(tracker, picture)
    tracker.close("interrupted")
    return database


@pytest.mark.parametrize("leave", [shutil.move, shutil.copytree])
def test_a_database_that_moved_or_was_copied_with_its_files_writes_next_to_itself(
    started: Path, tmp_path: Path, picture: Path, leave: Callable[[Path, Path], Any]
) -> None:
    elsewhere = tmp_path / "a copy" / "of it"
    elsewhere.parent.mkdir()
    leave(started.parent, elsewhere)
    before = sorted(started.parent.rglob("*"))
    uri = f"sqlite:///{elsewhere}/mlflow.db"
    tracker = make_tracker(uri)
    tracker.start(small_history(picture))
    assert finish_small_search(tracker) is None
    assert_complete(uri)
    assert sorted(started.parent.rglob("*")) == before
    for run in read_runs(uri).values():
        assert run.info.artifact_uri.startswith(elsewhere.as_uri() + "/mlflow-artifacts/")


def test_files_that_a_database_left_behind_stay_where_they_are(
    started: Path, tmp_path: Path, picture: Path
) -> None:
    (tmp_path / "mlflow.db").write_bytes(started.read_bytes())
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = make_tracker(uri)
    tracker.start(small_history(picture))
    assert finish_small_search(tracker) is None
    assert_complete(uri)
    assert not (tmp_path / "mlflow-artifacts").exists()


def test_a_new_database_gets_the_final_too(uri: str, picture: Path) -> None:
    tracker = make_tracker(uri)
    history = small_history(picture)
    tracker.start([replace(history[0], final=FINAL), history[1]])
    tracker.search_progress(1, {"best_w1": 5.0})
    tracker.search_best("00000", {"best_w1_final": 4.5}, FINAL_MS, note)
    assert finish_small_search(tracker) is None
    assert_has_the_final(uri)


def test_a_new_database_gets_the_whole_history(uri: str, picture: Path) -> None:
    tracker = make_tracker(uri)
    tracker.start(small_history(picture))
    tracker.search_progress(1, {"best_w1": 5.0})
    assert finish_small_search(tracker) is None
    assert_complete(uri)


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
