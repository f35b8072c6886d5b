"""MLflow, followed from a thread of its own: the search only appends to a queue.

No trial ever waits for MLflow, and nothing that MLflow does can end a search. The thread takes all
that waits of a trial at a time, and merges it into one request where it can: a slow server gets
fewer and larger ones, not a longer and longer queue.

The queue is bounded (`MAX_PENDING_WRITES`, about 100 MB): past it, further reports of a trial are
left out here, never its beginning or its end, and a resume, or `tuner.sync`, brings them from the
search's own files.
"""

import contextlib
import json
import os
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

from tuner.results import picture_name
from tuner.space import SearchSpec
from tuner.storage import write_atomically
from tuner.tracking.backlog import Backlog, Event
from tuner.tracking.history import STEP, UNIX_TIME, Links, TrialHistory, now_ms, reported_ms
from tuner.tracking.naming import Naming, naming_of
from tuner.tracking.runs import Runs
from tuner.tracking.store import absolute_uri, open_client
from tuner.tracking.values import TRIALS_FINISHED, Change

MAX_PENDING_WRITES = 50_000
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
MAX_ATTEMPTS_AT_CLOSE = 3
MAX_ATTEMPTS_PER_FILE = 3

# MLflow's words for a request that will never be accepted, however often it is sent.
REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}


SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
KEPT_FILES = (
    "report.html",
    "spec.yaml",
    "trials.csv",
    "best.yaml",
    "best/generator.pt",
    "best/samples.png",
)
#: Where the ids of the runs are, for those who link to them,
PLACES = "mlflow.json"
#: written anew at most so often while runs are added.
PLACES_EVERY_S = 5.0
#: Where `mlflow ui` serves a database.
LOCAL_UI = "http://127.0.0.1:5000"


def tracker_of(
    spec: SearchSpec,
    run_dir: Path,
    search_id: str,
    warn: Callable[[str], None],
    tracking_uri: str | None = None,
) -> "Tracker":
    """The tracker of a search.

    Args:
        spec: The search.
        run_dir: Its folder; without a tracking URI the database stands beside it.
        search_id: What tells it from an earlier one of the same name.
        warn: Gets one line for each kind of trouble.
        tracking_uri: In place of what the search says.
    """
    uri = tracking_uri or spec.mlflow.tracking_uri
    python = shlex.quote(sys.executable)
    option = f" --tracking-uri {shlex.quote(tracking_uri)}" if tracking_uri else ""
    return Tracker(
        uri or f"sqlite:///{run_dir.parent}/mlflow.db",
        spec.mlflow.experiment,
        None if uri else (run_dir.parent / "mlflow-artifacts").as_uri(),
        naming_of(spec),
        search_id,
        warn=warn,
        places=None if tracking_uri else run_dir / PLACES,
        sync_command=f"{python} -m tuner.sync {shlex.quote(str(run_dir))}{option}",
    )


def kept_files(run_dir: Path) -> list[Path]:
    """What MLflow keeps of a search's folder, as far as it is there."""
    return [path for name in KEPT_FILES if (path := run_dir / name).exists()]


def kept_generator(run_dir: Path) -> Path | None:
    """What MLflow keeps as a model, once it is there."""
    path = run_dir / "best" / "generator.pt"
    return path if path.exists() else None


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
        naming: Naming,
        search_id: str,
        *,
        warn: Callable[[str], None],
        places: Path | None = None,
        sync_command: str = "python -m tuner.sync RUN",
        make_client: Callable[[str], Any] | None = None,
    ) -> None:
        """Nothing is imported, opened or written before `start`."""
        if not re.fullmatch(r"[\w.-]+", search_id):  # it goes into a filter that cannot escape
            raise ValueError(f"search_id is {search_id!r}: use letters, digits, '_', '-' and '.'")
        self._uri, database = absolute_uri(tracking_uri)
        self._writer = Runs(
            self._uri, database, experiment, artifact_location, naming, search_id,
            make_client or open_client,
        )  # fmt: skip
        self._places = places
        self._places_due, self._num_placed = 0.0, -1
        self._best: tuple[str, Callable[[Links], str]] | None = None
        self._warn = warn
        self._sync_command = sync_command
        self._history: Sequence[TrialHistory] = ()
        self._backlog = Backlog(self._writer.write)
        self._thread: threading.Thread | None = None
        self._closing, self._abandoned, self._done = (threading.Event() for _ in range(3))
        self._cut: set[str | None] = set()  # trials whose further reports found the queue full
        self._has_compared = False  # MLflow with the history: what it lacks of it is known
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

    @property
    def written(self) -> Mapping[str, int]:
        """How many runs, reports, files and ends of runs MLflow got from here."""
        return self._writer.written

    def start(self, history: Sequence[TrialHistory] = (), *, goes_on: bool = True) -> None:
        """Start the thread; its first work is to write what MLflow lacks of `history`.

        Args:
            history: What an earlier sitting left.
            goes_on: Whether the search does; else a parent run that has ended stays as it is.
        """
        self._history = history
        for trial in history:
            self._backlog.expect(trial.trial_id)
        first_ms = (reported_ms(t.reports[0], now_ms()) for t in history if t.reports)
        began_ms = min(first_ms, default=now_ms())
        begin = Event(None, partial(self._writer.open, began_ms, goes_on))
        self._thread = threading.Thread(target=self._run, args=(begin,), name="mlflow", daemon=True)
        self._thread.start()

    def trial_started(self, trial_id: str, params: Mapping[str, object]) -> None:
        """A trial starts, or goes on after a resume."""
        self._backlog.put_change(trial_id, Change(dict(params)))

    def trial_reported(
        self, trial_id: str, report: Mapping[str, float], picture: Path | None = None
    ) -> None:
        """Log a report at its generator step; skipped where MLflow has that step already."""
        if self._put_report(trial_id, report) and picture is not None and STEP in report:
            files = {picture_name(int(report[STEP])): picture}
            add = partial(self._writer.add_files, trial_id, "samples", files)
            self._backlog.put(Event(trial_id, add, is_file=True))

    def trial_ended(self, trial_id: str, status: str, message: str | None = None) -> None:
        """Close a trial's run: completed, stopped, diverged or failed."""
        ended_ms = now_ms()
        ending = Change(ending=(status, message), time_ms=ended_ms)
        self._backlog.put_change(trial_id, ending)
        # Apart: its files are written between the two.
        end = partial(self._writer.end, trial_id, status, message, ended_ms)
        self._backlog.put(Event(trial_id, end))

    def trial_final(self, trial_id: str, final: Mapping[str, float]) -> None:
        """Log what the final said of a trial that has ended; its time tells it from another."""
        log = partial(self._writer.log_final, trial_id, dict(final))
        self._backlog.put(Event(trial_id, log))

    def search_best(
        self,
        trial_id: str,
        metrics: Mapping[str, float],
        time_ms: int,
        note: Callable[[Links], str],
    ) -> None:
        """Tag the search with the trial that it chose, and log what it was chosen by.

        Args:
            trial_id: The trial.
            metrics: What it was chosen by.
            time_ms: When.
            note: Describes the search in Markdown, once the rest of it is in MLflow.
        """
        self._best = (trial_id, note)
        log = partial(self._writer.log_best, trial_id, dict(metrics), time_ms)
        self._backlog.put(Event(None, log))

    def search_progress(self, trials_finished: int, metrics: Mapping[str, float]) -> None:
        """Log the parent's metrics, best value so far and the like, once for each count."""
        self._put_report(None, {**metrics, TRIALS_FINISHED: trials_finished})

    def close(
        self,
        outcome: Literal["finished", "interrupted", "failed"],
        artifacts: Sequence[Path] = (),
        timeout_s: float = 60,
        *,
        generator: Path | None = None,
        time_ms: int | None = None,
        on_wait: Callable[[int], None] = lambda num_pending: None,
    ) -> str | None:
        """Write what is queued, the artifacts and the end of every run still open.

        Args:
            outcome: How the search ended.
            artifacts: Files to keep with the parent run.
            generator: The best trial's, to be kept as a model.
            timeout_s: After so many seconds this returns, whatever MLflow does.
            time_ms: When it ended; now, if left out.
            on_wait: Told now and then, while this waits, how many writes are left.

        Returns None, or what MLflow lacks and how to bring it there.
        """
        if self._thread is None or self._closing.is_set():
            return self._answer
        until = time.monotonic() + timeout_s
        last = [
            Event(None, partial(self._writer.add_files, None, None, {p.name: p}), is_file=True)
            for p in artifacts
        ]
        if self._best is not None:
            trial_id, note = self._best
            if generator is not None:
                log = partial(self._writer.log_model, trial_id, generator)
                last.append(Event(None, log, is_file=True))
            describe = partial(self._writer.describe, note, _masked(self._uri))
            last.append(Event(None, describe, is_file=True))
        end = partial(self._writer.end_search, outcome, time_ms or now_ms())
        self._backlog.close([*last, Event(None, end)])
        self._closing.set()
        while (left_s := until - time.monotonic()) > 0 and not self._done.wait(min(left_s, 0.2)):
            on_wait(len(self._backlog))
        self._abandoned.set()
        self._answer = self._missing()
        return self._answer

    def _missing(self) -> str | None:
        counts = self._backlog.missing()
        if not counts:
            return None
        num_trials = sum(trial_id is not None for trial_id in counts)
        whose = [f"of {num_trials} trial{'s' * (num_trials > 1)}"] * (num_trials > 0)
        whose += ["of the search itself"] * (None in counts)
        up_to = "up to " * (not self._has_compared and bool(self._history))
        total = f"{counts.total():,} write{'s' * (counts.total() > 1)}"
        return (
            f"MLflow ({_masked(self._uri)}) lacks {up_to}{total}, {' and '.join(whose)} "
            f"({self._reason}). Nothing is lost: the search's own folder has it all. Once that is "
            f"mended, --resume writes what is missing, and so does: {self._sync_command}"
        )

    def _put_report(self, trial_id: str | None, report: Mapping[str, float]) -> bool:
        # Once cut, a trial stays cut: MLflow must hold its *first* reports, without a hole.
        if trial_id in self._cut or len(self._backlog) >= MAX_PENDING_WRITES:
            self._cut.add(trial_id)
            self._leave_out(trial_id, 1, f"{MAX_PENDING_WRITES:,} writes wait for it already")
            return False
        # Its own time: reports that are merged, or written again, stay what they were.
        timed = {UNIX_TIME: now_ms() / 1_000, **report}
        self._backlog.put_change(trial_id, Change(reports=[timed]))
        return True

    def _leave_out(self, trial_id: str | None, num_writes: int, reason: str) -> None:
        self._writer.incomplete.add(trial_id)
        self._backlog.leave_out(trial_id, num_writes)
        self._reason = reason
        self._say("left out", f"leaves out a write: {reason}. The search goes on without it.")

    def _say(self, kind: str, what: str) -> None:
        if kind in self._said or self._abandoned.is_set():
            return
        self._said.add(kind)
        with contextlib.suppress(Exception):  # a broken terminal must not end the thread
            self._warn(f"MLflow ({_masked(self._uri)}) {what}")

    def _run(self, begin: Event) -> None:
        try:
            is_open = self._persist(begin, is_event=False)
            self._has_compared = is_open and all(map(self._write_history, self._history))
            if self._has_compared:
                all(map(self._write, self._backlog.taken()))
        finally:
            self._write_places(is_last=True)
            self._done.set()

    def _write_history(self, trial: TrialHistory) -> bool:
        writer, name = self._writer, trial.trial_id
        events = [Event(name, partial(writer.restore, trial, now_ms()), num_writes=0)]
        if trial.pictures:
            pictures = {picture_name(step): path for step, path in trial.pictures.items()}
            fill = partial(writer.add_files, name, "samples", pictures, True)
            events.append(Event(name, fill, is_file=True, num_writes=0))
        if trial.status is not None:
            end_ms = reported_ms(trial.reports[-1] if trial.reports else {}, now_ms())
            end = partial(writer.end, name, trial.status, trial.message, end_ms)
            events.append(Event(name, end, num_writes=0))
        if trial.final is not None:
            log = partial(writer.log_final, name, dict(trial.final))
            events.append(Event(name, log, num_writes=0))
        events[-1] = replace(events[-1], num_writes=1)  # a trial of the history counts as one
        return all(map(self._write, events))

    def _write(self, event: Event) -> bool:
        """Whether to go on: it was written, or set aside."""
        if not self._persist(event):
            return False
        self._backlog.done(event)
        self._write_places()
        return True

    def _write_places(self, *, is_last: bool = False) -> None:
        """Write down where the runs are, if there are more; not for each of them."""
        num_runs, now = self._writer.num_runs, time.monotonic()
        if self._places is None or num_runs in (0, self._num_placed):
            return
        if not is_last and now < self._places_due:
            return
        places = {"ui": _address(self._uri) or LOCAL_UI, **self._writer.places()}
        try:
            write_atomically(self._places, json.dumps(places, indent=1) + "\n")
        except OSError as error:
            self._say("places", f"cannot be linked to, without {self._places}: {error.strerror}.")
        self._places_due, self._num_placed = now + PLACES_EVERY_S, num_runs

    def _persist(self, event: Event, is_event: bool = True) -> bool:
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
                    self._leave_out(event.trial_id, max(1, event.num_writes), self._reason)
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


def _address(uri: str) -> str | None:
    """The address of a server, without credentials; ``None`` for a database."""
    parts = re.match(r"(https?://)(?:[^/\s]*@)?([^?#]*)", uri)
    return parts and (parts[1] + parts[2]).rstrip("/")


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
    """Hide the credentials of every address in a text, and those that MLflow was given apart."""
    for secret in filter(None, map(os.environ.get, SECRETS)):
        text = text.replace(secret, "***")
    text = re.sub(r"://[^/\s]*@", "://***@", text)
    return re.sub(r"(?i)\b(password|token|secret|signature|sig|key)=[^&\s'\"]+", r"\1=***", text)
