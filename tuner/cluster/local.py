"""Run trials one after the other in this process, without Ray.

For debugging a network with pdb, for tests, and for machines on which Ray cannot start. Files and
numbers are those of one worker on Ray. A trial that hangs is not ended: it may be in a debugger.
"""

import bdb
import math
import tempfile
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from pyarrow.fs import FileSystem, LocalFileSystem, copy_files

from trainables.checkpoint import newest_whole
from trainables.data import Data
from tuner.cluster.asha import Asha, Decision
from tuner.cluster.failures import is_full, last_raised, retry_note
from tuner.cluster.interruption import Interruption
from tuner.cluster.scoring import score_checkpoint
from tuner.record import Follower, Record
from tuner.space import ResourceConfig
from tuner.storage import join, resolve_location
from tuner.study import Trial

if TYPE_CHECKING:
    from trainables.trial import Report


@final
class LocalExecutor:
    """Runs the trials of a search in this process."""

    def __init__(self, resources: ResourceConfig) -> None:
        self._threads = resources.threads_per_trial
        self._wants_gpu = resources.gpus_per_trial != 0

    @property
    def addresses(self) -> dict[str, str]:
        """Return none: nothing of it can be watched from elsewhere."""
        return {}

    def prepare(self, location: str, interrupted: Interruption) -> None:
        """Check nothing: what a trial needs was checked with the request."""

    def listeners(self, record: Record) -> list[Follower]:
        """Return none."""
        return []

    @property
    def _use_gpu(self) -> bool:
        import torch

        return self._wants_gpu and torch.cuda.is_available()

    def run_trials(
        self, record: Record, data: Data, location: str, interrupted: Interruption
    ) -> None:
        """Run trials until the search has no more, its budget is used up, or it is interrupted."""
        asha = Asha(record.spec.asha, record.spec.search.seed)
        asha.refill({number: trial.scores for number, trial in record.trials.items()})
        try:
            while not interrupted.is_set() and record.halted is None:
                with _writing(record):
                    trial = record.next_trial()
                if trial is None:
                    return
                _TrialRun(record, data, asha, location, interrupted).run(
                    trial, self._threads, self._use_gpu
                )
        except _Halted:
            return
        except bdb.BdbQuit:  # "q" at pdb's prompt
            interrupted.set()
        except KeyboardInterrupt:
            if not interrupted.is_set():
                raise

    def run_final(self, record: Record, data: Data, interrupted: Interruption) -> None:
        """Score the finalists again, one after the other, until done or interrupted."""
        for trial in record.start_final():
            record.moment_passed()
            try:
                with interrupted.breaking():
                    w1, w1_stderr, seconds = score_checkpoint(
                        str(trial.checkpoint),
                        data,
                        record.spec.objective,
                        self._threads,
                        self._use_gpu,
                    )
            except KeyboardInterrupt:
                if not interrupted.is_set():
                    raise
                return
            except Exception as error:  # whatever it is, the others are scored
                record.final_failed(trial.number, _reason(error))
                continue
            if math.isfinite(w1):
                record.final_scored(trial.number, w1, w1_stderr, seconds)
            else:
                record.final_failed(trial.number, "its samples are not finite")


class _Halted(Exception):
    """The search's own files cannot be written: the record has been told so."""


@contextmanager
def _writing(record: Record) -> Iterator[None]:
    """Halt the search where its own files cannot be written."""
    try:
        yield
    except OSError as error:
        record.cannot_write(error)
        raise _Halted from error


@dataclass(frozen=True)
class _TrialRun:
    """What a trial runs with."""

    record: Record
    data: Data
    asha: Asha
    location: str
    interrupted: Interruption

    def run(self, trial: Trial, threads: int, use_gpu: bool) -> None:
        """Run a trial to its end, and again from its last checkpoint as often as it may fail."""
        number, num_retries = trial.number, self.record.spec.resources.retries_per_trial
        num_saved = 0
        for num_failed in range(1, num_retries + 2):
            reports = self._reports(number, threads, use_gpu)
            try:
                while True:
                    with self.interrupted.breaking():
                        report, note = next(reports, (None, None))
                    if report is None:
                        break
                    if note is not None:
                        self.record.note(f"trial {number:05d}: {note}")
                    num_saved += report.save is not None
                    if not self._continues(number, report, num_saved):
                        break
                with _writing(self.record):
                    self.record.ended(number)
                return
            except (bdb.BdbQuit, _Halted):
                raise
            except Exception as error:  # of the trial's, which may be anything
                traceback.print_exception(error)
                reason = _reason(error)
            finally:
                reports.close()
            if is_full(reason):
                self.record.halt(reason)
                return
            if num_failed > num_retries:
                with _writing(self.record):
                    self.record.ended(number, reason, failed=True)
            else:
                self.record.note(retry_note(number, num_failed, num_retries, reason))

    def _reports(
        self, number: int, threads: int, use_gpu: bool
    ) -> Generator[tuple["Report", str | None]]:
        """Train from the newest whole checkpoint; the first report may come with a note."""
        from trainables.trial import Schedule, device_notes, run, start_worker

        spec, trial = self.record.spec, self.record.trials[number]
        schedule = Schedule(rungs=spec.asha.rungs, **spec.reporting.model_dump())
        device = start_worker(threads, use_gpu)
        with newest_whole(map(_Checkpoint.at, trial.checkpoints)) as (folder, notes):
            notes += device_notes(trial.config, device, use_gpu)
            note = "; ".join(notes) or None
            for report in run(trial.config, self.data, schedule, device, folder):
                yield report, note
                note = None

    def _continues(self, number: int, report: "Report", num_saved: int) -> bool:
        """Record a report, in the order in which Ray Tune does; tell whether to train on."""
        record, metrics = self.record, report.metrics
        folder = None if report.save is None else self._save(number, report, num_saved - 1)
        stops = record.is_over_budget or (
            self.asha.report(
                number, int(metrics["generator_steps"]), record.spec.objective.score_of(metrics)
            )
            is Decision.STOP
        )
        with _writing(record):
            record.reported(number, metrics, goes_on=not stops)
            if folder is not None:
                record.checkpointed(number, folder)
        return not stops

    def _save(self, number: int, report: "Report", index: int) -> str:
        """Save a trial where Ray would; returns the folder or URI of the checkpoint."""
        name = f"{self.record.spec.name}_{number:05d}"
        folder = join(self.location, name, f"checkpoint_{index:06d}")
        file_system, path = resolve_location(folder)
        with tempfile.TemporaryDirectory() as scratch:
            assert report.save is not None  # noqa: S101  # the caller asked
            report.save(Path(scratch))
            file_system.create_dir(path, recursive=True)
            copy_files(scratch, path, LocalFileSystem(), file_system)
        return folder


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint's folder in some file system."""

    path: str
    filesystem: FileSystem | None

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


def _reason(error: Exception) -> str:
    lines: Sequence[str] = "".join(traceback.format_exception(error)).splitlines()
    return last_raised(lines)
