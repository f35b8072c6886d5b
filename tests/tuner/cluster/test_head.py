"""A cluster's head that answers no more is a loss, before Ray ends the process for it."""

import socket

import pytest

from tuner.cluster import head as module
from tuner.cluster.head import Head, patience_s


def _listening(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), reuse_port=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, which a test sets."""
    now_s = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])
    return now_s


def test_a_head_that_refuses_connections_for_too_long_is_lost(clock: list[float]) -> None:
    server = _listening()
    port = server.getsockname()[1]
    head = Head(f"127.0.0.1:{port}")
    clock[0] += 1000  # however long nobody looked
    assert head.loss() is None
    server.close()
    clock[0] += 44
    assert head.loss() is None
    with _listening(port):  # a fault-tolerant head is back
        assert head.loss() is None
    clock[0] += 44
    assert head.loss() is None
    clock[0] += 1
    assert head.loss() == "the cluster's head has not answered for 45 s (Connection refused)"


def test_a_busy_head_which_accepts_nothing_itself_is_not_lost(clock: list[float]) -> None:
    with _listening() as server:
        head = Head(f"127.0.0.1:{server.getsockname()[1]}")
        for _ in range(5):
            clock[0] += 1000
            assert head.loss() is None


@pytest.mark.parametrize(
    ("setting", "expected_s"), [(None, 45), ("600", 585), ("20", 10), ("1", 0.5), ("soon", 45)]
)
def test_a_search_stops_before_ray_ends_it(
    monkeypatch: pytest.MonkeyPatch, setting: str | None, expected_s: float
) -> None:
    monkeypatch.delenv("RAY_gcs_rpc_server_reconnect_timeout_s", raising=False)
    if setting is not None:
        monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", setting)
    assert patience_s() == expected_s
