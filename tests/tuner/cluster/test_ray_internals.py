"""What is changed in Ray Tune, and that a Ray which has moved it still runs a search."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train import Checkpoint
from ray.train._internal.session import _TrainingResult
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial

from tuner.cluster import end_with_parent, ray_internals
from tuner.cluster.environment import VARIABLES


@pytest.fixture
def known_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Ray as it is before the first search of a process, and again afterwards."""
    changes = (
        ray_internals._retry_after_out_of_memory,
        ray_internals._spare_trials_of_lost_nodes,
    )
    plain = getattr(Trial.handle_error, "__wrapped__", Trial.handle_error)
    monkeypatch.setattr(Trial, "handle_error", plain)
    untouched = getattr(RayActorManager._actor_task_failed, "__wrapped__", None)
    untouched = untouched or RayActorManager._actor_task_failed
    monkeypatch.setattr(RayActorManager, "_actor_task_failed", untouched)
    monkeypatch.setattr(class_cache, "DEFAULT_ENV_VARS", {"PL_DISABLE_FORK": "1"})
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", {"AWS_SECRET_ACCESS_KEY"})
    for change in changes:
        change.cache_clear()
    yield monkeypatch
    for change in changes:
        change.cache_clear()


class Actors:
    """What Ray Tune's manager of actors notes of failures."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self._failed_actor_ids: set[str] = set()
        actor = SimpleNamespace(
            actor_id="1", _on_error=lambda actor, error: self.failures.append(error)
        )
        self.task: Any = SimpleNamespace(_tracked_actor=actor, _on_error=None)

    def _cleanup_actor(self, tracked_actor: Any) -> None:
        pass

    def fails(self, error: Exception) -> None:
        RayActorManager._actor_task_failed(
            self,  # type: ignore[arg-type]
            tracked_actor_task=self.task,
            exception=error,
        )


def test_a_trial_killed_for_want_of_memory_has_crashed(known_ray: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="Caught unexpected exception"):
        Actors().fails(OutOfMemoryError("running low on memory"))
    assert ray_internals.adapt() == ray_internals.adapt() == []
    actors = Actors()
    actors.fails(OutOfMemoryError("running\n low on memory"))
    (failure,) = actors.failures
    assert isinstance(failure, RayActorError)
    assert "OutOfMemoryError: running low on memory" in str(failure)


def test_other_deaths_are_left_as_they_are(known_ray: pytest.MonkeyPatch) -> None:
    ray_internals.adapt()
    actors, error = Actors(), RayActorError(error_msg="its worker process has died")
    actors.fails(error)
    assert actors.failures == [error]


def test_trials_get_no_variables_of_the_drivers(known_ray: pytest.MonkeyPatch) -> None:
    ray_internals.adapt()
    assert not class_cache.DEFAULT_ENV_VARS
    assert not class_cache.ENV_VARS_TO_PROPAGATE


@pytest.mark.parametrize(
    ("place", "name", "consequence"),
    [
        (RayActorManager, "_actor_task_failed", "may end the search: --resume resumes it"),
        (Trial, "handle_error", "the loss of a node counts as a failure of its trials"),
        (class_cache, "DEFAULT_ENV_VARS", "its logs may show AWS keys"),
        (class_cache, "ENV_VARS_TO_PROPAGATE", "its logs may show AWS keys"),
    ],
)
def test_a_ray_without_what_is_changed_runs_on_and_a_note_says_so(
    known_ray: pytest.MonkeyPatch, place: Any, name: str, consequence: str
) -> None:
    known_ray.delattr(place, name)
    (note,) = ray_internals.adapt()
    assert note.startswith(f"Ray {ray.__version__} ")
    assert note.endswith(consequence)


def test_a_ray_that_moved_whole_modules_runs_on_as_well(known_ray: pytest.MonkeyPatch) -> None:
    for module in ("ray.air.execution._internal.actor_manager", "ray.tune.execution.class_cache"):
        known_ray.setitem(sys.modules, module, None)
    assert len(ray_internals.adapt()) == 2


def test_little_is_kept_of_a_trial_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No report with any of its checkpoints, and no statistics of its metrics."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    trial = Trial("train", stub=True)
    for steps in range(3):
        report = {"w1": 1.0, "generator_steps": float(steps), "training_iteration": steps}
        trial.update_last_result(report)
        checkpoint = _TrainingResult(Checkpoint(tmp_path / str(steps)), dict(report))
        trial.run_metadata.checkpoint_manager.register_checkpoint(checkpoint)
    ray_internals.forget(trial)
    assert trial.last_result["w1"] == 1.0
    assert trial.metric_analysis == trial.metric_n_steps == {}
    kept = trial.run_metadata.checkpoint_manager.best_checkpoint_results
    assert [result.metrics for result in kept] == [{}] * 3
    assert trial.latest_checkpoint_result.metrics == {}


def test_a_trial_without_a_checkpoint_is_forgotten_and_one_that_keeps_nothing_is_left() -> None:
    ray_internals.forget(Trial("train", stub=True))
    ray_internals.forget(SimpleNamespace())  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform != "linux", reason="it lists the children of a process")
def test_the_agents_of_a_raylet_are_its_children_of_that_title_or_file(tmp_path: Path) -> None:
    """A worker may name such a file, too, and a raylet that starts an agent is its own copy."""
    sleeps = "import time; time.sleep(600)"
    file = tmp_path / "runtime_env" / "agent" / "main.py"
    file.parent.mkdir(parents=True)
    file.write_text(sleeps)
    commands = [
        ["ray::DashboardAgent  ", "-ISc", sleeps],
        [sys.executable, "-u", str(file)],
        ["ray::IDLE", "-ISc", sleeps, "/ray/dashboard/agent.py"],
        ["raylet", f"-ISc{sleeps}", "--dashboard_agent_command=python dashboard/agent.py --head"],
    ]
    children = [subprocess.Popen(command, executable=sys.executable) for command in commands]
    try:
        found = ray_internals.agents(os.getpid())
        assert found == {"DashboardAgent": children[0].pid, "RuntimeEnvAgent": children[1].pid}
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert ray_internals.agents(children[0].pid) == {}


def test_a_raylet_starts_agents_that_end_with_it() -> None:
    raylet = ["/bin/raylet", "--dashboard_agent_command=py -u a.py", "--session=x_agent_command"]
    program, agent, session = ray_internals._agents_ending_with_parent(raylet)
    assert (program, session) == (raylet[0], raylet[2])
    key, _, command = agent.partition("=")
    assert key == "--dashboard_agent_command"
    script = Path(end_with_parent.__file__)
    assert shlex.split(command) == [sys.executable, "-I", "-S", str(script), "py", "-u", "a.py"]
