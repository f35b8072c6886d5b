"""Trouble with MLflow: nobody waits for it, it is said once, and the end says what is missing."""

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_search import (
    NAMING,
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
    wait_for_queue,
)

from tuner.tracking import tracker as tracking
from tuner.tracking.backlog import Event
from tuner.tracking.history import TrialHistory
from tuner.tracking.tracker import Tracker


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
    # Two trials of the history, the ten of this sitting, and the end of the search.
    what = "lacks up to 13 writes, of 2 trials and of the search itself"
    assert answer.startswith(f"{place} {what} ({reason}). Nothing is lost: ")
    assert answer.endswith("--resume writes what is missing, and so does: python -m tuner.sync RUN")
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
    assert time.perf_counter() - begin < 2  # all of them take less than one request
    assert "did not answer in time" in (tracker.close("interrupted", timeout_s=0.1) or "")


def test_a_full_queue_leaves_out_the_later_reports_until_a_resume(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "MAX_PENDING_WRITES", 3)
    said: list[str] = []
    tracker = make_tracker(uri, said)
    reports = [report(step) for step in range(1, 8)]
    for each in reports:
        tracker.trial_reported("00000", each)
    tracker.trial_ended("00000", "completed")
    tracker.start()
    assert "lacks 4 writes, of 1 trial" in (tracker.close("finished") or "")
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


def test_a_lost_picture_stops_nothing_else(uri: str, picture: Path) -> None:
    said: list[str] = []
    tracker = make_tracker(uri, said)
    tracker.start()
    tracker.trial_reported("00000", report(250), picture.with_name("gone.png"))
    tracker.trial_ended("00000", "completed")
    answer = tracker.close("finished")
    assert answer is not None
    assert "lacks 1 write, of 1 trial" in answer
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
    resumed._backlog.put(Event(None, lambda: resumed._writer._client.delete_run(run_id)))
    resumed.trial_reported("00000", report(250))
    resumed.trial_reported("00001", report(250))
    assert "must be in the 'active' state" in (resumed.close("finished") or "")
    assert len(said) == 1
    assert read_metric(uri, read_runs(uri)["00001"], "w1") == [(250, 2.5)]


def test_ui_command_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = make_tracker("sqlite:///my runs/mlflow.db")
    shown = f"-m mlflow ui --backend-store-uri 'sqlite:///{tmp_path}/my runs/mlflow.db'"
    expected = f"{shlex.quote(sys.executable)} {shown}"
    assert tracker.ui_command == expected


def test_a_search_id_that_cannot_be_searched_for_is_refused() -> None:
    with pytest.raises(ValueError, match=r"search_id is \"it's\": use letters, digits"):
        Tracker("http://h", "e", None, NAMING, "it's", warn=lambda _: None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:secret@host/api fails", "https://***@host/api fails"),
        ("postgresql://me:p@ss:w@host/db", "postgresql://***@host/db"),
        ("GET /x?token=abc&step=3", "GET /x?token=***&step=3"),
        ("wrong password s3cr3t! of me", "wrong password *** of me"),
    ],
)
def test_credentials_are_masked(text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cr3t!")
    assert tracking._masked(text) == expected
