"""A real `mlflow server`, on SQLite and on PostgreSQL: slow, killed, deaf, or never there."""

import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import small_search
from mlflow_server import Proxy, Server, free_port, postgresql
from small_search import (
    assert_complete,
    finish_small_search,
    make_tracker,
    read_metric,
    read_runs,
    run_small_search,
    wait_for_queue,
)

from tuner import sync
from tuner.space.spec import validate
from tuner.tracking import store as mlflow_store
from tuner.tracking import tracker as tracking
from tuner.tracking.tracker import Tracker, tracker_of


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """One for all tests of a store, each in an experiment of its own: a start takes 17 s."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        yield from started(Server(folder, f"sqlite:///{folder}/mlflow.db"))
    else:
        with postgresql() as uri:
            yield from started(Server(folder, uri))


def started(server: Server) -> Iterator[Server]:
    mlflow_store.prepare_store()  # its import would count as the server's slowness
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(tracking, "LAST_RETRY_S", 0.5)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "grid of trial 3.png"
    path.write_bytes(b"a picture")
    return path


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    return request.node.name


def test_lost_answers_double_nothing(server: Server, picture: Path, experiment: str) -> None:
    """Two requests in five are carried out, and their answers never come."""
    random = Random(0)

    def lose(_: int, forward: Callable[[], Any]) -> Any:
        answer = forward()
        if random.random() < 0.4:
            raise ConnectionResetError
        return answer

    said: list[str] = []
    with Proxy(server.port, lose) as proxy:
        tracker = make_tracker(proxy.uri, said, experiment=experiment)
        tracker.start()
        run_small_search(tracker, picture)
        wait_for_queue(tracker)
        proxy.meddle = lambda _, forward: forward()
        assert finish_small_search(tracker) is None
    assert len(said) == 1
    assert_complete(f"http://127.0.0.1:{server.port}", experiment)


def test_a_server_killed_in_the_middle_gets_everything_once(
    server: Server, picture: Path, experiment: str
) -> None:
    """SIGKILL, with a request on its way and reports that come while it is gone."""
    gone = threading.Event()

    def kill(number: int, forward: Callable[[], Any]) -> Any:
        if number == 7:
            threading.Timer(0.002, lambda: (server.kill(), gone.set())).start()
        return forward()

    with Proxy(server.port, kill) as proxy:
        tracker = make_tracker(proxy.uri, experiment=experiment)
        tracker.start()
        tracker.trial_started("00000", {"lr": 1e-4})
        tracker.trial_reported("00000", small_search.report(250), picture)
        assert gone.wait(60)
        run_small_search(tracker, picture)
        server.start()
        wait_for_queue(tracker)
        assert finish_small_search(tracker) is None
    assert_complete(f"http://127.0.0.1:{server.port}", experiment)


def test_a_slow_server_gets_fewer_requests_and_everything(server: Server, experiment: str) -> None:
    """Each takes 0.2 s and four trials make 200 reports: they wait together and travel together."""

    def dawdle(_: int, forward: Callable[[], Any]) -> Any:
        time.sleep(0.2)
        return forward()

    with Proxy(server.port, dawdle) as proxy:
        tracker = make_tracker(proxy.uri, experiment=experiment)
        tracker.start()
        begin = time.monotonic()
        for step in range(1, 51):
            for trial in range(4):
                tracker.trial_reported(f"{trial:05d}", small_search.report(step))
            time.sleep(0.01)
        told_s = time.monotonic() - begin
        for trial in range(4):
            tracker.trial_ended(f"{trial:05d}", "completed")
        assert tracker.close("finished", timeout_s=120) is None
        num_batches = sum("log-batch" in request for request in proxy.requests)
    # A round of all trials takes 0.8 s at least; 20 others are for the runs themselves.
    assert num_batches <= 4 * (told_s / 0.8 + 1) + 20
    runs = read_runs(f"http://127.0.0.1:{server.port}", experiment)
    for trial in range(4):
        values = read_metric(f"http://127.0.0.1:{server.port}", runs[f"{trial:05d}"], "w1")
        assert values == [(step, step / 100) for step in range(1, 51)]


def test_credentials_reach_the_server_and_nothing_else(
    server: Server, picture: Path, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob-the-user")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cr3t-word")
    said: list[str] = []

    def refuse(number: int, forward: Callable[[], Any]) -> Any:
        if number == 4:
            raise ConnectionResetError
        return forward()

    with Proxy(server.port, refuse) as proxy:
        tracker = make_tracker(proxy.uri, said, experiment=experiment)
        tracker.start()
        run_small_search(tracker, picture)
        wait_for_queue(tracker)
        assert finish_small_search(tracker) is None
        assert all(headers["Authorization"].startswith("Basic ") for headers in proxy.headers)
        runs = read_runs(proxy.uri, experiment)
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    everything = [said, tracker.ui_command, *(run.to_dictionary() for run in runs.values())]
    assert len(said) == 1
    assert "bob-the-user" not in repr(everything)
    assert "s3cr3t-word" not in repr(everything)


@pytest.mark.parametrize("kind", ["hangs", "refuses"])
def test_a_server_that_is_not_there_costs_no_time_and_sync_makes_up_for_it(
    server: Server, tmp_path: Path, kind: str, experiment: str
) -> None:
    """A server that takes the connection and never answers, and one that does not even that."""
    document = {
        "name": "search",
        "search": {"num_trials": 2},
        "objective": {"final_trials": 1},
        "mlflow": {"experiment": experiment},
    }
    search, faults = validate(document)
    assert search is not None, faults
    run_dir = tmp_path / "search"

    def follow(search_id: str) -> Tracker:
        return tracker_of(search, run_dir, search_id, lambda text: None, absent)

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        port = deaf.getsockname()[1] if kind == "hangs" else free_port()
        absent = f"http://127.0.0.1:{port}"
        begin = time.monotonic()
        told = small_search.tell_search(search, run_dir, follow, finish=True, timeout_s=2)
        assert time.monotonic() - begin < 20
    # The longest is for a machine that has other things to do; a request's time-out is 10 s.
    assert (statistics.median(told.calls_s) < 0.05, max(told.calls_s) < 1) == (True, True)
    assert told.answer is not None
    assert "writes, of 2 trials and of the search itself (" in told.answer
    assert f"-m tuner.sync {run_dir}" in told.answer
    uri = f"http://127.0.0.1:{server.port}"
    assert sync.main([str(run_dir), "--tracking-uri", uri]) == 0
    runs = read_runs(uri, experiment)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs.keys() == {None, "00000", "00001"}
    rungs = list(search.asha.rungs)
    assert [s for s, _ in read_metric(uri, runs["00001"], "w1")] == rungs
    pictures = small_search.read_files(uri, runs["00001"], "samples")
    assert pictures == [f"samples/step_{steps:06d}.png" for steps in rungs]
    assert runs[None].data.tags["best_trial"] == "00000"
    assert runs[None].data.metrics["best_w1_final"] == 1.5
