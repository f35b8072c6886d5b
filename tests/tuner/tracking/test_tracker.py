"""Trouble with MLflow: nobody waits for it, it is said once, and the end says what is missing."""

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_search import (
    Client,
    SmallSearch,
    assert_complete,
    read_files,
    read_metric,
    read_runs,
    wait_for_queue,
)

from tuner.record.listener import Listener
from tuner.space.spec import validate
from tuner.tracking import retry, text
from tuner.tracking.tracker import Tracker

SYNC = f"{shlex.quote(sys.executable)} -m tuner.sync"


def test_a_server_that_comes_back_gets_everything(uri: str, search: SmallSearch) -> None:
    def refuse(call: int, request: Callable[[], Any]) -> Any:
        if call <= 3 or 12 <= call <= 15:
            raise ConnectionError("[Errno 111] Connection refused")
        return request()

    warnings: list[str] = []
    tracker = search.start(uri, warnings, lambda uri: Client(uri, refuse))
    search.run()
    wait_for_queue(tracker)
    assert search.finish(tracker) is None
    assert len(warnings) == 1
    assert_complete(uri)


def test_an_unreachable_server_is_said_once_and_harms_nobody(
    search: SmallSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_RETRY_S", 0.05)
    warnings: list[str] = []
    uri = "http://user:pa@ss@127.0.0.1:9"
    tracker = search.start(uri, warnings)
    search.run()
    time.sleep(0.5)
    begin = time.perf_counter()
    answer = tracker.close("finished", timeout_s=10)
    assert time.perf_counter() - begin < 10
    place, refused = "MLflow (http://***@127.0.0.1:9)", "Connection refused"
    assert warnings == [f"{place} cannot be written: {refused}. The search continues."]
    assert answer is not None
    what = "lacks data of 2 trials and of the search itself"
    assert answer.startswith(f"{place} {what} ({refused}). Nothing is lost: ")
    assert f"--resume writes what is missing, and so does: {SYNC} {search.run_dir}" in answer
    assert tracker.ui_command == "http://***@127.0.0.1:9"
    assert tracker.close("finished") == answer

    resumed = search.start(uri)  # it cannot know how much of it MLflow has
    what = "lacks data of up to 2 trials and of the search itself"
    assert what in (resumed.close("interrupted", timeout_s=10) or "")


def test_nobody_waits_for_a_slow_server(search: SmallSearch) -> None:
    class Slow:
        def __getattr__(self, _: str) -> Any:
            time.sleep(2)
            raise ConnectionError

    tracker = search.start("http://slow", make_client=lambda _: Slow())
    search.begin()
    (trial,) = search.trials
    begin = time.perf_counter()
    for step in range(1_000):
        tracker.trial_reported(trial, {"generator_steps": step})
    assert time.perf_counter() - begin < 2  # all of them take less than one request
    assert "did not answer in time" in (tracker.close("interrupted", timeout_s=0.1) or "")


def test_nothing_but_trial_numbers_waits_for_mlflow(search: SmallSearch) -> None:
    """However long it is gone, and however much is reported meanwhile."""
    tracker = search.open("http://nowhere")
    search.begin()
    for step in range(1, 200):
        search.report(0, step)
    assert list(tracker._changed._since_ms) == [0]
    assert tracker._changed.lacking == {None, "00000"}


def test_reports_are_read_in_pieces_of_bounded_size(
    uri: str, search: SmallSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And all of them are there in the end, those of a trial before its end."""
    monkeypatch.setattr("tuner.results.reports.CHUNK_BYTES", 300)
    search.open(uri)
    search.run()
    tracker = search.start(uri)
    for step in range(251, 300):
        if 1 not in search.current.running:
            search.begin()
        search.report(1, step)
    search.report(1, 500)
    search.current.ended(1)
    assert tracker.close("finished", timeout_s=30) is None
    runs = read_runs(uri)
    steps = [250, *range(251, 300), 500]
    told = read_metric(uri, runs["00001"], "while_training.generator_steps")
    assert told == [(step, step) for step in steps]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


@pytest.mark.parametrize("is_back", [False, True])
def test_files_that_cannot_be_stored_stop_nothing_else(
    uri: str, search: SmallSearch, is_back: bool
) -> None:
    """A picture that failed is tried again at the next change of its trial, or by a resume."""

    def refuse(call: int, request: Callable[[], Any]) -> Any:
        if is_back and call > retry.MAX_ATTEMPTS_PER_FILE:
            return request()
        raise OSError("[Errno 28] No space left on device")

    warnings: list[str] = []
    tracker = search.start(uri, warnings, lambda uri: Client(uri, refuse, "log_artifact"))
    search.begin()
    search.report(0, 250)
    search.save(0)
    while "left out" not in tracker._retries._warned:
        time.sleep(0.001)
    search.report(0, 500)
    search.current.ended(0)
    answer = tracker.close("interrupted")
    assert len(warnings) == 1
    run = read_runs(uri)["00000"]
    assert run.info.status == "FINISHED"
    assert [step for step, _ in read_metric(uri, run, "w1")] == [250, 500]
    if is_back:
        assert answer is None
    else:
        assert "lacks data of 1 trial (No space left on device)" in str(answer)
        assert run.data.tags["tuner.incomplete"] == "true"
        assert search.start(uri).close("interrupted") is None
    run = read_runs(uri)["00000"]
    assert run.data.tags.get("tuner.incomplete", "false") == "false"
    assert read_files(uri, run, "samples") == ["samples/step_000250.png"]


def test_a_run_deleted_in_the_browser_stops_nothing_else(uri: str, search: SmallSearch) -> None:
    """Nothing follows a report that was refused: MLflow must not have a hole that stays."""
    warnings: list[str] = []
    tracker = search.start(uri, warnings)
    search.begin()
    wait_for_queue(tracker)
    tracker._runs._client.delete_run(read_runs(uri)["00000"].info.run_id)
    search.report(0, 250)
    wait_for_queue(tracker)
    search.report(0, 500)
    search.begin()
    search.report(1, 250)
    answer = tracker.close("interrupted") or ""
    assert "lacks data of 1 trial (The run" in answer
    assert "must be in the 'active' state" in answer
    assert len(warnings) == 1
    assert read_metric(uri, read_runs(uri)["00001"], "w1") == [(250, 3.5)]
    assert search.start(uri).close("interrupted") is None
    assert read_metric(uri, read_runs(uri)["00000"], "w1") == [(250, 2.5), (500, 5.0)]


def test_a_log_that_cannot_be_read_costs_mlflow_only(uri: str, search: SmallSearch) -> None:
    warnings: list[str] = []
    tracker = search.start(uri, warnings)
    wait_for_queue(tracker)
    search.begin()
    with (search.run_dir / "metrics.jsonl").open("a") as file:
        file.write("no JSON\n")
    search.current.notify(Listener.trial_reported, search.trials[0], {})
    assert "lacks data of 1 trial and of the search itself" in (tracker.close("finished") or "")
    assert len(warnings) == 1
    assert "is not written to any more: metrics.jsonl: line 1: is not as it was" in warnings[0]


def test_ui_command_is_absolute(
    search: SmallSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = search.open("sqlite:///my runs/mlflow.db")
    shown = f"-m mlflow ui --backend-store-uri 'sqlite:///{tmp_path}/my runs/mlflow.db'"
    expected = f"{shlex.quote(sys.executable)} {shown}"
    assert tracker.ui_command == expected


def test_a_search_id_that_cannot_be_searched_for_is_refused(tmp_path: Path) -> None:
    search, _ = validate({"name": "a", "search": {"num_trials": 1}})
    assert search is not None
    with pytest.raises(ValueError, match=r"search_id is \"it's\": use letters, digits"):
        Tracker(search, tmp_path, "it's", lambda _: None)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("https://me:secret@host/api fails", "https://***@host/api fails"),
        ("postgresql://me:p@ss:w@host/db", "postgresql://***@host/db"),
        ("GET /x?token=abc&step=3", "GET /x?token=***&step=3"),
        ("mysql://host/db?a=1&ssl_passwd=abc", "mysql://host/db?a=1&ssl_passwd=***"),
        ("wrong password s3cr3t! of me", "wrong password *** of me"),
    ],
)
def test_credentials_are_masked(line: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cr3t!")
    assert text.masked(line) == expected
