"""One session of a search: opens its folder, wires the parts together, leaves the results."""

import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from trainables.checkpoint import DamagedCheckpointError
from trainables.config import code_of
from trainables.data import Data
from trainables.trial import settings_restored
from tuner import page, results, storage, tracking
from tuner.cluster import Interruption, interruptible
from tuner.display import Display, LogFile, acknowledging, working
from tuner.driver.final import run_final
from tuner.driver.resume import changes, check_data
from tuner.errors import BadInput, Fault
from tuner.process import raise_dropped_interrupt
from tuner.record import Record
from tuner.results import ties_text, trials_text, write_best
from tuner.retrain import Origin, continue_trial
from tuner.space import SearchSpec, read_saved_spec
from tuner.storage import Mirror, join, write_atomically
from tuner.study import Study, Trial
from tuner.tracking import Follower, SessionEnd, Tracker, kept_files, kept_generator

if TYPE_CHECKING:
    from tuner.cluster import Executor
    from tuner.page import ImportanceCache

#: Seconds that MLflow and remote storage each get at the end for their last writes. A machine that
#: is taken away leaves little time.
_TIME_TO_FINISH_S, _TIME_TO_GO_S = 60.0, 5.0
#: Seconds for the sampling error of the report's importances: enough for rough intervals.
#: ``python -m tuner.report`` takes longer, and draws finer ones.
_TIME_TO_DRAW_S, _TIME_TO_DRAW_AND_GO_S = 3.0, 1.0


@dataclass(frozen=True)
class Outcome:
    """Outcome of a session. ``best`` is ``None`` where no trial has completed.

    ``halted`` says what from outside the search stopped it, to be fixed before a resume;
    ``notes`` whom the best is tied with, and what could not be done or written.
    """

    interrupted: bool
    halted: str | None
    best: Trial | None
    summary: str
    notes: tuple[str, ...]
    mlflow_command: str


@dataclass(frozen=True)
class Place:
    """Place where a search runs: this process, a Ray cluster's address, or a Ray started here.

    ``give_up`` ends the process, with a reason, if it is stuck within a Ray that has lost a server.
    """

    address: str | None
    num_cpus: int
    runtime_env: Mapping[str, Any] | None = None
    is_local: bool = False
    give_up: Callable[[str], object] = lambda reason: None


def run_session(
    spec: SearchSpec,
    data: Data,
    runs_dir: Path,
    place: Place,
    console: Console,
    *,
    served_on: socket.socket | None = None,
    continues: Origin | None = None,
) -> Outcome:
    """Start a search, or resume the one in its folder, until it is done or interrupted.

    Args:
        spec: The search.
        data: The data that it names.
        runs_dir: The folder of all searches.
        place: Where its trials run.
        console: Where progress is shown.
        served_on: The socket on which the report is served while trials run, if any.
        continues: A trial of another search that this one, of one trial, begins with.
    """
    say = console.print
    with ExitStack() as stack:
        run_dir = stack.enter_context(storage.own_folder(runs_dir / spec.name))
        stack.enter_context(settings_restored())
        threading.Thread(
            target=_import_meanwhile, args=(place.is_local,), name="imports", daemon=True
        ).start()
        # Before Ray starts, or an exception of a signal might be lost within it.
        interrupted = stack.enter_context(interruptible())
        raise_dropped_interrupt()
        # Before anything is written: a cluster may turn out not to be there, or unfit.
        ray = f"joining Ray at {place.address}" if place.address else "starting Ray"
        stopping = "stopping, once Ray has started; Ctrl-C again ends it at once"
        with (
            nullcontext() if place.is_local else working(console, ray),
            acknowledging(interrupted, console, stopping),
        ):
            executor = stack.enter_context(_executor(spec, place, interrupted, say))
        interrupted.listen()  # a later Ray's start may have set handlers of its own
        if interrupted.is_set():
            raise KeyboardInterrupt
        location = join(spec.results.location or str(runs_dir), spec.name)
        try:
            executor.prepare(location, interrupted)
            mirror = stack.enter_context(_mirrored(spec, run_dir, location, say))
        except OSError as error:
            raise BadInput("results.storage", [Fault("", str(error))]) from error
        saved = run_dir / "spec.yaml"
        if not saved.exists():
            write_atomically(saved, spec.to_yaml())
        study = Study(run_dir / "study.log", spec, location)
        _check_data(study, data)
        if continues is not None:
            continue_trial(continues, study, run_dir, location)
        results.append_session(run_dir, place.num_cpus, study.data)
        _update_spec(saved, spec, say)
        if foreign := study.foreign_checkpoints():
            say(_foreign_text(foreign, location))
        with working(console, "measuring the w1 of real samples", delay_s=1):
            data = _mapped(data, spec, say)
            floor = _floor_text(study, data, spec)
        say(floor)
        tracker = Tracker(spec, run_dir, study.search_id, warn=lambda text: say(text))
        boards = tracking.boards_of(spec, run_dir, study.search_id, warn=lambda text: say(text))
        record = Record(run_dir, spec, study)
        ended: SessionEnd = "failed"
        troubles: list[str] = []
        cache: ImportanceCache = {}
        try:
            addresses = {
                **executor.addresses,
                "MLflow": tracker.ui_command,
                **{follower.board.name: follower.board.command for follower in boards},
            }
            if served_on is not None:
                stack.enter_context(page.served(run_dir, served_on))
                addresses = {"report": page.address_of(served_on), **addresses}
            record.listeners += [tracker, *boards, LogFile(record), *executor.listeners(record)]
            shown = Display(console, addresses, None if place.is_local else interrupted)
            with shown.showing(record):
                record.start()
                record.remove_superseded()
                executor.load(data)
                del data  # or this process would keep a second copy
                _run_all(executor, record, join(location, "ray"), interrupted, cache)
            stopped = interrupted.is_set() or record.halted is not None
            ended = "interrupted" if stopped else "finished"
        finally:
            with working(console, "writing the results", delay_s=1):
                executor.leave()
                troubles = _leave(record, [tracker, *boards], mirror, ended, cache)
        return Outcome(
            interrupted=ended == "interrupted",
            halted=record.halted,
            best=record.best_so_far,
            summary=_summary(record),
            notes=(*_notes(record), *troubles),
            mlflow_command=tracker.ui_command,
        )


def _update_spec(path: Path, spec: SearchSpec, say: Callable[[str], None]) -> None:
    """Bring the search's ``spec.yaml`` up to date, after saying what has changed.

    Its first line is a comment on what it was run by, which a resume does not compare.
    """
    origin = results.provenance_text(results.read_sessions(path.parent))
    text = f"# {origin}\n{spec.to_yaml()}" if origin else spec.to_yaml()
    if path.read_text(encoding="utf-8") == text:
        return
    for change in changes(read_saved_spec(path), spec):
        say(f"changed: {change}")
    # Its time is when the search began, which tuner.list shows: to the second, as the copying to
    # the storage sees by another time that the file has changed.
    time_ns = path.stat().st_mtime_ns + 1_000_000
    write_atomically(path, text)
    os.utime(path, ns=(time_ns, time_ns))


def _executor(
    spec: SearchSpec, place: Place, interrupted: Interruption, say: Callable[[str], None]
) -> AbstractContextManager["Executor"]:
    """Choose what runs the trials; each is imported only where it is used."""
    if place.is_local:
        from tuner.cluster import LocalExecutor

        return nullcontext(LocalExecutor(spec.resources, say))
    if place.address is None:
        # Read when Ray is imported. Its servers run any code that they are sent: on this machine
        # alone they need not listen to any other.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    from tuner.cluster import Servers, ray_executor

    return ray_executor(
        spec.resources,
        place.address,
        place.num_cpus,
        _own_code(spec),
        place.runtime_env,
        say,
        Servers(interrupted, place.give_up),
        all_train=_fills(spec, place.num_cpus),
    )


def _run_all(
    executor: "Executor",
    record: Record,
    location: str,
    interrupted: Interruption,
    cache: "ImportanceCache",
) -> None:
    # The random part is for a clock that was set back to when an earlier session began.
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    session = join(location, name)
    executor.run_trials(record, session, interrupted)
    if interrupted.is_set() or record.halted is not None:
        return
    drawing = ThreadPoolExecutor(1, thread_name_prefix="report")
    try:
        record.end_waiting()
        # Now, while others compute: the final changes nothing in what mattered at the rungs. What
        # goes wrong with it is met again, and reported, at the end.
        drawing.submit(_draw, record.run_dir, _TIME_TO_DRAW_S, cache)
        run_final(executor, record, location, name, interrupted)
    except OSError as error:
        record.cannot_write(error)
    finally:
        drawing.shutdown(wait=not interrupted.is_set())


def _draw(
    run_dir: Path, limit_s: float, cache: "ImportanceCache", *, is_over: bool = False
) -> None:
    page.write_report(run_dir, is_over=is_over, limit_s=limit_s, cache=cache)


def _import_meanwhile(is_local: bool) -> None:
    """Import the modules that are needed next, while Ray starts its processes."""
    tracking.prepare_store()
    if not is_local:
        from tuner import cluster  # noqa: F401  # and Ray Tune


def _fills(spec: SearchSpec, num_cpus: int) -> bool:
    """Tell whether there is a trial for each CPU, and no GPU to wait for."""
    import torch

    limits = (spec.search.max_concurrent_trials, spec.num_trials)
    are_enough = all(limit is None or limit >= num_cpus for limit in limits)
    fits = spec.resources.cpus_per_trial <= 1 and not spec.resources.custom
    takes_gpus = spec.resources.gpus_per_trial != 0 and torch.cuda.is_available()
    return are_enough and fits and not takes_gpus


@contextmanager
def _mirrored(
    spec: SearchSpec, run_dir: Path, location: str, say: Callable[[str], None]
) -> Iterator[Mirror | None]:
    """Copy the search's own files next to its checkpoints, if these are remote.

    An exception in the block, such as that of a start that is refused, ends the copying and
    releases the lease.
    """
    if spec.results.storage is None:
        yield None
        return
    mirror = Mirror(run_dir, location, warn=lambda text: say(text))
    mirror.start()
    try:
        yield mirror
    except BaseException:
        mirror.close(_TIME_TO_GO_S)
        raise


def _leave(
    record: Record,
    followers: Sequence[Follower],
    mirror: Mirror | None,
    ended: SessionEnd,
    cache: "ImportanceCache",
) -> list[str]:
    """Write the results; returns what could not be written, in words."""
    # An interrupted process may be killed in seconds: what a resume needs is saved first.
    timeout_s, draw_s = _TIME_TO_FINISH_S, _TIME_TO_DRAW_S
    if ended == "interrupted":
        timeout_s, draw_s = _TIME_TO_GO_S, _TIME_TO_DRAW_AND_GO_S
    troubles = []
    best = record.best_so_far
    for what, write in (
        ("the last of the results", record.close),
        ("best/", lambda: best and _write_best(record, best)),
    ):
        try:
            write()
        except (OSError, DamagedCheckpointError) as error:
            troubles.append(f"{what} could not be written: {error}")
    try:
        _draw(record.run_dir, draw_s, cache, is_over=True)
    except Exception as error:  # a page that cannot be drawn must not end the search
        troubles.append(f"report.html could not be written: {error}")
    missing = [mirror.close(timeout_s) if mirror else None]
    # The model takes seconds: of an interrupted search a resume, or tuner.sync, writes it.
    generator = None if ended == "interrupted" else kept_generator(record.run_dir)
    if generator is not None:
        try:
            results.check_code(generator, record.spec.code_modules)
        except BadInput as error:  # a file that this search has not written
            troubles.append(f"MLflow got no model: {generator} {error.faults[0].message}")
            generator = None
    files = kept_files(record.run_dir)
    missing += [one.close(ended, files, timeout_s, generator=generator) for one in followers]
    return [*troubles, *(text for text in missing if text is not None)]


def _write_best(record: Record, best: Trial) -> None:
    write_best(record.run_dir, best, record.by_number(), record.spec.name)


def _own_code(spec: SearchSpec) -> list[Path]:
    """Find the user's own modules that are not installed, which the nodes lack."""
    code = [path for name in sorted(spec.custom_modules) for path in code_of(name)]
    return [path for path in code if "site-packages" not in path.parts]


def _check_data(study: Study, data: Data) -> None:
    """Record which data the search is of, or check that they are the same."""
    if study.data is None:
        study.set_data(data.fingerprint())
    else:
        check_data(study.data, data)


def _foreign_text(foreign: Sequence[str], location: str) -> str:
    checkpoints = f"{len(foreign)} checkpoint{'s' * (len(foreign) > 1)}"
    return (
        f"study.log names {checkpoints} outside of {storage.redact(location)}, such as "
        f"{storage.redact(foreign[0])}: neither read nor deleted"
    )


def _mapped(data: Data, spec: SearchSpec, say: Callable[[str], None]) -> Data:
    """Map the real samples by the ground metric, once for all trials."""
    from trainables.ground import with_ground
    from trainables.trial import start_worker

    # More threads only wait for each other.
    start_worker(spec.resources.threads_per_trial, use_gpu=False)
    data = with_ground(data, spec.objective)
    if data.mapped is not None:
        bound = data.mapped.lipschitz
        known = f"at most {bound:.3g}" if bound < math.inf else "not known"
        say(f"ground metric: {data.mapped.ground} (Lipschitz constant {known})")
    return data


def _floor_text(study: Study, data: Data, spec: SearchSpec) -> str:
    """Measure the score of real samples, once in a search, and describe it."""
    if (floor := study.floor) is None:
        from trainables.trial import floor as score_real_samples

        found = score_real_samples(data, spec.objective)
        floor = {"w1_floor": found.w1, "w1_floor_stderr": found.w1_stderr}
        study.set_floor(floor)
    error = results.half_width(floor["w1_floor_stderr"])
    return f"floor: w1 {floor['w1_floor']:.4g} +- {error:.2g} (95%), of real samples"


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
    num_seeds = record.spec.objective.final_seeds
    lacking = [t.trial_id for t in finalists if t.final and not results.is_scored(t, num_seeds)]
    if record.in_final and lacking:
        trials = f"trial {lacking[0]} lacks"
        if len(lacking) > 1:
            trials = f"trials {', '.join(lacking)} lack"
        notes.append(f"{trials} scores of further seeds: --resume trains what is missing")
    if (outlook := _outlook_text(record)) is not None:
        notes.append(outlook)
    ties = record.best_so_far and ties_text(record.best_so_far, record.trials.values())
    return (*([ties] if ties else []), *notes)


def _outlook_text(record: Record) -> str | None:
    """Say what twice the budget would have bought, of a search that has ended and could have it."""
    if record.halted is not None or record.running or record.spec.search.sampler == "grid":
        return None
    trials = results.ranked(record.trials.values())
    scores = [trial.score for trial in trials if trial.score is not None]
    return results.outlook_text(scores, record.spec.objective.metric)


def _summary(record: Record) -> str:
    counts = record.counts()
    # The session is over: whatever has not ended waits for a resume.
    names = {"running": "to be resumed"}
    by_status = ", ".join(f"{n} {names.get(status, status)}" for status, n in counts.items() if n)
    training_s, scoring_s = (
        sum(t.metrics.get(key, 0.0) for t in record.trials.values())
        for key in ("training_seconds", "scoring_seconds")
    )
    finals = [
        t.final["final_scoring_seconds"] + t.final.get("final_seeds_seconds", 0.0)
        for t in record.trials.values()
        if t.final
    ]
    final = f", {sum(finals):.0f} s of the final" if finals else ""
    trials = trials_text(sum(counts.values()))
    return (
        f"{trials} in {record.elapsed_s:.0f} s: {by_status or 'none'}; "
        f"{training_s:.0f} s of training, {scoring_s:.0f} s of scoring{final}"
    )
