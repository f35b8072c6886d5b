"""One sitting of a search: opens its folder, wires the parts together, leaves the results."""

import fcntl
import importlib.util
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Literal

from rich.console import Console

from trainables.data import Data
from tuner import results
from tuner.display import Display
from tuner.errors import BadInput, Fault
from tuner.record import Record
from tuner.spec import SearchSpec
from tuner.study import Study, Trial
from tuner.tracking import Tracker

Ended = Literal["finished", "interrupted", "failed"]


@dataclass(frozen=True)
class Outcome:
    """How a sitting ended. ``best`` is ``None`` where no trial has completed."""

    interrupted: bool
    best: Trial | None
    summary: str
    notes: tuple[str, ...]  # on the best: what it is tied with, and what the final could not do
    mlflow_command: str
    mlflow_missing: str | None


def run(
    spec: SearchSpec,
    data: Data,
    runs_dir: Path,
    address: str | None,
    num_cpus: int,
    console: Console,
) -> Outcome:
    """Start a search, or go on with the one in its folder, until it is done or interrupted.

    Args:
        spec: The search.
        data: That it names.
        runs_dir: The folder of all searches.
        address: A Ray cluster, or ``None`` for one on this machine.
        num_cpus: CPUs of a cluster that is started here.
        console: Where progress is shown.
    """
    if address is None:
        # Read when Ray is imported. Its servers run any code that they are sent: on this machine
        # alone they need not listen to any other.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    from tuner import cluster  # a second of import, and not needed to refuse a search

    with ExitStack() as stack:
        run_dir = stack.enter_context(_own_folder(runs_dir / spec.name))
        interrupted = stack.enter_context(_interruptible())
        console.print("starting Ray ..." if address is None else f"joining Ray at {address} ...")
        # Before anything is written: a cluster may turn out not to be there, or too small.
        connection = cluster.connected(address, spec.resources, num_cpus, _own_code(spec))
        dashboard = stack.enter_context(connection)
        if not (run_dir / "spec.yaml").exists():
            results.write_atomically(run_dir / "spec.yaml", spec.to_yaml())
        study = Study(run_dir / "study.log", spec)
        _check_data(study, data)
        console.print(_floor_text(study, data, spec))
        tracker = _tracker(spec, runs_dir, study.search_id, lambda text: console.print(text))
        record = Record(run_dir, spec, study, tracker)
        ended: Ended = "failed"
        try:
            addresses = {"dashboard": dashboard, "MLflow": tracker.ui_command}
            with Display(console, addresses).showing(record):
                shared = cluster.share(data)
                slots = cluster.num_slots(spec.resources) if address is None else None
                cluster.run(record, shared, time.strftime("%Y%m%d-%H%M%S"), interrupted, slots)
                if not interrupted.is_set():
                    record.end_waiting()
                    cluster.run_final(record, shared, interrupted)
            ended = "interrupted" if interrupted.is_set() else "finished"
        finally:
            missing = _leave(record, tracker, ended)
        return Outcome(
            interrupted=ended == "interrupted",
            best=record.best_so_far,
            summary=_summary(record),
            notes=_notes(record),
            mlflow_command=tracker.ui_command,
            mlflow_missing=missing,
        )


def _leave(record: Record, tracker: Tracker, ended: Ended) -> str | None:
    """Write the results; returns what MLflow lacks of them, in words."""
    record.close()
    if record.best_so_far is not None:
        results.write_best(record.run_dir, record.best_so_far, record.trials.values())
    return tracker.close(ended, [path for path in _kept(record.run_dir) if path.exists()])


def _own_code(spec: SearchSpec) -> list[Path]:
    """The user's own modules, but for those that are installed: as the nodes' own must be."""
    found = [importlib.util.find_spec(name) for name in sorted(spec.own_modules)]
    files = [Path(module.origin) for module in found if module is not None and module.origin]
    code = [file.parent if file.name == "__init__.py" else file for file in files]
    return [path for path in code if "site-packages" not in path.parts]


@contextmanager
def _own_folder(run_dir: Path) -> Iterator[Path]:
    """The search's folder, made and held: two drivers in one would undo each other's work."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = f"{run_dir} is in use by a search that is running: wait, or give another --name"
            raise BadInput("name", [Fault("", what)]) from None
        try:
            yield run_dir
        finally:
            if [path.name for path in run_dir.iterdir()] == [".lock"]:
                shutil.rmtree(run_dir)  # it was refused: leave nothing behind


@contextmanager
def _interruptible() -> Iterator[Event]:
    """An event that the first Ctrl-C (or SIGTERM) sets; the second one is not held back."""
    interrupted = Event()

    def handle(*_: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_data(study: Study, data: Data) -> None:
    """Trials of other data, or of another split, would not compare with those that there are."""
    fingerprint = data.fingerprint()
    if study.data is None:
        study.set_data(fingerprint)
    elif study.data != fingerprint:
        what = "are not those that this search began with: put them back as they were to resume"
        raise BadInput("--resume", [Fault("data", f"{what}, or start another search by --name")])


def _floor_text(study: Study, data: Data, spec: SearchSpec) -> str:
    """Measure once in a search what real samples score, and say so."""
    if (known := study.floor) is None:
        from trainables.trial import floor, start_worker

        start_worker(spec.resources.threads_per_trial)  # more only wait for each other
        found = floor(data, spec.objective)
        known = {"w1_floor": found.w1, "w1_floor_stderr": found.w1_stderr}
        study.set_floor(known)
    error = results.half_width(known["w1_floor_stderr"])
    return f"floor: w1 {known['w1_floor']:.4g} +- {error:.2g} (95%), of real samples"


def _notes(record: Record) -> tuple[str, ...]:
    notes = [
        f"trial {number:05d} could not be scored again ({why}): it keeps its rung's score, and "
        "--resume tries it again"
        for number, why in record.final_faults.items()
    ]
    finalists = record.finalists
    num_tried = sum(t.final is not None or t.number in record.final_faults for t in finalists)
    if record.in_final and num_tried < len(finalists):
        notes.append(f"the final has scored {num_tried} of {len(finalists)} trials so far")
    ties = record.best_so_far and results.ties_text(record.best_so_far, record.trials.values())
    return (*([ties] if ties else []), *notes)


def _tracker(
    spec: SearchSpec, runs_dir: Path, search_id: str, warn: Callable[[str], None]
) -> Tracker:
    return Tracker(
        spec.mlflow.tracking_uri or f"sqlite:///{runs_dir}/mlflow.db",
        spec.mlflow.experiment,
        None if spec.mlflow.tracking_uri else (runs_dir / "mlflow-artifacts").as_uri(),
        spec.name,
        search_id,
        params={"seed": spec.search.seed, "sampler": spec.search.sampler},
        tags={"data": spec.data.dataset, "objective": spec.objective.name},
        warn=warn,
    )


def _kept(run_dir: Path) -> list[Path]:
    names = ("spec.yaml", "trials.csv", "best.yaml", "best/generator.pt", "best/samples.png")
    return [run_dir / name for name in names]


def _summary(record: Record) -> str:
    counts = record.counts()
    by_status = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    training_s, scoring_s = (
        sum(t.metrics.get(key, 0.0) for t in record.trials.values())
        for key in ("training_seconds", "scoring_seconds")
    )
    finals = [t.final["final_scoring_seconds"] for t in record.trials.values() if t.final]
    final = f", {sum(finals):.0f} s of the final" if finals else ""
    return (
        f"{sum(counts.values())} trials in {record.elapsed_s:.0f} s: {by_status or 'none'}; "
        f"{training_s:.0f} s of training, {scoring_s:.0f} s of scoring{final}"
    )
