"""MLflow on a real SQLite file: every run and every value once, whatever dies and whenever."""

import json
import math
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from small_search import (
    Client,
    Patience,
    SmallSearch,
    assert_complete,
    read_files,
    read_metric,
    read_runs,
    wait_for_queue,
)

from tuner.study.trial import Repeats, Status
from tuner.tracking import retry
from tuner.tracking import store as mlflow_store
from tuner.tracking.tracker import Tracker

Requests = Callable[[int, Callable[[], Any]], Any]


def counting(uri: str, clients: list[Client], accident: Requests = lambda _, go: go()) -> Client:
    clients.append(Client(uri, accident))
    return clients[0]


def test_one_parent_and_one_child_a_trial(uri: str, search: SmallSearch) -> None:
    warnings: list[str] = []
    tracker = search.start(uri, warnings)
    search.run()
    assert search.finish(tracker) is None
    assert warnings == []
    assert_complete(uri)
    runs = read_runs(uri)
    assert {run.info.run_name for run in runs.values()} == {"gp", "gp 00000", "gp 00001"}
    assert {run.data.tags["method"] for run in runs.values()} == {"gradient_penalty"}
    assert runs["00000"].data.tags["message"] == "all 500 steps"


def test_the_report_s_own_time_is_mlflow_s(uri: str, search: SmallSearch) -> None:
    tracker = search.start(uri)
    search.begin()
    search.report(0, 250)
    search.current.ended(0)
    (line,) = (search.run_dir / "metrics.jsonl").read_text().splitlines()
    assert tracker.close("finished") is None
    run = read_runs(uri)["00000"]
    (metric,) = mlflow_store.open_client(uri).get_metric_history(run.info.run_id, "w1")
    assert metric.timestamp == int(json.loads(line)["unix_time_s"] * 1_000)
    assert "unix_time_s" not in run.data.metrics
    ended_s = search.trials[0].ended_unix_time_s
    assert ended_s is not None
    assert run.info.end_time == int(ended_s * 1_000)
    assert run.info.start_time <= metric.timestamp <= run.info.end_time


@pytest.mark.parametrize(
    ("status", "metrics", "state"),
    [("completed", {"w1": 1.0}, "FINISHED"), ("stopped", {}, "FINISHED"),
     ("diverged", {"diverged": 1.0}, "FAILED"), ("failed", {}, "FAILED")],
)  # fmt: skip
def test_states(
    uri: str, search: SmallSearch, status: Status, metrics: dict[str, float], state: str
) -> None:
    tracker = search.start(uri)
    search.begin()
    search.report(0, 500 if metrics else 50, **metrics)
    search.current.ended(0, "why", failed=status == "failed")
    assert tracker.close("failed") is None
    runs = read_runs(uri)
    assert runs["00000"].info.status == state
    assert runs["00000"].data.tags["status"] == status
    assert runs["00000"].data.tags["message"] == "why"
    assert runs[None].info.status == "FAILED"


def test_an_interrupted_search_leaves_no_run_open_and_can_resume(
    uri: str, search: SmallSearch, picture: Path
) -> None:
    tracker = search.start(uri)
    search.run()
    assert tracker.close("interrupted", [picture]) is None
    runs = read_runs(uri)
    assert runs["00001"].info.status == "KILLED"
    assert runs["00001"].data.tags["status"] == "interrupted"
    assert runs[None].info.status == "KILLED"
    assert read_files(uri, runs[None]) == [picture.name]
    assert search.finish(search.start(uri)) is None
    assert_complete(uri)
    assert {r.info.run_id for r in read_runs(uri).values()} == {
        r.info.run_id for r in runs.values()
    }


def test_infinities_and_nan_are_nan_and_odd_names_survive(uri: str, search: SmallSearch) -> None:
    tracker = search.start(uri)
    search.begin()
    search.report(0, 1, **{"w1 (ä|b)": 1.0, "up": math.inf, "nan": math.nan})
    assert tracker.close("finished") is None
    metrics = read_runs(uri)["00000"].data.metrics
    assert math.isnan(metrics["up"])
    assert math.isnan(metrics["nan"])
    assert metrics["w1 _ä_b_"] == 1


#: Requests that the small search takes when everything waits, and when nothing does.
MERGED, ONE_BY_ONE = 14, 18


def start_small_search(search: SmallSearch, tracker: Tracker, *, merged: bool) -> None:
    if merged:
        search.run()
        tracker.start()
    else:
        search.current.listeners.append(Patience(tracker))
        search.current.start()
        search.run()


@pytest.mark.parametrize(("merged", "num_calls"), [(True, MERGED), (False, ONE_BY_ONE)])
def test_changes_that_wait_take_fewer_requests(
    uri: str, search: SmallSearch, merged: bool, num_calls: int
) -> None:
    clients: list[Client] = []
    tracker = search.open(uri, make_client=lambda uri: counting(uri, clients))
    start_small_search(search, tracker, merged=merged)
    wait_for_queue(tracker)
    assert clients[0].num_calls == num_calls
    assert search.finish(tracker) is None
    assert_complete(uri)


@pytest.mark.filterwarnings("ignore:Exception in thread mlflow")
@pytest.mark.parametrize(
    ("merged", "num_calls"),
    [*((True, n) for n in range(MERGED)), *((False, n) for n in range(ONE_BY_ONE))],
)
def test_killed_after_any_request_then_resumed(
    uri: str, search: SmallSearch, merged: bool, num_calls: int
) -> None:
    def die(call: int, request: Callable[[], Any]) -> Any:
        if call > num_calls:
            raise SystemExit  # nothing catches it: the thread ends there, as in a kill
        return request()

    killed = search.open(uri, make_client=lambda uri: Client(uri, die))
    start_small_search(search, killed, merged=merged)
    assert killed._thread is not None
    killed._thread.join(10)
    assert not killed._thread.is_alive()
    assert search.finish(search.start(uri)) is None
    assert_complete(uri)


def test_lost_answers_double_nothing(
    uri: str, search: SmallSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "MAX_ATTEMPTS_AT_CLOSE", 50)
    random = Random(0)

    def lose(_: int, request: Callable[[], Any]) -> Any:
        answer = request()
        if random.random() < 0.3:
            raise ConnectionError("[Errno 104] Connection reset by peer")
        return answer

    warnings: list[str] = []
    tracker = search.start(uri, warnings, lambda uri: Client(uri, lose))
    search.run()
    assert search.finish(tracker) is None
    assert len(warnings) == 1
    assert_complete(uri)


def test_a_finished_trial_costs_a_resume_no_request(uri: str, tmp_path: Path) -> None:
    with SmallSearch(tmp_path, num_trials=30) as search:
        tracker = search.start(uri)
        for _ in range(30):
            number = search.begin()
            search.report(number, 500)
            search.save(number)
            search.current.ended(number)
        search.score_final()
        assert tracker.close("interrupted") is None
        clients: list[Client] = []
        resumed = search.start(uri, make_client=lambda uri: counting(uri, clients))
        assert resumed.close("finished") is None
    assert clients[0].num_calls < 12
    assert sum(resumed.written.values()) == 1  # the parent's end


def test_further_seeds_are_added_to_a_score_of_the_final(uri: str, tmp_path: Path) -> None:
    with SmallSearch(tmp_path) as search:
        tracker = search.start(uri)
        search.run()
        search.score_final()
        wait_for_queue(tracker)
        search.current.repeats_scored({0: Repeats({7: 1.0, 8: 3.0}, 5.0, 4.0)})
        tracker.close("interrupted")
    runs = read_runs(uri)
    assert read_metric(uri, runs["00000"], "w1_final") == [(250, 4.5)]  # once
    assert read_metric(uri, runs["00000"], "w1_final_mean") == [(250, 2.0)]
    assert read_metric(uri, runs["00000"], "w1_final_mean_stderr") == [(250, 1.0)]
    assert read_metric(uri, runs["00000"], "while_scoring.final_seeds") == [(250, 2.0)]
    assert read_metric(uri, runs[None], "best_w1_final_mean") == [(0, 2.0)]


def assert_has_the_final(uri: str) -> None:
    runs = read_runs(uri)
    assert read_metric(uri, runs["00000"], "w1_final") == [(250, 4.5)]
    assert read_metric(uri, runs["00000"], "w1_final_stderr") == [(250, 0.25)]
    assert read_metric(uri, runs[None], "best_w1_final") == [(0, 4.5)]
    assert runs[None].data.tags["best_trial"] == "00000"
    assert "**Best: trial 00000**" in runs[None].data.tags["mlflow.note.content"]
    assert_complete(uri)


@pytest.mark.parametrize("is_lost", [False, True])
def test_the_final_goes_to_runs_that_have_ended_and_again_is_as_once(
    uri: str, search: SmallSearch, is_lost: bool
) -> None:
    """While MLflow follows the search, and where it had nothing before."""
    warnings: list[str] = []
    tracker = search.open(uri, warnings) if is_lost else search.start(uri, warnings)
    search.run()
    search.report(1, 500)
    search.current.ended(1)
    if not is_lost:
        wait_for_queue(tracker)
    search.score_final()
    for _ in range(2):
        assert tracker.close("finished") is None
        tracker = search.start(uri, warnings)
    assert tracker.close("finished") is None
    assert warnings == []
    assert_has_the_final(uri)


def test_a_kill_while_the_database_is_made_costs_nothing(
    tmp_path: Path, search: SmallSearch
) -> None:
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
    assert search.start(f"sqlite:///{path}").close("finished", []) is None
    assert set(read_runs(f"sqlite:///{path}")) == {None}


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """A database and its files next to a search that was interrupted."""
    database = tmp_path / "first" / "mlflow.db"
    mlflow_store.prepare_store()
    database.parent.mkdir()
    mlflow_store.create_database(f"sqlite:///{database}", database)
    with SmallSearch(database.parent) as small:
        tracker = small.start(f"sqlite:///{database}")
        small.run()
        assert tracker.close("interrupted") is None
    return database


@pytest.mark.parametrize("leave", [shutil.move, shutil.copytree])
def test_a_database_that_moved_or_was_copied_with_its_files_writes_next_to_itself(
    started: Path, tmp_path: Path, leave: Callable[[Path, Path], Any]
) -> None:
    elsewhere = tmp_path / "a copy" / "of it"
    elsewhere.parent.mkdir()
    leave(started.parent, elsewhere)
    before = sorted(started.parent.rglob("*"))
    uri = f"sqlite:///{elsewhere}/mlflow.db"
    with SmallSearch(elsewhere) as small:
        assert small.finish(small.start(uri)) is None
    assert_complete(uri)
    assert sorted(started.parent.rglob("*")) == before
    for run in read_runs(uri).values():
        assert run.info.artifact_uri.startswith(elsewhere.as_uri() + "/mlflow-artifacts/")


def test_files_that_a_database_left_behind_stay_where_they_are(
    started: Path, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").write_bytes(started.read_bytes())
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with SmallSearch(started.parent) as small:
        assert small.finish(small.start(uri)) is None
    assert_complete(uri)
    assert not (tmp_path / "mlflow-artifacts").exists()


def test_a_new_database_gets_all_of_earlier_sessions(uri: str, search: SmallSearch) -> None:
    search.open(uri)
    search.run()
    assert search.finish(search.start(uri)) is None
    assert_complete(uri)


def test_two_searches_never_make_the_tables_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_RETRY_S", 0.01)
    inside, most = 0, Counter[str]()
    barrier = threading.Barrier(2)

    def make_client(_: str) -> Any:
        nonlocal inside
        inside += 1
        most["inside"] = max(most["inside"], inside)
        time.sleep(0.1)
        inside -= 1
        raise ConnectionError

    def run(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        with SmallSearch(folder) as search:
            uri = f"sqlite:///{tmp_path}/new/mlflow.db"
            tracker = search.open(uri, make_client=make_client)
            barrier.wait()
            tracker.start()
            tracker.close("finished")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most["inside"] == 1


def test_the_run_of_a_trial_that_waits_is_scheduled_until_it_is_promoted_or_ends(
    uri: str, search: SmallSearch
) -> None:
    def wait(number: int) -> None:
        metrics = {"generator_steps": 250.0, "w1": 1.0}
        search.current.reported(number, metrics, continues=False, waits=True)
        search.current.left(number)

    def states() -> dict[str | None, tuple[str, str]]:
        runs = read_runs(uri)
        return {key: (run.info.status, run.data.tags["status"]) for key, run in runs.items()}

    tracker = search.start(uri)
    for _ in range(2):
        wait(search.begin())
    assert tracker.close("interrupted") is None
    assert states() == {
        None: ("KILLED", "interrupted"),
        "00000": ("SCHEDULED", "waiting"),
        "00001": ("SCHEDULED", "waiting"),
    }
    tracker = search.start(uri)  # a resume, which promotes the first
    assert search.current.next_trial(lambda waiting, is_last: 0).number == 0  # type: ignore[union-attr]
    search.report(0, 500)
    search.current.left(0)
    search.current.end_waiting()
    assert tracker.close("finished") is None
    assert states() == {
        None: ("FINISHED", "finished"),
        "00000": ("FINISHED", "completed"),
        "00001": ("FINISHED", "stopped"),
    }
