"""Run trials one after the other in this process, without Ray.

For debugging a network with pdb, for tests, and for machines on which Ray cannot start. Files and
numbers are those of one worker on Ray. A trial that hangs is not ended: it may be in a debugger.
"""

import bdb
import itertools
import math
import tempfile
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

from pyarrow.fs import FileSystem, LocalFileSystem, copy_files

from trainables.checkpoint import newest_whole
from trainables.data import Data
from tuner.cluster.asha import Decision, Halving, halving_of
from tuner.cluster.failures import is_full, last_raised, retry_note
from tuner.cluster.interruption import Interruption
from tuner.cluster.scoring import score_checkpoint, score_real_samples
from tuner.record import Listener, Record
from tuner.space import ResourceConfig
from tuner.storage import join, resolve_location


@final
class LocalExecutor:
    """Runs the trials of a search in this process."""

    def __init__(self, resources: ResourceConfig, say: Callable[[str], None]) -> None:
        """Start nothing yet.

        Args:
            resources: The resources of one trial.
            say: Shows the traceback of a trial that failed.
        """
        self._threads = resources.threads_per_trial
        self._wants_gpu = resources.gpus_per_trial != 0
        self._say = say
        self._data: Data | None = None

    @property
    def addresses(self) -> dict[str, str]:
        """Return none: nothing of it can be watched from elsewhere."""
        return {}

    def prepare(self, location: str, interrupted: Interruption) -> None:
        """Check nothing: what a trial needs was checked with the request."""

    def listeners(self, record: Record) -> list[Listener]:
        """Return none."""
        return []

    @property
    def _use_gpu(self) -> bool:
        import torch

        return self._wants_gpu and torch.cuda.is_available()

    def load(self, data: Data) -> None:
        """Keep the data."""
        self._data = data

    @property
    def _loaded(self) -> Data:
        if self._data is None:
            raise RuntimeError("call load first")
        return self._data

    def leave(self) -> None:
        """Leave nothing: it is this process."""

    def run_trials(self, record: Record, location: str, interrupted: Interruption) -> None:
        """Run trials until the search has no more, its budget is used up, or it is interrupted."""
        asha = halving_of(record)
        trials = _Trials(
            record,
            self._loaded,
            asha,
            location,
            interrupted,
            self._threads,
            self._use_gpu,
            self._say,
        )
        try:
            while not interrupted.is_set() and record.halted is None:
                with _writing(record):
                    trial = record.next_trial(asha.promote)
                if trial is None:
                    return
                trials.run(trial.number)
        except _Halted:
            return
        except bdb.BdbQuit:  # "q" at pdb's prompt
            interrupted.set()
        except KeyboardInterrupt:
            if not interrupted.is_set():
                raise

    def run_final(self, record: Record, interrupted: Interruption) -> None:
        """Score the finalists again, one after the other, until done or interrupted."""
        objective, threads, use_gpu = record.spec.objective, self._threads, self._use_gpu
        finalists = record.start_final()
        try:
            if finalists and record.final_floor is None:
                with interrupted.breaking():
                    floor = score_real_samples(self._loaded, objective, threads, use_gpu)
                record.final_floor_scored(floor)
            for trial in finalists:
                record.tick()
                try:
                    with interrupted.breaking():
                        score = score_checkpoint(
                            trial.best_generator,
                            trial.name_in(record.spec.name),
                            self._loaded,
                            objective,
                            threads,
                            use_gpu,
                            record.spec.code_modules,
                        )
                except bdb.BdbQuit:
                    raise
                except Exception as error:  # the user's network may raise anything
                    record.final_failed(trial.number, last_raised(_traceback(error).splitlines()))
                    continue
                if math.isfinite(score.w1):
                    record.final_scored(trial.number, score)
                else:
                    record.final_failed(trial.number, "its samples are not finite")
        except bdb.BdbQuit:
            interrupted.set()
        except KeyboardInterrupt:
            if not interrupted.is_set():
                raise


class _Halted(Exception):
    """The search's own files cannot be written, as the record knows."""


@contextmanager
def _writing(record: Record) -> Iterator[None]:
    """Halt the search where its own files cannot be written."""
    try:
        yield
    except OSError as error:
        record.cannot_write(error)
        raise _Halted from error


@dataclass(frozen=True)
class _Reported:
    """A report of a trial, which has saved itself in ``folder``, if in any."""

    metrics: dict[str, float]
    folder: str | None
    note: str | None


@dataclass(frozen=True)
class _Trials:
    """Runs trials of a search."""

    record: Record
    data: Data
    asha: Halving
    location: str
    interrupted: Interruption
    threads: int
    use_gpu: bool
    say: Callable[[str], None]

    def run(self, number: int) -> None:
        """Run a trial until it waits or ends, from its last checkpoint as often as it may fail."""
        num_retries = self.record.spec.resources.retries_per_trial
        folders = self._folders(number)
        for num_failed in itertools.count(1):
            failure = self._attempt(number, folders)
            if failure is None:
                with _writing(self.record):
                    self.record.left(number)
                return
            self.say(failure)
            reason = last_raised(failure.splitlines())
            if is_full(reason):
                self.record.halt(reason)
                return
            if num_failed > num_retries:
                with _writing(self.record):
                    self.record.ended(number, reason, failed=True)
                return
            self.record.note(retry_note(number, num_failed, num_retries, reason))

    def _attempt(self, number: int, folders: Iterator[str]) -> str | None:
        """Run a trial from its newest whole checkpoint to its end.

        Returns:
            The traceback of what was raised in it, else ``None``. As text: the exception itself
            would keep the tensors of its frames.
        """
        with closing(self._reports(number, folders)) as reports:
            while True:
                try:
                    with self.interrupted.breaking():
                        report = next(reports, None)
                except bdb.BdbQuit:
                    raise
                except Exception as error:  # the user's network may raise anything
                    return _traceback(error)
                if report is None or not self._continues(number, report):
                    return None

    def _reports(self, number: int, folders: Iterator[str]) -> Generator[_Reported]:
        """Train a trial and save it; the first report may come with a note."""
        from trainables.trial import Schedule, device_notes, identity_of, run, start_worker

        spec, trial = self.record.spec, self.record.trials[number]
        schedule = Schedule(rungs=spec.asha.rungs, **spec.reporting.model_dump())
        device = start_worker(self.threads, self.use_gpu)
        name = trial.name_in(spec.name)
        found = newest_whole(
            map(_Checkpoint.at, trial.checkpoints), identity_of(name, trial.config)
        )
        with found as (checkpoint, notes):
            notes += device_notes(trial.config, device, self.use_gpu)
            note = "; ".join(notes) or None
            for report in run(trial.config, self.data, schedule, device, checkpoint, name):
                folder = None if report.save is None else _save(report.save, next(folders))
                yield _Reported(report.metrics, folder, note)
                note = None

    def _folders(self, number: int) -> Iterator[str]:
        """Give the folder or URI of each checkpoint of a trial, as Ray names them."""
        trial = join(self.location, self.record.trials[number].folder_in(self.record.spec))
        return (join(trial, f"checkpoint_{index:06d}") for index in itertools.count())

    def _continues(self, number: int, report: _Reported) -> bool:
        """Record a report, in the order in which Ray Tune does; tell whether to train on."""
        record, metrics = self.record, report.metrics
        steps, score = int(metrics["generator_steps"]), record.spec.objective.score_of(metrics)
        decision = (
            Decision.STOP if record.is_over_budget else self.asha.report(number, steps, score)
        )
        continues = decision is Decision.CONTINUE
        with _writing(record):
            if report.note is not None:
                record.note(f"trial {number:05d}: {report.note}")
            waits = decision is Decision.WAIT
            record.reported(number, metrics, continues=continues, waits=waits)
            if report.folder is not None:
                record.checkpointed(number, report.folder)
        return continues


def _traceback(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


def _save(save: Callable[[Path], None], folder: str) -> str:
    """Write a checkpoint into a new folder, which may be a URI; return it."""
    file_system, path = resolve_location(folder)
    with tempfile.TemporaryDirectory() as scratch:
        save(Path(scratch))
        file_system.create_dir(path, recursive=True)
        copy_files(scratch, path, LocalFileSystem(), file_system)
    return folder


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint's folder in some file system."""

    path: str
    filesystem: FileSystem

    @classmethod
    def at(cls, location: str) -> "_Checkpoint":
        file_system, path = resolve_location(location)
        return cls(path, file_system)

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        if isinstance(self.filesystem, LocalFileSystem):
            yield self.path
            return
        with tempfile.TemporaryDirectory() as scratch:
            copy_files(self.path, scratch, self.filesystem, LocalFileSystem())
            yield scratch
