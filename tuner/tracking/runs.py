"""The runs of one search in MLflow: found by their tags, written without doubling anything.

Only the files named ``mlflow_*`` know MLflow, and import it where it is first used: that takes
seconds. What makes a resumed search land on the same runs, each value once, after a kill at any
moment:

- a run is created with its tags in one request, and found again by them;
- all metrics of a report travel in one request, and a trial's reports in their order, so what
  MLflow holds of a trial is always its first reports: the last step there says which
  ones are missing; where many reports wait, one request takes as many as MLflow lets it;
- the state of a run is written after all the rest of it, so a run that has its end lacks nothing;
- an event keeps the time at which it happened, so that MLflow itself refuses to store it twice
  when the answer to a request got lost.
"""

import contextlib
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from tuner.tracking import model as mlflow_model
from tuner.tracking.history import STEP, Links, TrialHistory, now_ms, reported_ms
from tuner.tracking.naming import Facts, Naming
from tuner.tracking.store import (
    artifact_uri,
    create_database,
    prepare_store,
    relocate_files,
    schema_lock,
)
from tuner.tracking.values import (
    BEST_TAG,
    INCOMPLETE_TAG,
    MAX_PARAM_CHARS,
    MAX_PARAMS_PER_REQUEST,
    MAX_TAG_CHARS,
    NOTE_TAG,
    OUTCOME_STATUS,
    SEARCH_TAG,
    TRIAL_TAG,
    Change,
    Run,
    ending_tags,
    key_of,
    marker_of,
    metric_name,
    metrics_of,
    new_metrics,
    state_of,
    texts,
)

#: Of a trial whose start could not be written.
_UNKNOWN: Mapping[str, object] = {}


@final
@dataclass
class Runs:
    """The thread's side: turns events into requests. Each write may be tried again as it is."""

    uri: str
    database: Path | None
    experiment: str
    artifact_location: str | None
    naming: Naming
    search_id: str
    make_client: Callable[[str], Any]
    incomplete: set[str | None] = field(default_factory=set)
    written: Counter[str] = field(default_factory=Counter)  # runs, reports, files, models, ends
    _client: Any = None
    _experiment_id: str = ""
    _model_id: str | None = None
    _runs: dict[str | None, Run] = field(default_factory=dict)  # None: the parent
    _creating: set[str | None] = field(default_factory=set)

    def open(self, began_ms: int, reopens: bool) -> None:
        """Find or create the database, the experiment and the parent run.

        Args:
            began_ms: When the search began, for a parent that is not there yet.
            reopens: Whether the search goes on: else a parent that has ended stays as it is.
        """
        prepare_store()
        with schema_lock(self.database):
            if self.database is not None:
                if self.database.exists():
                    relocate_files(self.database)
                else:
                    create_database(self.uri, self.database)
            if self._client is None:
                self._client = self.make_client(self.uri)
            self._experiment_id = self._find_experiment()
        self._load_runs()
        if self._find_or_create(None, began_ms).state == "RUNNING" or reopens:
            self.write(None, Change({}))

    def answers(self) -> bool:
        """Whether the tracking server itself, artifacts apart, can be reached."""
        with contextlib.suppress(Exception):
            self._client.get_experiment(self._experiment_id)
            return True
        return False

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            location = artifact_uri(self.artifact_location, self.database)
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
        runs: dict[str | None, Run] = {}
        doubles: list[str] = []
        for found in self._search():
            tags, metrics = found.data.tags, found.data.metrics
            trial_id = tags.get(TRIAL_TAG)
            run = Run(
                found.info.run_id,
                marker_of(trial_id),
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

    def _find_or_create(
        self, trial_id: str | None, time_ms: int, applied: Mapping[str, object] = _UNKNOWN
    ) -> Run:
        if trial_id in self._creating:  # that attempt failed here, but perhaps not over there
            self._load_runs()
            self._creating.discard(trial_id)
        if trial_id in self._runs:
            return self._runs[trial_id]
        self._creating.add(trial_id)
        facts = self._facts(trial_id, applied)
        tags = texts(facts.tags, MAX_TAG_CHARS) | {SEARCH_TAG: self.search_id, "status": "running"}
        if trial_id is not None:
            parent = self._find_or_create(None, time_ms)
            tags |= {TRIAL_TAG: trial_id, "mlflow.parentRunId": parent.run_id}
        created = self._client.create_run(
            self._experiment_id, start_time=time_ms, tags=tags, run_name=facts.name
        )
        self._creating.discard(trial_id)
        self.written["runs"] += 1
        return self._runs.setdefault(
            trial_id, Run(created.info.run_id, marker_of(trial_id), tags=tags)
        )

    def _facts(self, trial_id: str | None, applied: Mapping[str, object]) -> Facts:
        naming = self.naming
        return naming.parent() if trial_id is None else naming.child(trial_id, applied)

    def restore(self, history: TrialHistory, time_ms: int) -> None:
        """Bring a run up to the history's reports; its files and its end come as further events."""
        run = self._runs.get(history.trial_id)
        last_step = max((report[STEP] for report in history.reports), default=-math.inf)
        if run is not None and run.is_complete and run.last_step >= last_step:
            state = "KILLED" if history.status is None else state_of(history.status)
            told = texts(self._facts(history.trial_id, history.params).tags, MAX_TAG_CHARS)
            told["status"] = history.status or "interrupted"
            is_same = told.items() <= run.tags.items()
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
        run = self._find_or_create(trial_id, change.time_ms, change.params or _UNKNOWN)
        tags: dict[str, str] = {}
        params: Mapping[str, object] = {}
        if change.params is not None:
            facts = self._facts(trial_id, change.params)
            params = facts.params
            run.settled = False
            tags = texts(facts.tags, MAX_TAG_CHARS) | {"status": "running"}
            if run.state != "RUNNING":  # before its reports: one that has ended lacks none
                self._client.update_run(run.run_id, status="RUNNING")
                run.state = "RUNNING"
        if change.ending is not None:
            tags |= ending_tags(run, *change.ending)
        # Params cannot be changed once written: at a resume only new ones are added.
        given = texts(params, MAX_PARAM_CHARS)
        new = [(key, text) for key, text in given.items() if key not in run.params]
        while len(new) > MAX_PARAMS_PER_REQUEST:
            self._log(run, params=dict(new[:MAX_PARAMS_PER_REQUEST]))
            del new[:MAX_PARAMS_PER_REQUEST]
        *batches, last = new_metrics(run, change)
        for batch in batches:
            self._log(run, batch, dict(new))
            new = []
        self._log(run, last, dict(new), tags)

    def log_final(self, trial_id: str, final: Mapping[str, float]) -> None:
        """Log what the final said of a trial, whose run may have ended; again is as once."""
        run = self._find_or_create(trial_id, now_ms())
        # Not the last one, `generator_steps` itself: the run has it from the report at that step.
        *metrics, _ = metrics_of(final, STEP, reported_ms(final, now_ms()))
        if any(run.metrics.get(metric.key) != metric.value for metric in metrics):
            self._log(run, metrics)
            self.written["reports"] += 1

    def log_best(self, trial_id: str, metrics: Mapping[str, float], time_ms: int) -> None:
        """Tag the search with the trial that it chose, and log what was chosen it by."""
        from mlflow.entities import Metric

        run = self._find_or_create(None, time_ms)
        logged = [Metric(key_of(name), value, time_ms, 0) for name, value in metrics.items()]
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

    def log_model(self, trial_id: str, generator: Path) -> None:
        """Have the search's one model be the generator of this trial; again is as once."""
        run = self._find_or_create(None, now_ms())
        tags = {**self.naming.tags, SEARCH_TAG: self.search_id, BEST_TAG: trial_id}
        self._model_id, is_new = mlflow_model.write(
            self._client, self._experiment_id, run.run_id, generator, texts(tags, MAX_TAG_CHARS)
        )
        self.written["models"] += is_new

    def describe(self, note: Callable[[Links], str], shown_uri: str) -> None:
        """Describe the search, with what its run holds by now."""
        run = self._find_or_create(None, now_ms())
        files = frozenset(file.path for file in self._client.list_artifacts(run.run_id))
        links = Links(shown_uri, self._experiment_id, run.run_id, files, self._model_id)
        self._log(run, tags=texts({NOTE_TAG: note(links)}, MAX_TAG_CHARS))

    @property
    def num_runs(self) -> int:
        """How many runs are known so far."""
        return len(self._runs)

    def places(self) -> dict[str, Any]:
        """The ids of the experiment and of all runs that are known so far."""
        ids = {trial_id: run.run_id for trial_id, run in self._runs.items()}
        return {
            "experiment_id": self._experiment_id,
            "parent": ids.pop(None, None),
            "runs": dict(sorted((str(trial_id), run_id) for trial_id, run_id in ids.items())),
        }

    def _log_file(self, run: Run, path: Path, folder: str | None, name: str) -> None:
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
        tags = ending_tags(run, status, message)
        if run.is_complete != (trial_id not in self.incomplete):
            tags[INCOMPLETE_TAG] = "true" if run.is_complete else "false"
        self._log(run, tags=tags)
        state = state or state_of(status)
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
        run: Run,
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
        self.written["reports"] += sum(metric.key == metric_name(run.marker) for metric in metrics)
