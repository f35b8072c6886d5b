"""The runs of one search in MLflow: found by their tags, written without doubling anything.

This file alone knows MLflow, and imports it where it is first used: that takes seconds. What
makes a resumed search land on the same runs, each value once, after a kill at any moment:

- a run is created with its tags in one request, and found again by them;
- all metrics of a report travel in one request, and a trial's reports in their order, so what
  MLflow holds of a trial is always its first reports: the last `generator_steps` there says which
  ones are missing; where many reports wait, one request takes as many as MLflow lets it;
- the state of a run is written after all the rest of it, so a run that has its end lacks nothing;
- an event keeps the time at which it happened, so that MLflow itself refuses to store it twice
  when the answer to a request got lost.

NaN and infinities are both logged as NaN: MLflow would store an infinity as 1.8e308, and leaving
it out would let a diverged trial rank by its last finite value.
"""

import contextlib
import fcntl
import logging
import math
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, final

from tuner.history import STEP, UNIX_TIME, TrialHistory, now_ms, reported_ms

TRIALS_FINISHED = "trials_finished"  # the step of the parent's metrics

SEARCH_TAG, TRIAL_TAG = "tuner.search_id", "tuner.trial_id"
BEST_TAG = "best_trial"  # the parent's
INCOMPLETE_TAG = "tuner.incomplete"  # something of this trial could not be written: look again

# MLflow takes 1,000 things in a request, of which 100 params; tags need some room beside them.
MAX_METRICS_PER_REQUEST, MAX_PARAMS_PER_REQUEST = 890, 100
MAX_PARAM_CHARS, MAX_TAG_CHARS = 6_000, 5_000  # MLflow's own limits

RUN_STATUS = {
    "completed": "FINISHED",
    "stopped": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
}
OUTCOME_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # its retries would create a run twice; ours look first
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # else a line at every trial's end
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@final
@dataclass(frozen=True)
class Change:
    """What is new of a run; what waits together travels in one request."""

    params: Mapping[str, object] | None = None  # given: the run starts, or goes on
    reports: Sequence[Mapping[str, float]] = ()
    ending: tuple[str, str | None] | None = None  # status and message
    time_ms: int = field(default_factory=now_ms)

    @staticmethod
    def merged(changes: Sequence["Change"]) -> "Change":
        """Several as one, in the order in which they happened, up to an ending."""
        given = [change.params for change in changes if change.params is not None]
        return Change(
            {key: value for params in given for key, value in params.items()} if given else None,
            [report for change in changes for report in change.reports],
            changes[-1].ending,
            changes[0].time_ms,
        )


@dataclass
class _Run:
    """What MLflow has of a run."""

    run_id: str
    marker: str
    state: str = "RUNNING"  # MLflow's; ours is the tag `status`
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)  # the last of each
    settled: bool = False  # ended earlier, and nothing is missing

    @property
    def last_step(self) -> float:
        return self.metrics.get(self.marker, -math.inf)

    @property
    def is_complete(self) -> bool:
        return self.tags.get(INCOMPLETE_TAG) != "true"


@final
@dataclass
class Runs:
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
    written: Counter[str] = field(default_factory=Counter)  # runs, reports, files, ends
    _client: Any = None
    _experiment_id: str = ""
    _runs: dict[str | None, _Run] = field(default_factory=dict)  # None: the parent
    _creating: set[str | None] = field(default_factory=set)

    def open(self, began_ms: int, reopens: bool) -> None:
        """Find or create the database, the experiment and the parent run.

        Args:
            began_ms: When the search began, for a parent that is not there yet.
            reopens: Whether the search goes on: else a parent that has ended stays as it is.
        """
        _prepare_mlflow()
        with _schema_lock(self.database):
            if self.database is not None and not self.database.exists():
                _create_database(self.uri, self.database)
            if self._client is None:
                self._client = self.make_client(self.uri)
            self._experiment_id = self._find_experiment()
        self._load_runs()
        if self._find_or_create(None, began_ms).state == "RUNNING" or reopens:
            self.write(None, Change(self.params))

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
                _marker(trial_id),
                found.info.status,
                dict(found.data.params),
                dict(tags),
                dict(metrics),
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
        self.written["runs"] += 1
        return self._runs.setdefault(
            trial_id, _Run(created.info.run_id, _marker(trial_id), tags=tags)
        )

    def restore(self, history: TrialHistory, time_ms: int) -> None:
        """Bring a run up to the history's reports; its files and its end come as further events."""
        run = self._runs.get(history.trial_id)
        last_step = max((report[STEP] for report in history.reports), default=-math.inf)
        if run is not None and run.is_complete and run.last_step >= last_step:
            state = "KILLED" if history.status is None else _state(history.status)
            is_same = run.tags.get("status") == (history.status or "interrupted")
            run.settled = is_same and run.state == state
            if run.settled:
                return
        first_ms = reported_ms(history.reports[0], time_ms) if history.reports else time_ms
        ending = None if history.status is None else (history.status, history.message)
        self.write(
            history.trial_id, Change(history.params, history.reports, ending, time_ms=first_ms)
        )

    def write(self, trial_id: str | None, change: Change) -> None:
        """Write what the run lacks of a change; creates the run, or opens it again."""
        run = self._find_or_create(trial_id, change.time_ms)
        tags: dict[str, str] = {}
        if change.params is not None:
            run.settled = False
            tags["status"] = "running"
            if run.state != "RUNNING":  # before its reports: one that has ended lacks none
                self._client.update_run(run.run_id, status="RUNNING")
                run.state = "RUNNING"
        if change.ending is not None:
            tags |= _ending_tags(run, *change.ending)
        # Params cannot be changed once written: at a resume only new ones are added.
        texts = _texts(change.params or {}, MAX_PARAM_CHARS)
        new = [(key, text) for key, text in texts.items() if key not in run.params]
        while len(new) > MAX_PARAMS_PER_REQUEST:
            self._log(run, params=dict(new[:MAX_PARAMS_PER_REQUEST]))
            del new[:MAX_PARAMS_PER_REQUEST]
        *batches, last = _batches(run, change)
        for batch in batches:
            self._log(run, batch, dict(new))
            new = []
        self._log(run, last, dict(new), tags)

    def log_final(self, trial_id: str, final: Mapping[str, float]) -> None:
        """Log what the final said of a trial, whose run may have ended; again is as once."""
        run = self._find_or_create(trial_id, now_ms())
        # Not the last one, `generator_steps` itself: the run has it from the report at that step.
        *metrics, _ = _metrics(final, STEP, reported_ms(final, now_ms()))
        if any(run.metrics.get(metric.key) != metric.value for metric in metrics):
            self._log(run, metrics)
            self.written["reports"] += 1

    def log_best(self, trial_id: str, metrics: Mapping[str, float], time_ms: int) -> None:
        """Tag the search with the trial that it chose, and log what was chosen it by."""
        from mlflow.entities import Metric

        run = self._find_or_create(None, time_ms)
        logged = [Metric(_key(name), value, time_ms, 0) for name, value in metrics.items()]
        new = [metric for metric in logged if run.metrics.get(metric.key) != metric.value]
        self._log(run, new, tags={BEST_TAG: trial_id})

    def add_files(
        self,
        trial_id: str | None,
        folder: str | None,
        files: Mapping[str, Path],  # by the name they get in MLflow
        only_missing: bool = False,
    ) -> None:
        """Copy files to a run's artifacts, over what is there unless `only_missing`."""
        run = self._find_or_create(trial_id, now_ms())
        if run.settled:
            return
        must_look = only_missing or trial_id is None
        listed = self._client.list_artifacts(run.run_id, folder) if must_look else ()
        sizes = {Path(file.path).name: file.file_size for file in listed}
        for name, path in files.items():
            is_there = name in sizes and sizes[name] in (None, path.stat().st_size)
            if not (is_there and only_missing):
                self._log_file(run, path, folder, name)
                self.written["files"] += not is_there

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
        run = self._find_or_create(trial_id, time_ms)
        if run.settled:
            return
        tags = _ending_tags(run, status, message)
        if run.is_complete != (trial_id not in self.incomplete):
            tags[INCOMPLETE_TAG] = "true" if run.is_complete else "false"
        self._log(run, tags=tags)
        state = state or _state(status)
        if run.state != state:
            self._client.set_terminated(run.run_id, status=state, end_time=time_ms)
            run.state = state
            self.written["ends"] += 1

    def end_search(self, outcome: str, time_ms: int) -> None:
        """Close the parent, and whatever the server still shows as running."""
        self._load_runs()
        for trial_id, run in self._runs.items():
            if trial_id is not None and run.state == "RUNNING":
                self.end(trial_id, "interrupted", None, time_ms, "KILLED")
        # A parent that nobody opened again has its end: no other than the last word changes it.
        if self._find_or_create(None, time_ms).state == "RUNNING" or outcome == "finished":
            self.end(None, outcome, None, time_ms, OUTCOME_STATUS[outcome])

    def _log(
        self,
        run: _Run,
        metrics: Sequence[Any] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """One request, of what the run does not have; none where it has everything."""
        from mlflow.entities import Param, RunTag

        params, tags = params or {}, tags or {}
        new = {key: text for key, text in tags.items() if run.tags.get(key) != text}
        if not (metrics or params or new):
            return
        self._client.log_batch(
            run.run_id,
            metrics=metrics,
            params=[Param(*pair) for pair in params.items()],
            tags=[RunTag(*pair) for pair in new.items()],
            synchronous=True,
        )
        run.params.update(params)
        run.tags.update(new)
        run.metrics.update({metric.key: metric.value for metric in metrics})
        self.written["reports"] += sum(metric.key == run.marker for metric in metrics)


def open_client(tracking_uri: str) -> Any:
    """MLflow's own client, which asks no global state where to write."""
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


def _create_database(uri: str, database: Path) -> None:
    """Make MLflow's tables in a scratch file, which becomes the database once they are all there.

    MLflow makes them one by one: of a process killed in between it could never use the rest.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    scratch = database.with_name(f".{database.name}.new")
    for left in (scratch, scratch.with_name(f"{scratch.name}-journal")):  # by one that was killed
        left.unlink(missing_ok=True)
    # The artifacts' root is of MLflow's experiment 0 alone, which no search writes to.
    root = (database.parent / "mlflow-artifacts").as_uri()
    store = SqlAlchemyStore(uri.replace(str(database), str(scratch), 1), root)
    store.engine.dispose()
    scratch.replace(database)


def absolute_uri(tracking_uri: str) -> tuple[str, Path | None]:
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


def _batches(run: _Run, change: Change) -> list[list[Any]]:
    """The metrics of the reports that are newer than what the run has, a request each."""
    batches: list[list[Any]] = [[]]
    newest = run.last_step
    for report in sorted(change.reports, key=lambda report: report[run.marker]):
        if report[run.marker] <= newest:
            continue
        newest = report[run.marker]
        metrics = _metrics(report, run.marker, reported_ms(report, change.time_ms))
        if batches[-1] and len(batches[-1]) + len(metrics) > MAX_METRICS_PER_REQUEST:
            batches.append([])
        batches[-1] += metrics
    return batches


def _ending_tags(run: _Run, status: str, message: str | None) -> dict[str, str]:
    # An empty message takes the place of an earlier ending's.
    told = message if message or not run.tags.get("message") else ""
    return _texts({"status": status, "message": told}, MAX_TAG_CHARS)


def _state(status: str) -> str:
    return RUN_STATUS.get(status, "FAILED")


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
