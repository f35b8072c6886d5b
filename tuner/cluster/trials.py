"""The trials of a search as Ray Tune runs them: proposed, watched, restarted, stopped."""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.search import Searcher

from tuner.cluster import ray_internals
from tuner.cluster.asha import Halving, halving_of
from tuner.cluster.failures import (
    is_full,
    is_node_lost,
    last_raised,
    restart_note,
    retry_note,
)
from tuner.cluster.interruption import Interruption
from tuner.cluster.nodes import TrialResources
from tuner.cluster.scheduler import AshaScheduler
from tuner.cluster.servers import Servers
from tuner.record import Record
from tuner.storage import is_remote, location_of, resolve_location

_NODE_DIED = "its node died, or is out of reach"
#: Ray's words for the death of a trial's process, and plain ones.
_DEATHS = {
    "running low on memory": "its node was running out of memory",
    "its worker process has died": "its process was killed, ran out of memory, or crashed",
}


def run_trials(
    record: Record,
    data: ray.ObjectRef,
    location: str,
    needs: TrialResources,
    interrupted: Interruption,
    num_slots: int | None,
    servers: Servers,
) -> None:
    """Run trials until the search has no more, its budget is used up, or it is interrupted.

    Args:
        record: Proposes the trials, and is notified of all that happens to them.
        data: The data in the object store, by ``cluster.share``.
        location: The folder, or URI, of this session's checkpoints.
        needs: The resources of a trial.
        interrupted: Once set, trials end where they are, to be resumed.
        num_slots: Trials that fit a cluster that does not grow; ``None`` if it may. Ray proposes
            one trial more than fit, before the sampler can know how those that run will end.
        servers: The servers of a Ray that was started here.
    """
    from trainables.wgan import train_wgan

    if interrupted.is_set():
        return
    for note in ray_internals.adapt():
        record.note(note)
    spec = record.spec
    asha = halving_of(record)
    scheduler = AshaScheduler(asha, spec.objective)
    trainable = tune.with_parameters(train_wgan, data=[data])
    file_system, path = resolve_location(location)
    folder, _, session = path.rpartition("/")
    tuner = tune.Tuner(
        tune.with_resources(
            trainable, {"cpu": needs.cpus, "gpu": needs.gpus, **dict(needs.others)}
        ),
        tune_config=tune.TuneConfig(
            search_alg=_Proposer(record, asha, interrupted),
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=spec.search.max_concurrent_trials or num_slots,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_folder,
        ),
        run_config=tune.RunConfig(
            name=session,
            storage_path=folder,
            storage_filesystem=file_system if is_remote(location) else None,
            callbacks=[_Callback(record, scheduler, location, interrupted, servers)],
            stop=_Stopper(record, interrupted),
            failure_config=tune.FailureConfig(max_failures=spec.resources.retries_per_trial),
            # No `num_to_keep`: with it Ray writes a snapshot of all trials at every second
            # checkpoint of each. The record deletes those that are no longer needed.
            verbose=0,
            # Named, or in a notebook another one would wipe the cell to make room for itself.
            progress_reporter=tune.CLIReporter(),
        ),
    )
    try:
        tuner.fit()
    except Exception as error:  # Ray Tune keeps files of its own, and hides their errors in text
        full = [line for line in str(error).splitlines() if is_full(line)]
        if not full:
            raise
        record.halt(full[-1].strip())


def _trial_name(trial: RayTrial) -> str:
    return f"{trial.config['search']}_{trial.config['number']:05d}"


def _trial_folder(trial: RayTrial) -> str:
    return trial.config["folder"]


class _NotPickled:
    """Keep the state of an object out of Ray's snapshot, which nothing here reads."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _halting(method: Callable[..., Any]) -> Callable[..., Any]:
    """Stop the search in order where its own files cannot be written.

    An exception in a callback would end Ray Tune with it, and what is running be lost. Nor is it
    left halfway where Ray is lost.
    """

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._record.halted is not None:
            return None
        with self._interrupted.held():
            try:
                return method(self, *args, **kwargs)
            except OSError as error:
                self._record.cannot_write(error)

    return call


class _Proposer(_NotPickled, Searcher):
    """Propose the record's trials to Ray: interrupted, promoted and new ones."""

    def __init__(self, record: Record, asha: Halving, interrupted: Interruption) -> None:
        super().__init__(metric="score", mode="min")
        self._record = record
        self._asha = asha
        self._interrupted = interrupted

    def suggest(self, trial_id: str) -> Any:
        proposed = self._next()
        if proposed is None and self._record.may_promote:
            return None  # Ray asks again
        return proposed or Searcher.FINISHED

    @_halting
    def _next(self) -> dict[str, Any] | None:
        trial = self._record.next_trial(self._asha.promote)
        if trial is None:
            return None
        spec = self._record.spec
        return {
            "search": spec.name,
            "number": trial.number,
            "folder": trial.folder_in(spec),
            "trial": trial.config.model_dump(mode="json"),
            "schedule": {"rungs": spec.asha.rungs, **spec.reporting.model_dump()},
            "threads": spec.resources.threads_per_trial,
            "report_timeout_s": spec.resources.report_timeout_s,
            "checkpoints": list(trial.checkpoints),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search resumes from its study, not from Ray's snapshot")


class _Stopper(_NotPickled, tune.Stopper):
    """Stop trials at their next report once the budget is used up, and all of them on Ctrl-C."""

    def __init__(self, record: Record, interrupted: Interruption) -> None:
        self._record = record
        self._interrupted = interrupted

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._record.is_over_budget

    def stop_all(self) -> bool:
        return self._interrupted.is_set() or self._record.halted is not None


class _Callback(_NotPickled, tune.Callback):
    """Notify the record of Ray Tune's events."""

    def __init__(
        self,
        record: Record,
        scheduler: AshaScheduler,
        location: str,
        interrupted: Interruption,
        servers: Servers,
    ) -> None:
        self._record = record
        self._scheduler = scheduler
        self._location = location
        self._interrupted = interrupted
        self._servers = servers
        self._last_report_s: dict[int, float] = {}

    def on_trial_start(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        self._last_report_s[trial.config["number"]] = time.monotonic()

    @_halting
    def on_trial_result(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        number = trial.config["number"]
        self._last_report_s[number] = time.monotonic()
        if "note" in result:
            self._record.note(f"trial {number:05d}: {result['note']}")
        continues, waits = not result.get("done"), self._scheduler.had_wait(number)
        self._record.reported(number, _own_metrics(result), continues=continues, waits=waits)

    @_halting
    def on_checkpoint(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        checkpoint: tune.Checkpoint,
        **info: Any,
    ) -> None:
        folder = location_of(self._location, checkpoint.path)
        self._record.checkpointed(trial.config["number"], folder)

    @_halting
    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        self._record.left(trial.config["number"])
        ray_internals.forget(trial)

    @_halting
    def on_trial_recover(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        number, reason = trial.config["number"], self._reason(trial)
        if self._servers.are_lost():
            return  # it is Ray that failed, not the trial
        if is_full(reason):
            self._record.halt(reason)
            return
        if reason == _NODE_DIED:
            self._record.note(f"{restart_note(number)}: {reason}")
        else:
            most = self._record.spec.resources.retries_per_trial
            self._record.note(retry_note(number, trial.num_failures, most, reason))

    @_halting
    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        reason = self._reason(trial)
        if self._servers.are_lost():
            return
        if is_full(reason):
            self._record.halt(reason)
        else:
            self._record.ended(trial.config["number"], reason, failed=True)
            ray_internals.forget(trial)

    def _reason(self, trial: RayTrial) -> str:
        """Find what ended a trial's process, or was raised in it."""
        timeout_s = self._record.spec.resources.report_timeout_s
        now_s = time.monotonic()
        # A trial whose node died may not have reported at all.
        if now_s - self._last_report_s.get(trial.config["number"], now_s) >= timeout_s:
            return f"hung: no report for {timeout_s:g} s"
        reason = _last_failure(trial.error_file)
        if is_node_lost(reason):
            return _NODE_DIED
        return next((plain for text, plain in _DEATHS.items() if text in reason), reason)


def _own_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the floats that a trial reported, without those that Ray adds."""
    from ray.tune.result import AUTO_RESULT_KEYS

    own = (k for k, v in result.items() if isinstance(v, float) and k not in AUTO_RESULT_KEYS)
    return {key: result[key] for key in own}


def _last_failure(error_file: str | None) -> str:
    """Read the exception of the last failure; its traceback stays in the trial's folder."""
    if error_file is None or not Path(error_file).exists():
        return "ended without a message"
    text = Path(error_file).read_text(encoding="utf-8", errors="replace")
    return last_raised(text.rpartition("Failure # ")[2].splitlines()[1:])
