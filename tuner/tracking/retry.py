"""Write to MLflow step by step, each until it is written, left out or given up."""

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import final

from tuner.study import Trial
from tuner.tracking.runs import Runs, Step
from tuner.tracking.text import reason

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
MAX_ATTEMPTS_AT_CLOSE = 3
MAX_ATTEMPTS_PER_FILE = 3

# MLflow's words for a request that will never be accepted, however often it is sent.
REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}


@final
class Retries:
    """Writer that outlasts an outage without a limit, until the search closes."""

    def __init__(self, runs: Runs, warn: Callable[[str], None]) -> None:
        """Take the runs that are written; ``warn`` gets one line for each kind of trouble."""
        self._runs = runs
        self._warn = warn
        self._warned: set[str] = set()
        self._files_fail = False
        self._closing, self._abandoned = threading.Event(), threading.Event()
        self.last_failure = "it did not answer in time"
        #: Trials of which MLflow refused a report, by number. No later one may follow: it must
        #: hold their first ones, without a hole, as a resume looks at the last one only.
        self.cut: set[int] = set()

    def close(self) -> None:
        """Cut waiting short, and give up after a few more failures."""
        self._closing.set()

    def abandon(self) -> None:
        """Try nothing any more, and warn of nothing."""
        self._abandoned.set()

    def write(self, steps: Iterable[Step], trial: Trial | None) -> bool:
        """Write the steps of a trial, or of the search itself, in their order.

        Returns:
            Whether to continue with others: all of these are written or left out.
        """
        return all(self._write(step, trial) for step in steps)

    def warn(self, kind: str, text: str) -> None:
        """Warn once of each kind of trouble."""
        if kind in self._warned or self._abandoned.is_set():
            return
        self._warned.add(kind)
        with contextlib.suppress(Exception):  # a broken terminal must not end the thread
            self._warn(text)

    def _write(self, step: Step, trial: Trial | None) -> bool:
        failures = failures_at_close = 0
        while not self._abandoned.is_set():
            try:
                step.write()
            except Exception as error:
                failures += 1
                if self._leaves_out(step, trial, error, failures):
                    return True
            else:
                if step.is_file and trial is not None and trial.number not in self.cut:
                    self._runs.incomplete.discard(trial.trial_id)  # with files that failed before
                return True
            if self._closing.is_set():
                failures_at_close += 1
                if failures_at_close == MAX_ATTEMPTS_AT_CLOSE:
                    return False
                self._abandoned.wait(FIRST_RETRY_S)
            else:  # close() cuts this wait short
                self._closing.wait(min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(failures - 1, 10)))
        return False

    def _leaves_out(self, step: Step, trial: Trial | None, error: Exception, failures: int) -> bool:
        """Tell whether a step that failed so often is left out; if so, note which run lacks it."""
        self.last_failure = reason(error)
        # A file that is gone, or a full store of files: the metrics need not wait for it.
        is_file_only = step.is_file and self._runs.answers()
        is_last = is_file_only and (self._files_fail or failures >= MAX_ATTEMPTS_PER_FILE)
        if step.is_needed or not (is_last or _is_refusal(error)):
            if not is_file_only:
                self.warn("fails", f"cannot be written: {self.last_failure}. The search continues.")
            return False
        self._files_fail |= is_last
        self._runs.incomplete.add(None if trial is None else trial.trial_id)
        if trial is not None and not step.is_file:
            self.cut.add(trial.number)
        what = f"leaves out a write: {self.last_failure}. The search continues without it."
        self.warn("left out", what)
        return True


def _is_refusal(error: Exception) -> bool:
    """Tell whether trying again is in vain: MLflow refused it, or the request is malformed."""
    code = getattr(error, "error_code", None)
    return code in REFUSALS or isinstance(error, TypeError | LookupError | AttributeError)
