"""Follow a search's own files from a background thread, to write it elsewhere.

An event only marks its trial as changed and wakes the thread. The thread reads the new lines of
``metrics.jsonl`` and has each changed trial written as the search's folder has it: its reports, its
pictures, its score in the final, its end. At a resume, and for ``tuner.sync``, all trials have
changed and the file is read from its start; nothing else differs. So no trial ever waits for what
is written to, an outage can neither block nor end the search, and all that waits for a slow server
is a set of trial numbers: the later a trial is written, the fewer and larger the requests.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuner.errors import BadInput
from tuner.record import Listener
from tuner.results import Report, ReportLog
from tuner.study import Trial
from tuner.tracking.changes import ChangedTrials, Changes
from tuner.tracking.text import reason
from tuner.tracking.values import now_ms

#: Changes that come within so many seconds are written together: a request costs a store far
#: more than a report in it.
COLLECT_S = 2.0

#: How a session of a search ended.
SessionEnd = Literal["finished", "interrupted", "failed"]


@dataclass(frozen=True)
class TrialUpdate:
    """What there is to write of a trial.

    Attributes:
        trial: The trial as it is now.
        reports: Its reports, but for those of earlier updates.
        since_ms: When there was something to write, in ms since 1970; a run that does not exist
            yet starts then, or at its first report.
        is_running: Whether the trial runs in this session.
        is_all: Whether there are no further reports for now; else only these are written.
    """

    trial: Trial
    reports: Sequence[Report]
    since_ms: int
    is_running: bool
    is_all: bool


class Follower(Listener, ABC):
    """Writer of one search, in a thread of its own: the search never waits for it.

    The methods of a listener return at once and raise nothing. A subclass writes, in the thread;
    each of its methods tells whether to continue.
    """

    def __init__(self, run_dir: Path, thread: str) -> None:
        """Read and start nothing yet.

        Args:
            run_dir: The search's folder.
            thread: The name of the thread.
        """
        self._run_dir = run_dir
        self._thread_name = thread
        self._log = ReportLog(run_dir / "metrics.jsonl")
        self._changed = ChangedTrials()
        self._thread: threading.Thread | None = None
        self._done = threading.Event()
        self._is_closed = False
        self._answer: str | None = None
        self._has_compared = False  # all that is there with all of the folder, once

    @abstractmethod
    def _begin(self, *, resumes: bool) -> bool:
        """Prepare to write, before anything else."""

    @abstractmethod
    def _write_trial(self, update: TrialUpdate) -> bool:
        """Write what is lacking of a trial."""

    @abstractmethod
    def _write_progress(self, trials: Sequence[Trial]) -> bool:
        """Write what changed of the search itself, as these trials changed."""

    @abstractmethod
    def _write_last(self) -> bool:
        """Write the end of the search, after all the rest."""

    @abstractmethod
    def _cannot_read(self, failure: str) -> None:
        """Take note that the search's own log cannot be read, which ends the thread."""

    @abstractmethod
    def _leave(self) -> None:
        """Release what is held, at the end of the thread."""

    @abstractmethod
    def _prepare_end(
        self,
        outcome: SessionEnd,
        artifacts: Sequence[Path],
        generator: Path | None,
        time_ms: int,
    ) -> None:
        """Prepare what is written last, before the thread learns of the end."""

    @abstractmethod
    def _give_up(self) -> str | None:
        """Write nothing more; return what is lacking, as :meth:`close` does."""

    def start(self, trials: Sequence[Trial] = (), *, resumes: bool = True) -> None:
        """Start the thread; first it writes what is lacking of earlier sessions.

        Args:
            trials: All trials of earlier sessions.
            resumes: Whether the search does; else what has ended stays as it is.
        """
        self._has_compared = not trials
        for trial in trials:
            self._changed.mark(trial)
        self._thread = threading.Thread(
            target=self._follow, args=(resumes,), name=self._thread_name, daemon=True
        )
        self._thread.start()

    def close(
        self,
        outcome: SessionEnd,
        artifacts: Sequence[Path] = (),
        timeout_s: float = 60,
        *,
        generator: Path | None = None,
        time_ms: int | None = None,
        on_wait: Callable[[int], None] = lambda num_lacking: None,
    ) -> str | None:
        """Write all that is left, and the end of every trial still open.

        Args:
            outcome: How the search ended.
            artifacts: Files to keep with the search.
            generator: The best trial's, to be kept as a model.
            timeout_s: After so many seconds this returns, whatever happens.
            time_ms: When it ended, in ms since 1970; now, if left out.
            on_wait: Called now and then, while this waits, with how many trials lack something.

        Returns:
            ``None``, or a text that says what is lacking and how to bring it there.
        """
        if self._thread is None or self._is_closed:
            return self._answer
        until = time.monotonic() + timeout_s
        self._is_closed = True
        self._prepare_end(outcome, artifacts, generator, time_ms or now_ms())
        self._changed.close()
        while (left_s := until - time.monotonic()) > 0 and not self._done.wait(min(left_s, 0.2)):
            on_wait(len(self._changed.lacking))
        self._answer = self._give_up()
        return self._answer

    def search_started(self, trials: Sequence[Trial]) -> None:
        """Start the thread."""
        self.start(trials)

    def trial_started(self, trial: Trial) -> None:
        """Mark the trial."""
        self._changed.mark(trial, is_running=True)

    def trial_reported(self, trial: Trial, report: Report) -> None:
        """Mark the trial: its report is read from the log."""
        self._changed.mark(trial)

    def picture_saved(self, trial: Trial, generator_steps: int, path: Path) -> None:
        """Mark the trial."""
        self._changed.mark(trial)

    def trial_waits(self, trial: Trial) -> None:
        """Mark the trial."""
        self._changed.mark(trial, is_running=False)

    def trial_ended(self, trial: Trial) -> None:
        """Mark the trial."""
        self._changed.mark(trial, is_running=False)

    def final_scored(self, trial: Trial) -> None:
        """Mark the trial."""
        self._changed.mark(trial)

    def _follow(self, resumes: bool) -> None:
        """Write what changes until the search closes: the thread's work."""
        try:
            if self._begin(resumes=resumes):
                self._changed.done(None)
                while (changes := self._changed.take(COLLECT_S)) and self._write_changes(changes):
                    self._has_compared = True
                if changes is None and self._write_last():
                    self._changed.all_done()
        except (OSError, ValueError, BadInput) as error:  # the search's own log cannot be read
            is_damaged = isinstance(error, BadInput)
            failure = f"metrics.jsonl: {error.faults[0]}" if is_damaged else reason(error)
            self._cannot_read(failure)
        finally:
            self._leave()
            self._done.set()

    def _write_changes(self, changes: Changes) -> bool:
        """Write the new reports, and the rest of each changed trial; tell whether to continue."""
        is_all = False
        while not is_all:
            # Read after the changes were taken: it has all reports of the trials that have ended.
            reports, is_all = self._log.read()
            others = {n: more for n, more in reports.items() if n not in changes.trials}
            for number, trial in changes.trials.items():
                more, since_ms = reports.get(number, ()), changes.since_ms[number]
                update = TrialUpdate(trial, more, since_ms, number in changes.running, is_all)
                if (is_all or more) and not self._update(update):
                    return False
            if not self._write_reports(others):
                return False
        if not self._write_progress(list(changes.trials.values())):
            return False
        self._changed.done(None)
        return True

    def _write_reports(self, reports: Mapping[int, Sequence[Report]]) -> bool:
        """Write reports that came just now, and whose trials are not among the changes yet."""
        for number, more in reports.items():
            trial, is_running = self._changed.now(number)
            # Of a trial that is unknown a crash cut off the line in the study.
            if trial is not None and not self._update(
                TrialUpdate(trial, more, now_ms(), is_running, is_all=False)
            ):
                return False
        return True

    def _update(self, update: TrialUpdate) -> bool:
        if not self._write_trial(update):
            return False
        if update.is_all:
            self._changed.done(update.trial)
        return True
