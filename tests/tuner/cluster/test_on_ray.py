"""When the executor leaves Ray."""

from types import SimpleNamespace
from typing import Any

import pytest

from tuner.cluster.on_ray import RayExecutor
from tuner.space import ResourceConfig


@pytest.mark.parametrize(
    ("grows", "is_lost", "leaves"),
    [(False, False, True), (False, True, True), (True, False, False), (True, True, True)],
)
def test_a_ray_that_is_lost_is_left_before_the_results_are_written(
    grows: bool, is_lost: bool, leaves: bool
) -> None:
    """Else a search that writes them would be taken for one that is stuck within Ray."""
    left: list[bool] = []
    servers: Any = SimpleNamespace(are_lost=lambda: is_lost, leave=lambda: left.append(True))
    executor = RayExecutor(ResourceConfig(), "", grows, lambda text: None, servers)
    executor.leave()
    assert bool(left) == leaves
