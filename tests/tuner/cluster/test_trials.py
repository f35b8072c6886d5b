"""What Ray Tune is told of trials, and what trials that fail under it are told of."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError
from ray.tune.execution.class_cache import _ActorClassCache
from ray.tune.experiment import Trial
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from tuner.cluster import ray_internals
from tuner.cluster import trials as runner
from tuner.cluster.connection import connected
from tuner.cluster.interruption import Interruption
from tuner.cluster.servers import Servers

RAISED = """Failure # 1 (occurred at 2026-11-22_10-00-00)
ray::ImplicitFunc.train() (pid=1)
  File "trial.py", line 1, in run
ValueError: the first failure
Failure # 2 (occurred at 2026-11-22_10-00-01)
ray::ImplicitFunc.train() (pid=2)
  File "trial.py", line 1, in run
_pickle.UnpicklingError: the second failure
    that goes on

and on
"""
ODD = """Failure # 1 (occurred at 2026-11-22_10-00-00)
ray::ImplicitFunc.train() (pid=1)
  File "trial.py", line 1, in run
    raise Tired("gave up\\nbecause of the Error: rain")
          ^^^^^
networks.Tired: gave up
because of the Error: rain
"""
DIED = """Failure # 1 (occurred at 2026-11-22_10-00-00)
The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RAISED, "_pickle.UnpicklingError: the second failure"),
        (ODD, "networks.Tired: gave up"),
        (DIED, "The actor died unexpectedly before finishing this task."),
        ("", "ended without a message"),
    ],
)
def test_a_failed_trial_says_what_its_last_failure_raised(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "error.txt").write_text(text)
    assert runner._last_failure(str(tmp_path / "error.txt")) == message


def test_a_failed_trial_may_have_left_nothing(tmp_path: Path) -> None:
    assert runner._last_failure(None) == "ended without a message"
    assert runner._last_failure(str(tmp_path / "none")) == "ended without a message"


@pytest.mark.parametrize("num_retries", [0, 1])
def test_a_nodes_death_costs_a_trial_none_of_its_retries_and_needs_none(
    make_spec: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, num_retries: int
) -> None:
    assert ray_internals.adapt() == []
    notes: list[str] = []
    spec = make_spec(resources={"retries_per_trial": num_retries})
    record: Any = SimpleNamespace(spec=spec, halted=None, note=notes.append)
    interrupted = Interruption()
    scheduler: Any = None
    callback = runner._Callback(record, scheduler, "", interrupted, Servers(interrupted, print))
    trial = Trial("train", stub=True, config={"number": 7}, max_failures=num_retries)
    trial.storage = SimpleNamespace(trial_driver_staging_path=None)  # type: ignore[assignment]

    def fails(message: str) -> bool:
        """Have it fail as Ray Tune does; return whether it is restarted."""
        monkeypatch.setattr(runner, "_last_failure", lambda file: message)
        trial.handle_error(RayActorError(error_msg=message))
        if restarted := trial.should_recover():
            callback.on_trial_recover(0, [trial], trial)
        return restarted

    died = "The actor died because its node has died. Node Id: 7"
    assert [fails(died) for _ in range(3)] == [True] * 3
    assert [fails("it crashed") for _ in range(num_retries)] == [True] * num_retries
    assert fails(died)  # also once all retries are used
    assert not fails("it crashed")
    said = "trial 00007 restarts from its last checkpoint"
    lost = f"{said}: {runner._NODE_DIED}"
    crashed = [f"{said} (1 of 1): it crashed"] * num_retries
    assert notes == [lost] * 3 + crashed + [lost]


def _idle_workers() -> set[int]:
    """Those that our Ray has started, and given nothing to do."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text().rpartition(")")
        except OSError:  # it ended meanwhile
            continue
        parents[int(stat.parent.name)] = (int(tail.split()[1]), head.partition("(")[2])
    ours = {pid for pid, (parent, _) in parents.items() if parent == os.getpid()}
    return {
        pid for pid, (parent, name) in parents.items() if parent in ours and name == "ray::IDLE"
    }


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_trials_run_in_the_workers_that_ray_starts_beforehand() -> None:
    """As long as those differ in nothing: a trial that has an environment of its own waits.

    They wait for the trials longer than a second, even where the CPUs are reserved already.
    """

    class Trial:  # within a function, so that Ray ships it whole
        def where(self) -> tuple[int, bool]:
            return os.getpid(), "trainables.wgan" in sys.modules

    with connected(None, num_cpus=2, all_train=True):
        until_s = time.monotonic() + 60
        while len(_idle_workers()) < 2 and time.monotonic() < until_s:
            time.sleep(0.1)
        before = _idle_workers()
        assert ray_internals.adapt() == []
        reserved = placement_group([{"CPU": 1}] * 2)
        assert reserved.wait(60)
        time.sleep(1.5)
        actor_class = _ActorClassCache().get(Trial)
        place = PlacementGroupSchedulingStrategy(reserved)
        options = {"num_cpus": 1, "scheduling_strategy": place}
        actors = [actor_class.options(**options).remote() for _ in range(2)]
        found = ray.get([actor.where.remote() for actor in actors])
    assert {pid for pid, _ in found} <= before
    assert all(has_imported for _, has_imported in found)
