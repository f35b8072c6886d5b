"""The final: the best trials, scored again by stronger critics, each as a task of Ray's."""

import math
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from trainables.config import ObjectiveConfig
from tuner.cluster.failures import last_raised
from tuner.cluster.interruption import Interruption
from tuner.cluster.nodes import TrialResources
from tuner.cluster.servers import Servers
from tuner.record import Record
from tuner.space import ResourceConfig
from tuner.study import FinalScore, Trial

if TYPE_CHECKING:
    from trainables.data import Data

#: Ctrl-C is checked for at least so often.
_POLL_S = 0.5


def run_final(
    record: Record,
    data: ray.ObjectRef,
    needs: TrialResources,
    interrupted: Interruption,
    servers: Servers,
) -> None:
    """Score the best trials again, as many at a time as trials run, until done or interrupted.

    A task whose worker dies is run again as often as a trial would be. If one fails for good, the
    record is notified, and the others continue.
    """
    if interrupted.is_set() or not (finalists := record.start_final()):
        return
    spec = record.spec
    score_again, score_floor = _scoring_tasks(
        spec.objective, spec.resources, needs, spec.code_modules
    )
    # None: the real samples, first, as no later session would score them alone.
    waiting: deque[Trial | None] = deque([] if record.final_floor else [None])
    waiting.extend(finalists)
    running: dict[Any, Trial | None] = {}
    most = spec.search.max_concurrent_trials or len(waiting)
    while (waiting or running) and not interrupted.is_set():
        if servers.are_lost():
            return
        while waiting and len(running) < most:
            if (trial := waiting.popleft()) is None:
                task = score_floor.remote(data)
            else:
                task = score_again.remote(trial.best_generator, trial.name_in(spec.name), data)
            running[task] = trial
        record.tick()
        for task in ray.wait([*running], timeout=_POLL_S)[0]:
            _record(record, servers, running.pop(task), task)
    for task in running:
        ray.cancel(task, force=True)


def _record(record: Record, servers: Servers, trial: Trial | None, task: ray.ObjectRef) -> None:
    """Record the result of a task that has ended, of a trial or of the real samples."""
    try:
        score: FinalScore = ray.get(task)
    except RayError as error:
        if servers.are_lost():
            return
        reason = last_raised(str(error).splitlines())
        if trial is None:
            record.note(f"real samples could not be scored by the final's critics: {reason}")
        else:
            record.final_failed(trial.number, reason)
        return
    if trial is None:
        record.final_floor_scored(score)
    elif math.isfinite(score.w1):
        record.final_scored(trial.number, score)
    else:
        record.final_failed(trial.number, "its samples are not finite")


def _scoring_tasks(
    objective: ObjectiveConfig,
    resources: ResourceConfig,
    needs: TrialResources,
    allow_code: Collection[str],
) -> tuple[Any, Any]:
    """Make Ray's tasks: from a checkpoint's folder to its score, and of the real samples' score."""
    threads, timeout_s, use_gpu = (
        resources.threads_per_trial,
        resources.report_timeout_s,
        needs.gpus > 0,
    )
    task = ray.remote(
        num_cpus=needs.cpus,
        num_gpus=needs.gpus,
        resources=dict(needs.others),
        max_retries=resources.retries_per_trial,
    )

    # Ray ships a function within a function as it is: a module's would make every worker import
    # that module, and with it Ray Tune, which takes as long as the scoring.
    @task
    def score_again(checkpoint: str | None, name: str, data: "Data") -> "FinalScore":
        from trainables.watchdog import Watchdog
        from tuner.cluster.scoring import score_checkpoint

        with Watchdog(timeout_s):
            return score_checkpoint(checkpoint, name, data, objective, threads, use_gpu, allow_code)

    @task
    def score_floor(data: "Data") -> "FinalScore":
        from trainables.watchdog import Watchdog
        from tuner.cluster.scoring import score_real_samples

        with Watchdog(timeout_s):
            return score_real_samples(data, objective, threads, use_gpu)

    return score_again, score_floor
