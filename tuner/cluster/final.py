"""The final: the best trials, scored again by stronger critics, each as a task of Ray's."""

import math
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from trainables.config import ObjectiveConfig
from tuner.cluster import ray_internals
from tuner.cluster.failures import last_raised
from tuner.cluster.interruption import Interruption
from tuner.cluster.nodes import TrialResources
from tuner.cluster.servers import Servers
from tuner.record import Record
from tuner.space import ResourceConfig

if TYPE_CHECKING:
    from trainables.data import Data

#: Ctrl-C is checked for at least so often.
_POLL_S = 0.5


def run_final(
    record: Record, data: ray.ObjectRef, needs: TrialResources, interrupted: Interruption
) -> None:
    """Score the best trials again, as many at a time as trials run, until done or interrupted.

    A task whose worker dies is run again as often as a trial would be. If one fails for good, the
    record is notified, and the others continue.
    """
    if interrupted.is_set() or not (finalists := record.start_final()):
        return
    spec = record.spec
    score_again = _scoring_task(spec.objective, spec.resources, needs, spec.code_modules)
    waiting, running = deque(finalists), {}
    servers = Servers(ray_internals.servers(), record, interrupted)
    most = spec.search.max_concurrent_trials or len(finalists)
    while (waiting or running) and not interrupted.is_set():
        if servers.are_lost():
            ray.shutdown()
            return
        while waiting and len(running) < most:
            trial = waiting.popleft()
            task = score_again.remote(trial.best_generator, trial.name_in(spec.name), data)
            running[task] = trial
        record.tick()
        for task in ray.wait([*running], timeout=_POLL_S)[0]:
            number = running.pop(task).number
            try:
                w1, w1_stderr, seconds = ray.get(task)
            except RayError as error:
                if servers.are_lost():
                    break
                record.final_failed(number, last_raised(str(error).splitlines()))
                continue
            if math.isfinite(w1):
                record.final_scored(number, w1, w1_stderr, seconds)
            else:
                record.final_failed(number, "its samples are not finite")
    for task in running:
        ray.cancel(task, force=True)


def _scoring_task(
    objective: ObjectiveConfig,
    resources: ResourceConfig,
    needs: TrialResources,
    allow_code: Collection[str],
) -> Any:
    """Make Ray's task from a checkpoint's folder to w1, its standard error and its seconds."""
    threads, timeout_s, use_gpu = (
        resources.threads_per_trial,
        resources.report_timeout_s,
        needs.gpus > 0,
    )

    # Ray ships a function within a function as it is: a module's would make every worker import
    # that module, and with it Ray Tune, which takes as long as the scoring.
    @ray.remote(
        num_cpus=needs.cpus,
        num_gpus=needs.gpus,
        resources=dict(needs.others),
        max_retries=resources.retries_per_trial,
    )
    def score_again(checkpoint: str | None, name: str, data: "Data") -> tuple[float, float, float]:
        from trainables.watchdog import Watchdog
        from tuner.cluster.scoring import score_checkpoint

        with Watchdog(timeout_s):
            return score_checkpoint(checkpoint, name, data, objective, threads, use_gpu, allow_code)

    return score_again
