"""Write a search to MLflow, following its own files from a background thread."""

import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, final

from tuner.results import best_of, first_report, read_sessions
from tuner.space import SearchSpec
from tuner.study import Trial
from tuner.tracking.best_scores import BestScores
from tuner.tracking.description import search_note
from tuner.tracking.follower import Follower, SessionEnd, TrialUpdate
from tuner.tracking.naming import naming_of
from tuner.tracking.places import PlacesFile
from tuner.tracking.retry import Retries
from tuner.tracking.runs import Runs, Step
from tuner.tracking.store import absolute_uri, open_client
from tuner.tracking.text import masked
from tuner.tracking.values import now_ms, reported_ms
from tuner.tracking.view import view_columns

KEPT_FILES = (
    "report.html",
    "spec.yaml",
    "trials.csv",
    "best.yaml",
    "best/generator.pt",
    "best/samples.png",
)


def kept_files(run_dir: Path) -> list[Path]:
    """Give the files of a search's folder that MLflow keeps, as far as they exist."""
    return [path for name in KEPT_FILES if (path := run_dir / name).exists()]


def kept_generator(run_dir: Path) -> Path | None:
    """Give the file that MLflow keeps as a model, once it exists."""
    path = run_dir / "best" / "generator.pt"
    return path if path.exists() else None


@final
class Tracker(Follower):
    """Writer of one search to MLflow."""

    def __init__(
        self,
        spec: SearchSpec,
        run_dir: Path,
        search_id: str,
        warn: Callable[[str], None],
        tracking_uri: str | None = None,
        make_client: Callable[[str], Any] = open_client,
    ) -> None:
        """Import, open and write nothing before `start`.

        Args:
            spec: The search.
            run_dir: Its folder; without a tracking URI the database stands next to it.
            search_id: Tells it from an earlier search of the same name.
            warn: Gets one line for each kind of trouble, from the thread.
            tracking_uri: Replaces that of the search; as in the search, variables are replaced.
            make_client: Makes MLflow's client for a URI.
        """
        if not re.fullmatch(r"[\w.-]+", search_id):  # it goes into a filter that cannot escape
            raise ValueError(f"search_id is {search_id!r}: use letters, digits, '_', '-' and '.'")
        super().__init__(run_dir, "mlflow")
        mlflow = spec.mlflow
        if tracking_uri is not None:
            mlflow = mlflow.model_copy(update={"tracking_uri": tracking_uri})
        uri = mlflow.address
        self._uri, database = absolute_uri(uri or f"sqlite:///{run_dir.parent}/mlflow.db")
        self._runs = Runs(
            self._uri,
            database,
            spec.mlflow.experiment,
            None if uri else (run_dir.parent / "mlflow-artifacts").as_uri(),
            naming_of(spec, read_sessions(run_dir)),
            search_id,
            run_dir / "samples",
            make_client,
        )
        self._spec = spec
        place = f"MLflow ({masked(self._uri)})"
        self._retries = Retries(self._runs, lambda text: warn(f"{place} {text}"))
        option = f" --tracking-uri {shlex.quote(tracking_uri)}" if tracking_uri else ""
        python, folder = shlex.quote(sys.executable), shlex.quote(str(run_dir))
        self._sync_command = f"{python} -m tuner.sync {folder}{option}"
        # Of another MLflow than the search's own the folder does not keep where the runs are.
        self._places = None if tracking_uri else PlacesFile(run_dir)
        self._best_scores = BestScores(spec.objective.metric)
        self._last: Sequence[Step] = ()  # to be written after all the rest

    @property
    def ui_command(self) -> str:
        """Return how to open it: a command for a database, the address for a server."""
        if self._uri.startswith(("http://", "https://")):
            return masked(self._uri)
        python = shlex.quote(sys.executable)  # whose MLflow this is, on the PATH or not
        return f"{python} -m mlflow ui --backend-store-uri {shlex.quote(masked(self._uri))}"

    @property
    def written(self) -> Mapping[str, int]:
        """Return how many runs, reports, files, models and ends of runs MLflow got from here."""
        return self._runs.written

    def _prepare_end(
        self,
        outcome: SessionEnd,
        artifacts: Sequence[Path],
        generator: Path | None,
        time_ms: int,
    ) -> None:
        self._last = [*self._last_steps(outcome, artifacts, generator, time_ms)]
        self._retries.close()

    def _give_up(self) -> str | None:
        self._retries.abandon()
        return self._missing()

    def _last_steps(
        self, outcome: str, artifacts: Sequence[Path], generator: Path | None, time_ms: int
    ) -> Iterator[Step]:
        runs, trials = self._runs, self._changed.trials()
        chosen = best_of(trials)
        if chosen is not None:
            final = chosen.final or {}
            names = ("w1_final", "w1_final_stderr", "w1_final_mean", "w1_final_mean_stderr")
            scores = {f"best_{name}": final[name] for name in names if name in final}
            chosen_ms = reported_ms(final, time_ms)
            yield Step(partial(runs.log_best, chosen, scores, chosen_ms))
        for path in artifacts:
            yield Step(partial(runs.add_file, path), is_file=True)
        if chosen is not None:
            if generator is not None:
                log_model = partial(runs.log_model, chosen, generator)
                yield Step(log_model, is_file=True)
            note = partial(search_note, self._spec, self._run_dir, chosen, trials)
            yield Step(partial(runs.describe, note, masked(self._uri)), is_file=True)
        yield Step(partial(runs.end_search, outcome, time_ms))

    def _missing(self) -> str | None:
        lacking = self._changed.lacking | self._runs.incomplete
        if not lacking:
            return None
        num_trials = len(lacking - {None})
        up_to = "" if self._has_compared else "up to "
        parts = [f"{up_to}{num_trials} trial{'s' * (num_trials > 1)}"] * (num_trials > 0)
        parts += ["the search itself"] * (None in lacking)
        return (
            f"MLflow ({masked(self._uri)}) lacks data of {' and of '.join(parts)} "
            f"({self._retries.last_failure}). Nothing is lost: the search's own folder has it all. "
            "Once that is fixed, --resume writes what is missing, and so does: "
            f"{self._sync_command}"
        )

    def _begin(self, *, resumes: bool) -> bool:
        began_ms = reported_ms(first_report(self._run_dir / "metrics.jsonl"), now_ms())
        begin = Step(partial(self._runs.open, began_ms, resumes), is_needed=True)
        view = Step(partial(self._runs.share_view, view_columns(self._spec)), is_file=True)
        return self._write([begin, view], None)

    def _write_trial(self, update: TrialUpdate) -> bool:
        if update.trial.number in self._retries.cut:
            update = replace(update, reports=())
        return self._write(self._runs.trial_steps(update), update.trial)

    def _write_progress(self, trials: Sequence[Trial]) -> bool:
        if not self._best_scores.add(trials):
            return True
        progress = Step(partial(self._runs.log_progress, self._best_scores.since))
        return self._write([progress], None)

    def _write_last(self) -> bool:
        return self._write(self._last, None)

    def _cannot_read(self, failure: str) -> None:
        self._retries.last_failure = failure
        self._retries.warn("log", f"is not written to any more: {failure}. The search continues.")

    def _leave(self) -> None:
        self._update_places(is_last=True)

    def _write(self, steps: Iterable[Step], trial: Trial | None) -> bool:
        can_continue = self._retries.write(steps, trial)
        self._update_places()
        return can_continue

    def _update_places(self, *, is_last: bool = False) -> None:
        if self._places is None:
            return
        try:
            self._places.update(self._runs, is_last=is_last)
        except OSError as error:
            text = f"cannot be linked to, without {self._places.path}: {error.strerror}."
            self._retries.warn("places", text)
