"""MLflow: one parent run a search, one child run a trial, written by a thread of its own.

The rest of the search only appends to a queue, so that no trial ever waits for MLflow and nothing
that MLflow does can end a search. What makes a resumed search land on the same runs, each value
once, after a kill at any moment:

- a run is created with its tags in one request, and found again by them;
- the writes of a trial keep their order, and all metrics of a report travel in one request, so
  what MLflow holds of a trial is always its first reports: the last `generator_steps` there says
  which ones are missing;
- an event keeps the time at which it happened, so that MLflow itself refuses to store it twice
  when the answer to a request got lost.

The queue is bounded (`MAX_PENDING_REPORTS`, 130 MB at 16 metrics each): past it, further reports
of a trial are left out here, never its beginning or its end, and the next resume brings them from
the search's own files. NaN and infinities are both logged as NaN: MLflow would store an infinity
as 1.8e308, and leaving it out would let a diverged trial rank by its last finite value.
"""

import contextlib
import fcntl
import logging
import math
import os
import queue
import re
import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, Literal, final

STEP = "generator_steps"  # every report has it; logged last, it marks the report as written
UNIX_TIME = "unix_time_s"  # a report may have it: when it was made; becomes MLflow's timestamp
TRIALS_FINISHED = "trials_finished"  # the step of the parent's metrics

SEARCH_TAG, TRIAL_TAG = "tuner.search_id", "tuner.trial_id"
INCOMPLETE_TAG = "tuner.incomplete"  # something of this trial could not be written: look again

MAX_PENDING_REPORTS = 50_000
MAX_METRICS_PER_REQUEST = 1_000  # MLflow's own limits, these three
MAX_PARAM_CHARS, MAX_TAG_CHARS = 6_000, 5_000
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
MAX_ATTEMPTS_AT_CLOSE = 3
MAX_ATTEMPTS_PER_FILE = 3

RUN_STATUS = {
    "completed": "FINISHED",
    "stopped": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
}
OUTCOME_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
# MLflow's words for a request that will never be accepted, however often it is sent.
REFUSALS = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # its retries would create a run twice; ours look first
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # else a line at every trial's end
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@final
@dataclass(frozen=True)
class TrialHistory:
    """What the driver durably knows of a trial; brings MLflow up to date at a resume."""

    trial_id: str
    params: Mapping[str, object]  # flat
    reports: Sequence[Mapping[str, float]]  # each with "generator_steps"
    pictures: Mapping[int, Path]  # sample grids by generator step
    status: str | None  # a key of RUN_STATUS; None while unfinished
    message: str | None


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
        self._uri, database = _absolute(tracking_uri)
        self._writer = _Writer(
            self._uri, database, experiment, artifact_location, search_name, search_id,
            dict(params), dict(tags), make_client or _mlflow_client,
        )  # fmt: skip
        self._warn = warn
        self._queue: queue.SimpleQueue[_Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing, self._abandoned, self._done = (threading.Event() for _ in range(3))
        self._clean = False  # everything was tried, up to the end
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
        return f"mlflow ui --backend-store-uri {shlex.quote(_masked(self._uri))}"

    def start(self, history: Sequence[TrialHistory] = ()) -> None:
        """Start the thread; its first work is to write what MLflow lacks of `history`."""
        writer = self._writer
        for trial in history:
            self._put(trial.trial_id, partial(writer.restore, trial, _now_ms()))
            if trial.pictures:
                pictures = {_picture_name(step): path for step, path in trial.pictures.items()}
                fill = partial(writer.add_files, trial.trial_id, "samples", pictures, True)
                self._put(trial.trial_id, fill, is_file=True)
            if trial.status is not None:
                end_ms = _time_ms(trial.reports[-1] if trial.reports else {}, _now_ms())
                end = partial(writer.end, trial.trial_id, trial.status, trial.message, end_ms)
                self._put(trial.trial_id, end)
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._thread.start()

    def trial_started(self, trial_id: str, params: Mapping[str, object]) -> None:
        """A trial starts, or goes on after a resume."""
        self._put(trial_id, partial(self._writer.start, trial_id, dict(params), _now_ms()))

    def trial_reported(
        self, trial_id: str, report: Mapping[str, float], picture: Path | None = None
    ) -> None:
        """Log a report at its generator step; skipped where MLflow has that step already."""
        if self._put_report(trial_id, report) and picture is not None and STEP in report:
            files = {_picture_name(int(report[STEP])): picture}
            add = partial(self._writer.add_files, trial_id, "samples", files)
            self._put(trial_id, add, is_file=True)

    def trial_ended(self, trial_id: str, status: str, message: str | None = None) -> None:
        """Close a trial's run: completed, stopped, diverged or failed."""
        self._put(trial_id, partial(self._writer.end, trial_id, status, message, _now_ms()))

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
        self._put(None, partial(self._writer.end_search, outcome, _now_ms()))
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
        self._put(trial_id, partial(self._writer.report, trial_id, [dict(report)], _now_ms()))
        return True

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
            self._clean = is_open and all(map(self._persist, iter(self._queue.get, None)))
        finally:
            self._done.set()

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


@dataclass
class _Run:
    """What MLflow has of a run."""

    run_id: str
    state: str = "RUNNING"  # MLflow's
    status: str = "running"  # ours: a tag
    last_step: float = -math.inf
    params: set[str] = field(default_factory=set)
    complete: bool = True
    settled: bool = False  # ended earlier, and nothing is missing


@final
@dataclass
class _Writer:
    """The thread's side: turns events into requests. Each write may be tried again as it is."""

    uri: str
    database: Path | None
    experiment: str
    artifact_location: str | None
    search_name: str
    search_id: str
    params: Mapping[str, object]
    tags: Mapping[str, str]
    make_client: Callable[[str], Any]
    incomplete: set[str | None] = field(default_factory=set)
    _client: Any = None
    _experiment_id: str = ""
    _runs: dict[str | None, _Run] = field(default_factory=dict)  # None: the parent
    _creating: set[str | None] = field(default_factory=set)

    def open(self) -> None:
        """Find or create the database, the experiment and the parent run."""
        _prepare_mlflow()
        with _schema_lock(self.database):
            if self._client is None:
                self._client = self.make_client(self.uri)
            self._experiment_id = self._find_experiment()
        self._load_runs()
        self.start(None, self.params, _now_ms())

    def answers(self) -> bool:
        """Whether the tracking server itself, artifacts apart, can be reached."""
        with contextlib.suppress(Exception):
            self._client.get_experiment(self._experiment_id)
            return True
        return False

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            location = _artifact_uri(self.artifact_location, self.database)
            try:
                return self._client.create_experiment(self.experiment, artifact_location=location)
            except Exception:  # another search may have been a moment faster
                found = self._client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            restore = f"mlflow experiments restore --experiment-id {found.experiment_id}"
            raise RuntimeError(f"its experiment {self.experiment!r} is deleted; `{restore}`")
        return found.experiment_id

    def _load_runs(self) -> None:
        """Read all runs of this search; of two for one trial, keep the one that has more."""
        runs: dict[str | None, _Run] = {}
        doubles: list[str] = []
        for found in self._search():
            tags, metrics = found.data.tags, found.data.metrics
            trial_id = tags.get(TRIAL_TAG)
            run = _Run(
                found.info.run_id,
                found.info.status,
                tags.get("status", ""),
                metrics.get(_marker(trial_id), -math.inf),
                set(found.data.params),
                tags.get(INCOMPLETE_TAG) != "true",
            )
            kept = runs.setdefault(trial_id, run)
            if kept is not run:
                worse, better = sorted((run, kept), key=lambda r: r.last_step)
                runs[trial_id] = better
                doubles.append(worse.run_id)
        for run_id in doubles:  # an answer got lost, and the server was slower than our next look
            self._client.delete_run(run_id)
        self._runs = runs

    def _search(self) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                f"tags.`{SEARCH_TAG}` = '{self.search_id}'",
                max_results=1_000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _find_or_create(self, trial_id: str | None, time_ms: int) -> _Run:
        if trial_id in self._creating:  # that attempt failed here, but perhaps not over there
            self._load_runs()
            self._creating.discard(trial_id)
        if trial_id in self._runs:
            return self._runs[trial_id]
        self._creating.add(trial_id)
        tags = {SEARCH_TAG: self.search_id, "status": "running"}
        if trial_id is None:
            tags = _texts(self.tags, MAX_TAG_CHARS) | tags
        else:
            parent = self._find_or_create(None, time_ms)
            tags |= {TRIAL_TAG: trial_id, "mlflow.parentRunId": parent.run_id}
        name = self.search_name if trial_id is None else f"{self.search_name} {trial_id}"
        created = self._client.create_run(
            self._experiment_id, start_time=time_ms, tags=tags, run_name=name
        )
        self._creating.discard(trial_id)
        return self._runs.setdefault(trial_id, _Run(created.info.run_id))

    def start(self, trial_id: str | None, params: Mapping[str, object], time_ms: int) -> None:
        """Create a run, or open it again."""
        from mlflow.entities import Param, RunTag

        run = self._find_or_create(trial_id, time_ms)
        # Params cannot be changed once written: at a resume only new ones are added.
        texts = _texts(params, MAX_PARAM_CHARS)
        missing = [Param(key, text) for key, text in texts.items() if key not in run.params]
        tags = [] if run.status == "running" else [RunTag("status", "running")]
        if missing or tags:
            self._log(run, params=missing, tags=tags)
        run.params.update(texts)
        run.status, run.settled = "running", False
        if run.state != "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
            run.state = "RUNNING"

    def restore(self, history: TrialHistory, time_ms: int) -> None:
        """Bring a run up to the history's reports; its files and its end come as further events."""
        run = self._runs.get(history.trial_id)
        last_step = max((report[STEP] for report in history.reports), default=-math.inf)
        if run is not None and run.complete and run.last_step >= last_step:
            # The end is written last, so a run that has it has all the rest.
            state = RUN_STATUS.get(history.status or "", "FAILED")
            run.settled = run.status == history.status and run.state == state
            if run.settled:
                return
        first_ms = _time_ms(history.reports[0], time_ms) if history.reports else time_ms
        self.start(history.trial_id, history.params, first_ms)
        self.report(history.trial_id, history.reports, time_ms)

    def report(
        self, trial_id: str | None, reports: Sequence[Mapping[str, float]], time_ms: int
    ) -> None:
        """Log the reports that are newer than what the run has."""
        run, marker = self._find_or_create(trial_id, time_ms), _marker(trial_id)
        batch: list[Any] = []
        newest = run.last_step
        for report in sorted(reports, key=lambda report: report[marker]):
            if report[marker] <= newest:
                continue
            metrics = _metrics(report, marker, _time_ms(report, time_ms))
            if batch and len(batch) + len(metrics) > MAX_METRICS_PER_REQUEST:
                self._log(run, metrics=batch)
                run.last_step, batch = newest, []
            batch += metrics
            newest = report[marker]
        if batch:
            self._log(run, metrics=batch)
            run.last_step = newest

    def add_files(
        self,
        trial_id: str | None,
        folder: str | None,
        files: Mapping[str, Path],  # by the name they get in MLflow
        only_missing: bool = False,
    ) -> None:
        """Copy files to a run's artifacts, over what is there unless `only_missing`."""
        run = self._find_or_create(trial_id, _now_ms())
        if run.settled:
            return
        present: set[str] = set()
        if only_missing:
            listed = self._client.list_artifacts(run.run_id, folder)
            present = {Path(file.path).name for file in listed}
        for name in files.keys() - present:
            self._log_file(run, files[name], folder, name)

    def _log_file(self, run: _Run, path: Path, folder: str | None, name: str) -> None:
        if path.name == name:
            self._client.log_artifact(run.run_id, str(path), folder)
            return
        with tempfile.TemporaryDirectory() as scratch:  # MLflow keeps the name of the file
            renamed = Path(shutil.copyfile(path, Path(scratch, name)))
            self._client.log_artifact(run.run_id, str(renamed), folder)

    def end(
        self,
        trial_id: str | None,
        status: str,
        message: str | None,
        time_ms: int,
        state: str | None = None,
    ) -> None:
        """Tag how a run ended, and close it."""
        from mlflow.entities import RunTag

        run = self._find_or_create(trial_id, time_ms)
        if run.settled:
            return
        state = state or RUN_STATUS.get(status, "FAILED")
        texts = {"status": status, "message": message}
        complete = trial_id not in self.incomplete
        if run.complete != complete:
            texts[INCOMPLETE_TAG] = "false" if complete else "true"
        self._log(run, tags=[RunTag(*pair) for pair in _texts(texts, MAX_TAG_CHARS).items()])
        self._client.set_terminated(run.run_id, status=state, end_time=time_ms)
        run.status, run.state, run.complete = status, state, complete

    def end_search(self, outcome: str, time_ms: int) -> None:
        """Close the parent, and whatever the server still shows as running."""
        self._load_runs()
        for trial_id, run in self._runs.items():
            if trial_id is not None and run.state == "RUNNING":
                self.end(trial_id, "interrupted", None, time_ms, "KILLED")
        self.end(None, outcome, None, time_ms, OUTCOME_STATUS[outcome])

    def _log(
        self, run: _Run, metrics: Sequence[Any] = (), params: Sequence[Any] = (),
        tags: Sequence[Any] = (),
    ) -> None:  # fmt: skip
        self._client.log_batch(
            run.run_id, metrics=metrics, params=params, tags=tags, synchronous=True
        )


def _mlflow_client(tracking_uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri)


def _prepare_mlflow() -> None:
    """Import MLflow (seconds, the first time) without its telemetry, retries and chatter."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow.entities  # noqa: F401

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        for name in ("mlflow", "alembic", "sqlalchemy"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # it logs tracebacks as errors


@contextlib.contextmanager
def _schema_lock(database: Path | None) -> Iterator[None]:
    # Two processes that create the tables of one SQLite file at once both die of it.
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _absolute(tracking_uri: str) -> tuple[str, Path | None]:
    """The URI with an absolute path, and that path where it is an SQLite file."""
    parts = re.fullmatch(r"(sqlite(?:\+\w+)?):///([^?]+)(\?.*)?", tracking_uri)
    if parts is None or parts[2] == ":memory:":
        return tracking_uri, None
    database = Path(parts[2]).absolute()
    return f"{parts[1]}:///{database}{parts[3] or ''}", database


def _artifact_uri(location: str | None, database: Path | None) -> str | None:
    if location is None:  # MLflow's own default depends on the working directory
        return database and (database.parent / "mlflow_artifacts").as_uri()
    return location if re.match(r"[\w+.-]+:", location) else Path(location).absolute().as_uri()


def _metrics(report: Mapping[str, float], marker: str, time_ms: int) -> list[Any]:
    from mlflow.entities import Metric

    names = [name for name in report if name not in (marker, UNIX_TIME)]
    step = int(report[marker])
    return [
        Metric(_key(name), value if math.isfinite(value) else math.nan, time_ms, step)
        for name in [*names, marker]
        if isinstance(report[name], Real) and (value := float(report[name])) is not None
    ]


def _texts(values: Mapping[str, object], max_chars: int) -> dict[str, str]:
    return {_key(k): str(v)[:max_chars] for k, v in values.items() if v is not None}


def _key(name: str) -> str:
    return re.sub(r"[^\w.\- :/]", "_", name)[:250]  # all that MLflow allows


def _marker(trial_id: str | None) -> str:
    return TRIALS_FINISHED if trial_id is None else STEP


def _picture_name(step: int) -> str:
    return f"step_{step:06d}.png"


def _now_ms() -> int:
    return int(time.time() * 1_000)


def _time_ms(report: Mapping[str, float], default_ms: int) -> int:
    return int(report[UNIX_TIME] * 1_000) if UNIX_TIME in report else default_ms


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
