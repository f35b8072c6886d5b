"""The final: the best trials, scored again by stronger critics, by actors of Ray's."""

import math
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import ActorUnavailableError, RayError

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
    num_slots: int | None,
    servers: Servers,
) -> None:
    """Score the best trials again, as many at a time as trials run, until done or interrupted.

    A task whose worker dies is run again as often as a trial would be. If one fails for good, the
    record is notified, and the others continue.

    Args:
        record: Of the search.
        data: In the object store.
        needs: What a trial takes of a node, and so does a task.
        interrupted: Ends the final.
        num_slots: Tasks that fit a cluster that does not grow; ``None`` if it may.
        servers: Those of Ray: after the loss of one no failure is a task's.
    """
    if interrupted.is_set() or not (finalists := record.start_final()):
        return
    spec = record.spec
    scorers = _Scorers(spec.objective, spec.resources, needs, spec.code_modules, servers)
    # None: the real samples, first, as no later session would score them alone.
    waiting: deque[Trial | None] = deque([] if record.final_floor else [None])
    waiting.extend(finalists)
    running: dict[Any, Trial | None] = {}
    limits = (spec.search.max_concurrent_trials, num_slots)
    most = min(filter(None, limits), default=len(waiting))
    with scorers:
        while (waiting or running) and not interrupted.is_set():
            if servers.are_lost():
                return
            while waiting and len(running) < most:
                if (trial := waiting.popleft()) is None:
                    task = scorers.start(data)
                else:
                    task = scorers.start(data, trial.name_in(spec.name), trial.best_generator)
                running[task] = trial
            record.tick()
            for task in ray.wait([*running], timeout=_POLL_S)[0]:
                _record(record, servers, running.pop(task), task)
                scorers.ended(task, is_needed=bool(waiting))


def _record(record: Record, servers: Servers, trial: Trial | None, task: ray.ObjectRef) -> None:
    """Record the result of a task that has ended, of a trial or of the real samples."""
    try:
        score: FinalScore = ray.get(task)
    except RayError as error:
        if servers.are_lost():
            return
        # Ray's text names the connection, not what became of the worker.
        is_dead = isinstance(error, ActorUnavailableError)
        reason = "its worker died" if is_dead else last_raised(str(error).splitlines())
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


class _Scorers:
    """Actors of Ray's that score, each one trial at a time; they end with a block.

    Not tasks: for those Ray starts one worker more than it needs, which imports torch for nothing.
    """

    def __init__(
        self,
        objective: ObjectiveConfig,
        resources: ResourceConfig,
        needs: TrialResources,
        allow_code: Collection[str],
        servers: Servers,
    ) -> None:
        threads, use_gpu = resources.threads_per_trial, needs.gpus > 0
        timeout_s = resources.report_timeout_s

        # Ray ships a class within a function as it is: a module's would make every worker import
        # that module, and with it Ray Tune, which takes as long as the scoring.
        @ray.remote(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            resources=dict(needs.others),
            max_restarts=-1,
            max_task_retries=resources.retries_per_trial,
        )
        class Scorer:
            def score(
                self, data: "Data", name: str | None = None, checkpoint: str | None = None
            ) -> "FinalScore":
                from trainables.watchdog import Watchdog
                from tuner.cluster.scoring import score_checkpoint, score_real_samples

                with Watchdog(timeout_s):
                    if name is None:
                        return score_real_samples(data, objective, threads, use_gpu)
                    return score_checkpoint(
                        checkpoint, name, data, objective, threads, use_gpu, allow_code
                    )

        self._new: Any = Scorer
        self._servers = servers
        self._idle: list[Any] = []
        self._busy: dict[ray.ObjectRef, Any] = {}

    def __enter__(self) -> "_Scorers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._servers.are_lost():
            return  # a call would wait for the server
        for scorer in (*self._idle, *self._busy.values()):
            ray.kill(scorer)

    def start(
        self, data: ray.ObjectRef, name: str | None = None, checkpoint: str | None = None
    ) -> ray.ObjectRef:
        """Score the checkpoint of a trial; without a name, real samples."""
        scorer = self._idle.pop() if self._idle else self._new.remote()
        task = scorer.score.remote(data, name, checkpoint)
        self._busy[task] = scorer
        return task

    def ended(self, task: ray.ObjectRef, *, is_needed: bool) -> None:
        """Free the actor of a task that has ended for the next, or its resources for others."""
        scorer = self._busy.pop(task)
        if is_needed:
            self._idle.append(scorer)
        else:
            ray.kill(scorer)
