"""The runs of one search in MLflow: found by their tags, written without doubling anything.

MLflow is imported where it is first used: that takes seconds. A run is brought up to date by the
same steps while the search runs, at a resume and afterwards: they compare what the search's folder
has with what MLflow has, and write the difference. So a resumed search lands on the same runs, each
value once, after a kill at any moment:

- a run is created with its tags in one request, and found again by them;
- all metrics of a report travel in one request, and a trial's reports in their order, so what
  MLflow holds of a trial is always its first reports: the last step there says which
  ones are missing; where many reports wait, one request takes as many as MLflow lets it;
- the state of a run is written after all the rest of it, so a run that has its end lacks nothing;
- a report keeps the time at which it was made, so that MLflow itself refuses to store it twice
  when the answer to a request got lost.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

from tuner.results import PICTURES, Report, hyperparameters
from tuner.study import Trial
from tuner.tracking import model as mlflow_model
from tuner.tracking.description import ParentRun
from tuner.tracking.follower import TrialUpdate
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
    RUNG_TAG,
    SEARCH_TAG,
    STEP,
    TRIAL_TAG,
    WAITING,
    Run,
    ended_ms,
    ending_tags,
    key_of,
    marker_of,
    metric_name,
    metrics_of,
    new_metrics,
    now_ms,
    reported_ms,
    status_of,
    texts,
)
from tuner.tracking.view import VIEW_TAG, shared_view

#: What MLflow shows as the description of an experiment.
_EXPERIMENT_NOTE = (
    "Searches for Wasserstein GANs: a run for each search, and one below it for each trial. `w1` "
    "ranks the trials; lower is better. Compare it only between runs of equal tags `data` and "
    "`ground`."
)


@final
@dataclass(frozen=True)
class Step:
    """One of the writes that bring a run up to date; it may be tried again after a failure."""

    write: Callable[[], None]
    is_file: bool = False
    is_needed: bool = False  # nothing can be written without it


@final
@dataclass
class Runs:
    """All runs of one search. Each write may be tried again as it is after a failure."""

    uri: str
    database: Path | None
    experiment: str
    artifact_location: str | None
    naming: Naming
    search_id: str
    samples: Path  # the folder of the grids of samples, by trial
    make_client: Callable[[str], Any]
    incomplete: set[str | None] = field(default_factory=set)
    written: Counter[str] = field(default_factory=Counter)  # runs, reports, files, models, ends
    _client: Any = None
    _experiment_id: str = ""
    _view: str | None = None
    _model_id: str | None = None
    _runs: dict[str | None, Run] = field(default_factory=dict)  # None: the parent
    _creating: set[str | None] = field(default_factory=set)

    def open(self, began_ms: int, reopens: bool) -> None:
        """Find or create the database, the experiment and the parent run.

        Args:
            began_ms: When the search began, for a parent that is not there yet.
            reopens: Whether the search resumes: else a parent that has ended stays as it is.
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
        run = self._find_or_create(None, began_ms)
        if run.state == "RUNNING" or reopens:
            self._reopen(run)
            self._log_in_batches(run, None, [[]], {"status": "running"})

    def share_view(self, columns: Sequence[str]) -> None:
        """Have MLflow show the trials in these columns, the best first, at an address of its own.

        Args:
            columns: As :func:`tuner.tracking.view.view_columns` lists them.
        """
        parent = self._find_or_create(None, now_ms())
        if (view := shared_view(parent.run_id, columns)) is not None:
            tag = f"{VIEW_TAG}{self.search_id}"
            self._client.set_experiment_tag(self._experiment_id, tag, view)
            self._view = self.search_id

    def answers(self) -> bool:
        """Tell whether the tracking server itself, artifacts apart, can be reached."""
        with contextlib.suppress(Exception):
            self._client.get_experiment(self._experiment_id)
            return True
        return False

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            location = artifact_uri(self.artifact_location, self.database)
            try:
                return self._client.create_experiment(
                    self.experiment, artifact_location=location, tags={NOTE_TAG: _EXPERIMENT_NOTE}
                )
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

    def _find_or_create(self, trial: Trial | None, time_ms: int) -> Run:
        trial_id = None if trial is None else trial.trial_id
        if trial_id in self._creating:  # that attempt failed here, but perhaps not over there
            self._load_runs()
            self._creating.discard(trial_id)
        if trial_id in self._runs:
            return self._runs[trial_id]
        self._creating.add(trial_id)
        facts = self._facts(trial)
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
            trial_id, Run(created.info.run_id, marker_of(trial_id), tags=tags, files={})
        )

    def _facts(self, trial: Trial | None) -> Facts:
        if trial is None:
            return self.naming.parent()
        return self.naming.child(trial.trial_id, hyperparameters(trial))

    def trial_steps(self, update: TrialUpdate) -> Iterator[Step]:
        """Bring the run of a trial up to date, in steps: all that MLflow does not have of it."""
        trial = update.trial
        if not self._is_settled(update):
            yield Step(partial(self._write_reports, update))
            if update.is_all:
                yield Step(partial(self._add_pictures, trial), is_file=True)
        if update.is_all and trial.final is not None:
            yield Step(partial(self._log_final, trial, trial.final))
        if update.is_all and not update.is_running:
            yield Step(partial(self._end_trial, trial, now_ms()))

    def _is_settled(self, update: TrialUpdate) -> bool:
        """Tell whether MLflow has the end of a run, which is written after all the rest."""
        trial, run = update.trial, self._runs.get(update.trial.trial_id)
        status, state = status_of(trial, update.is_running)
        if update.is_running or run is None or run.state != state or not run.is_complete:
            return False
        if any(report[STEP] > run.last_step for report in update.reports):
            return False
        tags = ending_tags(run, status, trial.message, trial.best_rung)
        if not run.is_described:
            tags |= texts(self._facts(trial).tags, MAX_TAG_CHARS)
        return tags.items() <= run.tags.items()

    def _write_reports(self, update: TrialUpdate) -> None:
        """Write the params, the tags and the reports that the run lacks, if possible at once."""
        trial, reports, since_ms = update.trial, update.reports, update.since_ms
        began_ms = min([since_ms, *(reported_ms(report, since_ms) for report in reports[:1])])
        run = self._find_or_create(trial, began_ms)
        batches = new_metrics(run, reports, since_ms)
        if update.is_running or batches != [[]]:
            self._reopen(run)  # before its reports: a run that has ended lacks none
        status, _ = status_of(trial, update.is_running)
        tags = ending_tags(run, status, trial.message, trial.best_rung)
        self._log_in_batches(run, trial, batches, tags)

    def _reopen(self, run: Run, state: str = "RUNNING") -> None:
        if run.state != state:
            self._client.update_run(run.run_id, status=state)
            run.state = state

    def _log_in_batches(
        self, run: Run, trial: Trial | None, batches: Sequence[Sequence[Any]], tags: dict[str, str]
    ) -> None:
        """Log metrics and tags, with all that describes the run where this session did not yet."""
        params: list[tuple[str, str]] = []
        if not run.is_described:
            facts = self._facts(trial)
            tags = texts(facts.tags, MAX_TAG_CHARS) | tags
            # Params cannot be changed once written: at a resume only new ones are added.
            given = texts(facts.params, MAX_PARAM_CHARS)
            params = [(key, text) for key, text in given.items() if key not in run.params]
        while len(params) > MAX_PARAMS_PER_REQUEST:
            self._log(run, params=dict(params[:MAX_PARAMS_PER_REQUEST]))
            del params[:MAX_PARAMS_PER_REQUEST]
        *others, last = batches
        for batch in others:
            self._log(run, batch, dict(params))
            params = []
        self._log(run, last, dict(params), tags)
        run.is_described = True

    def _add_pictures(self, trial: Trial) -> None:
        """Copy the grids of samples that the run lacks."""
        run = self._find_or_create(trial, now_ms())
        pictures = sorted((self.samples / trial.trial_id).glob(PICTURES))
        if not pictures:
            return
        for path in pictures:
            if not self._has_file(run, path, "samples"):
                self._copy(run, path, "samples")

    def _log_final(self, trial: Trial, final: Report) -> None:
        """Log how the final scored a trial, whose run may have ended; idempotent."""
        run = self._find_or_create(trial, now_ms())
        # Not the last one, `generator_steps` itself: the run has it from the report at that step.
        *metrics, _ = metrics_of(final, STEP, reported_ms(final, now_ms()))
        if new := [metric for metric in metrics if run.metrics.get(metric.key) != metric.value]:
            self._log(run, new)
            self.written["reports"] += 1

    def _end_trial(self, trial: Trial, time_ms: int) -> None:
        """Close the run of a trial that does not run."""
        run = self._find_or_create(trial, time_ms)
        status, state = status_of(trial, is_running=False)
        self._end(run, trial.trial_id, status, trial.message, ended_ms(trial, time_ms), state)

    def log_progress(self, reports_since: Callable[[float], Sequence[Report]]) -> None:
        """Log the metrics of the search, once for each number of trials that have ended.

        Args:
            reports_since: Gives the reports for more than so many of them.
        """
        run = self._find_or_create(None, now_ms())
        for batch in new_metrics(run, reports_since(run.last_step), now_ms()):
            self._log(run, batch)

    def log_best(self, trial: Trial, metrics: Mapping[str, float], time_ms: int) -> None:
        """Tag the search with the trial that it chose, and log what was chosen it by."""
        from mlflow.entities import Metric

        run = self._find_or_create(None, time_ms)
        logged = [Metric(key_of(name), value, time_ms, 0) for name, value in metrics.items()]
        new = [metric for metric in logged if run.metrics.get(metric.key) != metric.value]
        tags = {BEST_TAG: trial.trial_id, RUNG_TAG: trial.best_rung}
        self._log(run, new, tags=texts(tags, MAX_TAG_CHARS))

    def add_file(self, path: Path) -> None:
        """Copy a file to the artifacts of the search, over one that is there already."""
        self._copy(self._find_or_create(None, now_ms()), path)

    def log_model(self, trial: Trial, generator: Path) -> None:
        """Make the generator of this trial the search's one model; idempotent."""
        run = self._find_or_create(None, now_ms())
        chosen = {BEST_TAG: trial.trial_id, RUNG_TAG: trial.best_rung}
        tags = {**self.naming.tags, SEARCH_TAG: self.search_id, **chosen}
        self._model_id, is_new = mlflow_model.write(
            self._client, self._experiment_id, run.run_id, generator, texts(tags, MAX_TAG_CHARS)
        )
        self.written["models"] += is_new

    def describe(self, note: Callable[[ParentRun], str], shown_uri: str) -> None:
        """Describe the search, with what its run holds by now."""
        run = self._find_or_create(None, now_ms())
        files = frozenset(self._files(run))
        parent = ParentRun(shown_uri, self._experiment_id, run.run_id, files, self._model_id)
        self._log(run, tags=texts({NOTE_TAG: note(parent)}, MAX_TAG_CHARS))

    @property
    def num_runs(self) -> int:
        """Return how many runs are known so far."""
        return len(self._runs)

    def places(self) -> dict[str, Any]:
        """Return the ids of the experiment and of all runs that are known so far."""
        ids = {trial_id: run.run_id for trial_id, run in self._runs.items()}
        return {
            "experiment_id": self._experiment_id,
            "parent": ids.pop(None, None),
            **({} if self._view is None else {"view": self._view}),
            "runs": dict(sorted((str(trial_id), run_id) for trial_id, run_id in ids.items())),
        }

    def _files(self, run: Run, folder: str | None = None) -> dict[str, int | None]:
        """Return the bytes of the files of a run by name; list them before the first is copied."""
        if run.files is None:
            listed = self._client.list_artifacts(run.run_id, folder)
            run.files = {Path(file.path).name: file.file_size for file in listed}
        return run.files

    def _has_file(self, run: Run, path: Path, folder: str | None = None) -> bool:
        files = self._files(run, folder)
        return path.name in files and files[path.name] in (None, path.stat().st_size)

    def _copy(self, run: Run, path: Path, folder: str | None = None) -> None:
        is_new = not self._has_file(run, path, folder)
        self._client.log_artifact(run.run_id, str(path), folder)
        self._files(run)[path.name] = path.stat().st_size
        self.written["files"] += is_new

    def _end(
        self, run: Run, trial_id: str | None, status: str, message: str | None, time_ms: int,
        state: str,
    ) -> None:  # fmt: skip
        """Tag a run with how it ended, and close it."""
        tags = ending_tags(run, status, message)
        if run.is_complete != (trial_id not in self.incomplete):
            tags[INCOMPLETE_TAG] = "true" if run.is_complete else "false"
        self._log(run, tags=tags)
        if state == WAITING:
            self._reopen(run, WAITING)
        elif run.state != state:
            self._client.set_terminated(run.run_id, status=state, end_time=time_ms)
            run.state = state
            self.written["ends"] += 1

    def end_search(self, outcome: str, time_ms: int) -> None:
        """Close the parent, and all runs that the server still shows as running."""
        self._load_runs()
        for trial_id, run in self._runs.items():
            if trial_id is not None and run.state == "RUNNING":
                self._end(run, trial_id, "interrupted", None, time_ms, "KILLED")
        run = self._find_or_create(None, time_ms)
        # A parent that this session did not reopen keeps its end until the search has finished.
        if run.state == "RUNNING" or outcome == "finished":
            self._end(run, None, outcome, None, time_ms, OUTCOME_STATUS[outcome])

    def _log(
        self,
        run: Run,
        metrics: Sequence[Any] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Send one request, of what the run does not have; none if it has everything."""
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
