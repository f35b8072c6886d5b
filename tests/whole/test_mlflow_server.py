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
from small_search import SmallSearch, assert_complete, read_metric, read_runs, wait_for_queue

from tuner import sync
from tuner.space.spec import validate
from tuner.tracking import follower, retry
from tuner.tracking import store as mlflow_store
from tuner.tracking.tracker import Tracker


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
    monkeypatch.setattr(follower, "COLLECT_S", 0.0)
    monkeypatch.setattr(retry, "FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(retry, "LAST_RETRY_S", 0.5)


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    return request.node.name


@pytest.fixture
def search(tmp_path: Path, experiment: str) -> Iterator[SmallSearch]:
    with SmallSearch(tmp_path, experiment) as small:
        yield small


def test_lost_answers_double_nothing(server: Server, search: SmallSearch, experiment: str) -> None:
    """Two requests in five are carried out, and their answers never come."""
    random = Random(0)

    def lose(_: int, forward: Callable[[], Any]) -> Any:
        answer = forward()
        if random.random() < 0.4:
            raise ConnectionResetError
        return answer

    warnings: list[str] = []
    with Proxy(server.port, lose) as proxy:
        tracker = search.start(proxy.uri, warnings)
        search.run()
        wait_for_queue(tracker)
        proxy.meddle = lambda _, forward: forward()
        assert search.finish(tracker) is None
    assert len(warnings) == 1
    assert_complete(f"http://127.0.0.1:{server.port}", experiment)


def test_a_server_killed_in_the_middle_gets_everything_once(
    server: Server, search: SmallSearch, experiment: str
) -> None:
    """SIGKILL, with a request on its way and reports that come while it is gone."""
    gone = threading.Event()

    def kill(number: int, forward: Callable[[], Any]) -> Any:
        if number == 7:
            threading.Timer(0.002, lambda: (server.kill(), gone.set())).start()
        return forward()

    with Proxy(server.port, kill) as proxy:
        tracker = search.start(proxy.uri)
        search.begin()
        search.report(0, 250)
        search.save(0)
        assert gone.wait(60)
        search.run()
        server.start()
        wait_for_queue(tracker)
        assert search.finish(tracker) is None
    assert_complete(f"http://127.0.0.1:{server.port}", experiment)


def test_a_slow_server_gets_fewer_requests_and_everything(
    server: Server, tmp_path: Path, experiment: str
) -> None:
    """Each takes 0.2 s and four trials make 200 reports: they wait together and travel together."""

    def dawdle(_: int, forward: Callable[[], Any]) -> Any:
        time.sleep(0.2)
        return forward()

    search = SmallSearch(tmp_path, experiment, num_trials=4)
    with Proxy(server.port, dawdle) as proxy, search:
        tracker = search.start(proxy.uri)
        for _ in range(4):
            search.begin()
        begin = time.monotonic()
        for step in range(1, 51):
            for trial in range(4):
                search.report(trial, step, w1=step / 100)
            time.sleep(0.01)
        told_s = time.monotonic() - begin
        for trial in range(4):
            search.current.ended(trial)
        assert tracker.close("finished", timeout_s=120) is None
        num_batches = sum("log-batch" in request for request in proxy.requests)
    # A round of all trials takes 0.8 s at least; 20 others are for the runs themselves.
    assert num_batches <= 4 * (told_s / 0.8 + 1) + 20
    runs = read_runs(f"http://127.0.0.1:{server.port}", experiment)
    for trial in range(4):
        values = read_metric(f"http://127.0.0.1:{server.port}", runs[f"{trial:05d}"], "w1")
        assert values == [(step, step / 100) for step in range(1, 51)]


def test_credentials_reach_the_server_and_nothing_else(
    server: Server, search: SmallSearch, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob-the-user")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cr3t-word")
    warnings: list[str] = []

    def refuse(number: int, forward: Callable[[], Any]) -> Any:
        if number == 4:
            raise ConnectionResetError
        return forward()

    with Proxy(server.port, refuse) as proxy:
        tracker = search.start(proxy.uri, warnings)
        search.run()
        wait_for_queue(tracker)
        assert search.finish(tracker) is None
        assert all(headers["Authorization"].startswith("Basic ") for headers in proxy.headers)
        runs = read_runs(proxy.uri, experiment)
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    everything = [warnings, tracker.ui_command, *(run.to_dictionary() for run in runs.values())]
    assert len(warnings) == 1
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
        return Tracker(search, run_dir, search_id, lambda text: None, absent)

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
    assert "lacks data of 2 trials and of the search itself (" in told.answer
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
