"""What all tests run under."""

import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import searches
from ray_cluster import Cluster, cluster

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
# nohup, and a shell in the background, have them ignored; the tests expect that they end a search.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_search_outlives_its_test() -> Iterator[None]:
    yield
    searches.end_all()


@pytest.fixture(autouse=True)
def _small_numbers_stay_numbers() -> Iterator[None]:
    """A worker flushes denormal numbers to zero; what is tested after it here must not."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """On a busy machine, threads that wait for each other make networks this small 100x slower."""
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def ray_cluster(ray_head: Cluster) -> Iterator[Cluster]:
    """Its head alone; each test adds nodes of its own."""
    yield ray_head
    ray_head.clear()


@pytest.fixture(scope="module")
def ray_head() -> Iterator[Cluster]:
    folder = Path("/tmp") / f"ray-{time.time_ns():x}"  # short: sockets are in it
    with cluster(folder) as started:
        yield started
    shutil.rmtree(folder, ignore_errors=True)
    for log in folder.parent.glob(f"{folder.name}-*.log"):
        log.unlink()
