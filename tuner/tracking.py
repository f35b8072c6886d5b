"""MLflow, followed from a thread of its own: the search only appends to a queue.

No trial ever waits for MLflow, and nothing that MLflow does can end a search. The queue is
bounded (`MAX_PENDING_REPORTS`, about 100 MB): past it, further reports of a trial are left out
here, never its beginning or its end, and the next resume brings them from the search's own files.
"""

import contextlib
import queue
import re
import shlex
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

from tuner.history import STEP, UNIX_TIME, TrialHistory, now_ms, picture_name, reported_ms
from tuner.mlflow_runs import TRIALS_FINISHED, Runs, absolute_uri, open_client

MAX_PENDING_REPORTS = 50_000
# Writes are collected for so long: a trial's reports of that time travel in one request, which
# costs hardly more than each of them would.
COLLECT_S = 2.0
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
MAX_ATTEMPTS_AT_CLOSE = 3
MAX_ATTEMPTS_PER_FILE = 3

# MLflow's words for a request that will never be accepted, however often it is sent.
REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}


@dataclass(frozen=True)
class _Event:
    trial_id: str | None  # None: the search itself
    write: Callable[[], None]  # may be called again after a failure
    is_file: bool = False


@final
class Tracker:
    """Writes one search to MLflow from a thread of its own; nobody ever waits for it.

    Call it from one thread, in the order in which things happen. Every method but `close` returns
    at once and raises nothing. `warn` gets one line for each kind of trouble, from that thread.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        artifact_location: str | None,
        search_name: str,
        search_id: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        *,
        warn: Callable[[str], None],
        make_client: Callable[[str], Any] | None = None,
    ) -> None:
        """Nothing is imported, opened or written before `start`."""
        if not re.fullmatch(r"[\w.-]+", search_id):  # it goes into a filter that cannot escape
            raise ValueError(f"search_id is {search_id!r}: use letters, digits, '_', '-' and '.'")
        self._uri, database = absolute_uri(tracking_uri)
        self._writer = Runs(
            self._uri, database, experiment, artifact_location, search_name, search_id,
            dict(params), dict(tags), make_client or open_client,
        )  # fmt: skip
        self._warn = warn
        self._queue: queue.SimpleQueue[_Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing, self._abandoned, self._done = (threading.Event() for _ in range(3))
        self._clean = False  # everything was tried, up to the end
        self._reports: defaultdict[str | None, list[Mapping[str, float]]] = defaultdict(list)
        self._cut: set[str | None] = set()  # trials whose further reports found the queue full
        self._num_left_out = 0
        self._files_fail = False
        self._reason = "it did not answer in time"
        self._said: set[str] = set()
        self._answer: str | None = None

    @property
    def ui_command(self) -> str:
        """How to look at it: a command for a database, the address for a server."""
        if self._uri.startswith(("http://", "https://")):
            return _masked(self._uri)
        python = shlex.quote(sys.executable)  # whose MLflow this is, on the PATH or not
        return f"{python} -m mlflow ui --backend-store-uri {shlex.quote(_masked(self._uri))}"

    def start(self, history: Sequence[TrialHistory] = ()) -> None:
        """Start the thread; its first work is to write what MLflow lacks of `history`."""
        writer = self._writer
        for trial in history:
            self._put(trial.trial_id, partial(writer.restore, trial, now_ms()))
            if trial.pictures:
                pictures = {picture_name(step): path for step, path in trial.pictures.items()}
                fill = partial(writer.add_files, trial.trial_id, "samples", pictures, True)
                self._put(trial.trial_id, fill, is_file=True)
            if trial.status is not None:
                end_ms = reported_ms(trial.reports[-1] if trial.reports else {}, now_ms())
                end = partial(writer.end, trial.trial_id, trial.status, trial.message, end_ms)
                self._put(trial.trial_id, end)
            if trial.final is not None:
                self.trial_final(trial.trial_id, trial.final)
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._thread.start()

    def trial_started(self, trial_id: str, params: Mapping[str, object]) -> None:
        """A trial starts, or goes on after a resume."""
        self._put(trial_id, partial(self._writer.start, trial_id, dict(params), now_ms()))

    def trial_reported(
        self, trial_id: str, report: Mapping[str, float], picture: Path | None = None
    ) -> None:
        """Log a report at its generator step; skipped where MLflow has that step already."""
        if self._put_report(trial_id, report) and picture is not None and STEP in report:
            files = {picture_name(int(report[STEP])): picture}
            add = partial(self._writer.add_files, trial_id, "samples", files)
            self._put(trial_id, add, is_file=True)

    def trial_ended(self, trial_id: str, status: str, message: str | None = None) -> None:
        """Close a trial's run: completed, stopped, diverged or failed."""
        self._put(trial_id, partial(self._writer.end, trial_id, status, message, now_ms()))

    def trial_final(self, trial_id: str, final: Mapping[str, float]) -> None:
        """Log what the final said of a trial that has ended; its time tells it from another."""
        self._put(trial_id, partial(self._writer.log_final, trial_id, dict(final)))

    def search_best(self, trial_id: str, metrics: Mapping[str, float], time_ms: int) -> None:
        """Tag the search with the trial that it chose, and log what it was chosen by."""
        self._put(None, partial(self._writer.log_best, trial_id, dict(metrics), time_ms))

    def search_progress(self, trials_finished: int, metrics: Mapping[str, float]) -> None:
        """Log the parent's metrics, best value so far and the like, once for each count."""
        self._put_report(None, {**metrics, TRIALS_FINISHED: trials_finished})

    def close(
        self,
        outcome: Literal["finished", "interrupted", "failed"],
        artifacts: Sequence[Path] = (),
        timeout_s: float = 60,
    ) -> str | None:
        """Write what is queued, the artifacts and the end of every run still open.

        Returns None, or one sentence on what MLflow lacks and how to bring it there.
        """
        if self._thread is None or self._closing.is_set():
            return self._answer
        for path in artifacts:
            add = partial(self._writer.add_files, None, None, {path.name: path})
            self._put(None, add, is_file=True)
        self._put(None, partial(self._writer.end_search, outcome, now_ms()))
        self._queue.put(None)
        self._closing.set()
        self._done.wait(timeout_s)
        self._abandoned.set()
        if not self._clean or self._num_left_out:
            count = self._num_left_out + (0 if self._clean else max(1, self._queue.qsize()))
            self._answer = (
                f"MLflow ({_masked(self._uri)}) lacks {count} of this search's writes "
                f"({self._reason}): the search's own folder has them; resume the search once "
                "that is mended, and they will be written."
            )
        return self._answer

    def _put(self, trial_id: str | None, write: Callable[[], None], is_file: bool = False) -> None:
        if not self._closing.is_set():
            self._queue.put(_Event(trial_id, write, is_file))

    def _put_report(self, trial_id: str | None, report: Mapping[str, float]) -> bool:
        # Once cut, a trial stays cut: MLflow must hold its *first* reports, without a hole.
        if trial_id in self._cut or self._queue.qsize() >= MAX_PENDING_REPORTS:
            self._cut.add(trial_id)
            self._leave_out(trial_id, f"{MAX_PENDING_REPORTS} writes wait for it already")
            return False
        self._reports[trial_id].append({UNIX_TIME: now_ms() / 1_000, **report})
        self._put(trial_id, partial(self._write_reports, trial_id))
        return True

    def _write_reports(self, trial_id: str | None) -> None:
        """Write the reports that wait, which spares their own events the work; or the first."""
        waiting = self._reports[trial_id]
        refused: Exception | None = None
        for reports in (waiting[:], waiting[:1]) if waiting else ():
            try:
                self._writer.report(trial_id, reports, now_ms())
                del waiting[: len(reports)]
                return
            except Exception as error:
                if not _is_refusal(error):
                    raise
                refused = error  # of them all, for the fault of one
        if refused is not None:
            del waiting[:1]
            raise refused

    def _leave_out(self, trial_id: str | None, reason: str) -> None:
        self._writer.incomplete.add(trial_id)
        self._num_left_out += 1
        self._reason = reason
        self._say("left out", f"leaves out a write: {reason}. The search goes on without it.")

    def _say(self, kind: str, what: str) -> None:
        if kind in self._said or self._abandoned.is_set():
            return
        self._said.add(kind)
        with contextlib.suppress(Exception):  # a broken terminal must not end the thread
            self._warn(f"MLflow ({_masked(self._uri)}) {what}")

    def _run(self) -> None:
        try:
            is_open = self._persist(_Event(None, self._writer.open), is_event=False)
            self._clean = is_open and all(map(self._persist, self._events()))
        finally:
            self._done.set()

    def _events(self) -> Iterator[_Event]:
        while (event := self._queue.get()) is not None:
            yield event
            if self._queue.empty():
                self._closing.wait(COLLECT_S)

    def _persist(self, event: _Event, is_event: bool = True) -> bool:
        """Try until it is written or set aside; False: given up, the search is closing."""
        failures = failures_at_close = 0
        while not self._abandoned.is_set():
            try:
                event.write()
                return True
            except Exception as error:
                failures += 1
                self._reason = _reason(error)
                # A file that is gone, or a full store of files: the metrics need not wait for it.
                is_file_only = event.is_file and self._writer.answers()
                is_last = is_file_only and (self._files_fail or failures >= MAX_ATTEMPTS_PER_FILE)
                if is_event and (is_last or _is_refusal(error)):
                    self._files_fail |= is_last
                    self._leave_out(event.trial_id, self._reason)
                    return True
                if not is_file_only:
                    self._say("fails", f"cannot be written: {self._reason}. The search goes on.")
            if self._closing.is_set():
                failures_at_close += 1
                if failures_at_close == MAX_ATTEMPTS_AT_CLOSE:
                    return False
                self._abandoned.wait(FIRST_RETRY_S)
            else:  # close() cuts this wait short
                self._closing.wait(min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(failures - 1, 10)))
        return False


def _is_refusal(error: Exception) -> bool:
    """Whether trying again is in vain: MLflow says so, or the event itself is malformed."""
    code = getattr(error, "error_code", None)
    return code in REFUSALS or isinstance(error, TypeError | LookupError | AttributeError)


def _reason(error: Exception) -> str:
    """One short line for a person; MLflow nests four messages for a refused connection."""
    text = " ".join(str(error).split()).split(". To increase the timeout")[0].split(" [SQL")[0]
    if "Caused by" in text:
        text = re.split(r": |, '", text.split("Caused by")[1])[-1].split(" (")[0].strip('.()"')
    text = re.sub(r"\[Errno -?\d+\] ", "", text)
    return _masked(text)[:200] or type(error).__name__


def _masked(text: str) -> str:
    """Hide the credentials of every address in a text."""
    text = re.sub(r"://[^/\s]*@", "://***@", text)
    return re.sub(r"(?i)\b(password|token|secret|signature|sig|key)=[^&\s'\"]+", r"\1=***", text)
