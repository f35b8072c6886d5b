"""What Ray Tune is told of trials, and what trials that fail under it are told of."""

import os
import sys
import time
from pathlib import Path

import pytest
import ray
from ray.tune.execution.class_cache import _ActorClassCache

from tuner.cluster import trials as runner
from tuner.cluster.connection import connected

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
DIED = """Failure # 1 (occurred at 2026-11-22_10-00-00)
The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RAISED, "_pickle.UnpicklingError: the second failure"),
        (DIED, "The actor died unexpectedly before finishing this task."),
        ("", "ended without a message"),
    ],
)
def test_a_failed_trial_says_what_its_last_failure_raised(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "error.txt").write_text(text)
    assert runner._what_was_raised(str(tmp_path / "error.txt")) == message


def test_a_failed_trial_may_have_left_nothing(tmp_path: Path) -> None:
    assert runner._what_was_raised(None) == "ended without a message"
    assert runner._what_was_raised(str(tmp_path / "none")) == "ended without a message"


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
    """As long as those differ in nothing: a trial that has an environment of its own waits."""

    class Trial:  # within a function, so that Ray ships it whole
        def where(self) -> tuple[int, bool]:
            return os.getpid(), "trainables.wgan" in sys.modules

    with connected(None, num_cpus=2, all_train=True):
        until_s = time.monotonic() + 60
        while len(_idle_workers()) < 2 and time.monotonic() < until_s:
            time.sleep(0.1)
        before = _idle_workers()
        runner._give_trials_no_environment_of_their_own()
        actor_class = _ActorClassCache().get(Trial)
        actors = [actor_class.options(num_cpus=1).remote() for _ in range(2)]
        found = ray.get([actor.where.remote() for actor in actors])
    assert {pid for pid, _ in found} <= before
    assert all(has_imported for _, has_imported in found)
