"""Ray: starts or joins a cluster, runs trials on it until the search has no more, and the final.

This file alone in this package knows Ray, with the scheduler.
"""

import logging
import math
import os
import re
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from trainables.config import ObjectiveConfig
from tuner.errors import BadInput, Fault
from tuner.sections import ResourceConfig

if TYPE_CHECKING:
    from trainables.data import Data
    from tuner.record import Record

#: Read when Ray is imported or started.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the display is ours
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry from what we start
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that asks for no GPU sees none
    # Ray's own killing of workers at 95% of memory is an error that Ray Tune does not know, and
    # ends the search. The kernel's, which takes workers first, is a crash that trials recover from.
    "RAY_memory_monitor_refresh_ms": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the record keeps the reports
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours too: Ray's loses what is in flight
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # they are in trials.csv, and whole in the trial's folder
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # w1 comes at rungs only
    # Ray gives a stopped trial 2 s to leave before it fails the next one on the same worker.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    # Ray's own snapshot of the experiment is never read: a resume starts from the study.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
}

#: Ctrl-C is looked for at least so often in the final.
_POLL_S = 0.5

for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.exceptions import RayError  # noqa: E402
from ray.train._internal.checkpoint_manager import _CheckpointManager  # noqa: E402
from ray.tune.experiment import Trial as RayTrial  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from tuner.scheduler import Asha  # noqa: E402


@contextmanager
def connected(
    address: str | None,
    resources: ResourceConfig,
    num_cpus: int,
    own_code: Sequence[Path] = (),
) -> Iterator[str]:
    """Start a local Ray of ``num_cpus``, or join the one at ``address``; yields its dashboard.

    ``own_code`` are files and packages of the user's that a cluster's nodes need beside ours.

    Raises:
        BadInput: where there is no cluster at the address, or no node that fits a trial; Ray
            would wait for ever.
    """
    # It says at the end which trials failed, as the summary does.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"address": "local", "num_cpus": num_cpus, "dashboard_host": "127.0.0.1"}
    else:
        ours = [Path(__file__).parent, Path(__file__).parent.parent / "trainables"]
        code = [str(path) for path in (*ours, *own_code)]
        runtime_env = {"py_modules": code, "env_vars": _ENVIRONMENT}
        options |= {"address": address, "runtime_env": runtime_env}
    if address is not None:
        _check_answers(address)
    try:
        context = ray.init(include_dashboard=True if address is None else None, **options)
    except ConnectionError as error:
        what = f"the Ray cluster at {address!r} does not let this search in: where it asks for a "
        way_out = "token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN in the environment"
        raise BadInput("--address", [Fault("", what + way_out)]) from error
    try:
        _check_capacity(resources)
        url = context.dashboard_url
        yield f"http://{url}" if url else "not running"
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Whether anything listens there: Ray itself would try for many minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():  # "auto", say: Ray looks it up
        return
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError as error:
        what = f"no Ray cluster answers at {address!r} ({error}): start one, or leave it out"
        raise BadInput("--address", [Fault("", what)]) from error


def _check_capacity(resources: ResourceConfig) -> None:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
    if any(n.get("CPU", 0) >= cpus and n.get("GPU", 0) >= gpus for n in nodes):
        return
    most = ", ".join(f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in nodes)
    what = f"no node has {cpus:g} CPUs and {gpus:g} GPUs for a trial; the nodes have {most}"
    raise BadInput("resources", [Fault("", f"{what}: ask for less per trial")])


def num_slots(resources: ResourceConfig) -> int:
    """Trials that fit the cluster at a time, as it now is."""
    there = ray.cluster_resources()
    needs = {"CPU": resources.cpus_per_trial, "GPU": resources.gpus_per_trial}
    return min(int(there.get(name, 0) / need) for name, need in needs.items() if need)


def share(data: "Data") -> ray.ObjectRef:
    """Put the data into Ray's object store: one copy a machine, whoever looks at it."""
    return ray.put(data)


def run(
    record: "Record", data: ray.ObjectRef, session: str, interrupted: Event, num_slots: int | None
) -> None:
    """Run trials until the search has no more, its budget is used up, or it is interrupted.

    Args:
        record: Gives the trials, and is told of all that happens to them.
        data: What :func:`share` gave.
        session: Names the folder of this sitting's checkpoints.
        interrupted: Once set, trials end where they are, to be resumed.
        num_slots: Trials that fit a cluster that does not grow; ``None`` if it may. Ray proposes
            one trial more than fit, before the sampler can know how those that run will end.
    """
    from trainables.wgan import train_wgan

    if interrupted.is_set():
        return
    spec = record.spec
    resources = {"cpu": spec.resources.cpus_per_trial, "gpu": spec.resources.gpus_per_trial}
    trainable = tune.with_resources(tune.with_parameters(train_wgan, data=[data]), resources)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_Proposer(record),
            scheduler=Asha(spec.asha, spec.search.seed, spec.objective, record.trials.values()),
            num_samples=-1,
            max_concurrent_trials=spec.search.max_concurrent_trials or num_slots,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=session,
            storage_path=str(record.run_dir / "ray"),
            callbacks=[_Listener(record)],
            stop=_Stopper(record, interrupted),
            failure_config=tune.FailureConfig(max_failures=spec.resources.retries_per_trial),
            # No `num_to_keep`: with it Ray writes a snapshot of all trials, anew, at every second
            # checkpoint of each. The record deletes what is needed no more.
            verbose=0,
        ),
    )
    tuner.fit()


def run_final(record: "Record", data: ray.ObjectRef, interrupted: Event) -> None:
    """Score the best trials again, as many at a time as trials run, until done or interrupted.

    A task whose worker dies is run again as often as a trial would be. Whatever goes wrong with
    one, the record is told, and the others go on.
    """
    if interrupted.is_set() or not (finalists := record.start_final()):
        return
    spec, resources = record.spec, record.spec.resources
    score_again = _scoring_task(spec.objective, resources)
    waiting, running = deque(finalists), {}
    most = spec.search.max_concurrent_trials or len(finalists)
    while (waiting or running) and not interrupted.is_set():
        while waiting and len(running) < most:
            trial = waiting.popleft()
            running[score_again.remote(trial.checkpoint, data)] = trial
        record.on_report()  # a long final must not look dead
        for task in ray.wait([*running], timeout=_POLL_S)[0]:
            number = running.pop(task).number
            try:
                w1, w1_stderr, seconds = ray.get(task)
            except RayError as error:
                record.final_failed(number, _last_raised(str(error).splitlines()))
                continue
            if math.isfinite(w1):
                record.final_scored(number, w1, w1_stderr, seconds)
            else:
                record.final_failed(number, "its samples are not finite")
    for task in running:
        ray.cancel(task, force=True)


def _scoring_task(objective: ObjectiveConfig, resources: ResourceConfig) -> Any:
    """From a checkpoint's folder to w1, its standard error and the seconds that it took."""
    threads = resources.threads_per_trial

    # Ray ships a function within a function as it is: a module's would make every worker import
    # that module, and with it Ray Tune, which takes as long as the scoring.
    @ray.remote(
        num_cpus=resources.cpus_per_trial,
        num_gpus=resources.gpus_per_trial,
        max_retries=resources.retries_per_trial,
    )
    def score_again(checkpoint: str, data: "Data") -> tuple[float, float, float]:
        from trainables.trial import final_score, start_worker

        device, started_s = start_worker(threads), time.perf_counter()
        found = final_score(Path(checkpoint, "generator.pt"), data, objective, device)
        return found.w1, found.w1_stderr, time.perf_counter() - started_s

    return score_again


def _trial_name(trial: RayTrial) -> str:
    return f"{trial.config['search']}_{trial.config['number']:05d}"


class _NotPickled:
    """Ray pickles what it is given into a snapshot, which nothing here ever reads."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Proposer(_NotPickled, Searcher):
    """Hands the record's trials to Ray; what became of them the listener says."""

    def __init__(self, record: "Record") -> None:
        super().__init__(metric="score", mode="min")
        self._record = record

    def suggest(self, trial_id: str) -> Any:
        trial = self._record.next_trial()
        if trial is None:
            return Searcher.FINISHED
        spec = self._record.spec
        return {
            "search": spec.name,
            "number": trial.number,
            "trial": trial.config.model_dump(mode="json"),
            "schedule": {"rungs": spec.asha.rungs, **spec.reporting.model_dump()},
            "threads": spec.resources.threads_per_trial,
            "checkpoint": trial.checkpoint,
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
    """Ends trials at their next report once the budget is used up, and all at once on Ctrl-C."""

    def __init__(self, record: "Record", interrupted: Event) -> None:
        self._record = record
        self._interrupted = interrupted

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._record.is_over_budget

    def stop_all(self) -> bool:
        return self._interrupted.is_set()


class _Listener(_NotPickled, tune.Callback):
    """Tells the record what Ray tells it."""

    def __init__(self, record: "Record") -> None:
        self._record = record

    def on_trial_result(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        metrics = _own_metrics(result)
        self._record.reported(trial.config["number"], metrics, goes_on=not result.get("done"))

    def on_checkpoint(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        checkpoint: tune.Checkpoint,
        **info: Any,
    ) -> None:
        self._record.checkpointed(trial.config["number"], Path(checkpoint.path))

    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        self._record.ended(trial.config["number"])
        _forget(trial)

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        self._record.ended(trial.config["number"], _what_was_raised(trial.error_file), failed=True)
        _forget(trial)


def _forget(trial: RayTrial) -> None:
    """Free what Ray keeps of a trial that ended: 100 kB, mostly statistics that nobody reads."""
    known = trial.run_metadata
    known.metric_analysis, known.metric_n_steps = {}, {}
    known.checkpoint_manager = _CheckpointManager(None)  # it has the report at every checkpoint


def _own_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """The floats that a trial reported, without what Ray adds to them."""
    from ray.tune.result import AUTO_RESULT_KEYS

    own = (k for k, v in result.items() if isinstance(v, float) and k not in AUTO_RESULT_KEYS)
    return {key: result[key] for key in own}


def _what_was_raised(error_file: str | None) -> str:
    """The exception of the last failure; its traceback stays in the file, in the trial's folder."""
    if error_file is None or not Path(error_file).exists():
        return "ended without a message"
    text = Path(error_file).read_text(encoding="utf-8", errors="replace")
    return _last_raised(text.rpartition("Failure # ")[2].splitlines()[1:])


def _last_raised(lines: Sequence[str]) -> str:
    """The last line that names an exception, else the first one."""
    said = [line for line in lines if line.strip()]
    raised = [line for line in said if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (raised[-1:] or said[:1] or ["ended without a message"])[0][:500]
