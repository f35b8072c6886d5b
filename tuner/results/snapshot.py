"""Read the state of a search from its folder, without changing it: the search may be running."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from tuner import storage
from tuner.errors import BadInput, Fault
from tuner.results.budgets import Spent, trial_seconds
from tuner.results.ranking import best_of, is_finished
from tuner.results.reports import as_of_now, latest, read_reports
from tuner.results.search_folder import check_is_search
from tuner.space import SearchSpec, read_saved_spec
from tuner.study import FinalScore, Study, Trial

State = Literal["running", "interrupted", "finished"]


@final
@dataclass(frozen=True)
class Snapshot:
    """The state of a search at one moment.

    ``trials`` are sorted by number; their metrics are the last report
    (:func:`tuner.results.reports.as_of_now`). ``reports`` are all reports by trial number and
    generator step; a report at a rung has ``w1``. ``data`` is the fingerprint of the data.
    ``floor`` has ``w1_floor`` and ``w1_floor_stderr``, or is ``None`` before they are measured;
    ``final_floor`` is the score of the same real samples by the final's critics.
    """

    run_dir: Path
    spec: SearchSpec
    search_id: str
    trials: tuple[Trial, ...]
    reports: Mapping[int, Mapping[int, Mapping[str, float]]]
    floor: Mapping[str, float] | None
    elapsed_s: float
    is_running: bool
    data: str | None = None
    final_floor: FinalScore | None = None

    @property
    def spent(self) -> Spent:
        """Return what the search has used."""
        steps = sum(trial.generator_steps for trial in self.trials)
        trial_s = sum(trial_seconds(trial.metrics) for trial in self.trials)
        return Spent(self.elapsed_s, steps, trial_s, self.spec.resources.counted_gpus)

    @property
    def is_finished(self) -> bool:
        """Return whether a resume would have nothing to do."""
        return is_finished(
            self.trials,
            num_trials=self.spec.num_trials,
            is_over_budget=self.spent.exceeds(self.spec.search.budgets),
            num_finalists=self.spec.objective.final_trials,
            num_seeds=self.spec.objective.final_seeds,
        )

    @property
    def state(self) -> State:
        """Return whether the search is running, was interrupted or is finished."""
        if self.is_running:
            return "running"
        return "finished" if self.is_finished else "interrupted"

    @property
    def best(self) -> Trial | None:
        """Return the best trial: of those in the final, else of the completed ones."""
        return best_of(self.trials)

    def trial(self, trial_id: str) -> Trial:
        """Return the trial of this number, given with or without leading zeros.

        Raises:
            BadInput: if the search has no such trial.
        """
        number = int(trial_id) if trial_id.isascii() and trial_id.isdigit() else -1
        if not 0 <= number < len(self.trials):
            last = len(self.trials) - 1
            numbers = f"its trials are 0 to {last}" if self.trials else "it has no trials yet"
            message = f"{self.run_dir} has no trial {trial_id!r}: {numbers}"
            raise BadInput("--trial", [Fault("", message)])
        return self.trials[number]


def _checkpoint_location(run_dir: Path, search: SearchSpec) -> str:
    """Return the folder, or URI, that holds the search's checkpoints."""
    if search.results.storage is None or (run_dir / "ray").is_dir():
        return str(run_dir)
    try:
        location = search.results.location
    except ValueError:  # of a machine with other variables: all but checkpoints can be read here
        location = None
    return storage.join(location or search.results.storage, search.name)


def read_snapshot(run_dir: Path) -> Snapshot:
    """Read the state of a search; nothing in its folder is changed.

    Raises:
        BadInput: if the folder holds no search, or a damaged one.
    """
    check_is_search(run_dir)
    search = read_saved_spec(run_dir / "spec.yaml")
    is_running = storage.is_owned(run_dir)
    with tempfile.TemporaryDirectory() as scratch:
        # A copy, since opening a journal truncates a partial last line, which the running search
        # may be writing.
        journal = Path(shutil.copy(run_dir / "study.log", scratch))
        try:
            study = Study(journal, search, _checkpoint_location(run_dir, search))
        except BadInput as error:  # it names the copy
            raise BadInput(str(run_dir / "study.log"), error.faults) from error
        trials, search_id = study.trials(), study.search_id
        floor, elapsed_s, data = study.floor, study.elapsed_s, study.data
        final_floor = study.final_floor
    reports = read_reports(run_dir / "metrics.jsonl")
    return Snapshot(
        run_dir=run_dir,
        spec=search,
        search_id=search_id,
        trials=tuple(as_of_now(trial, *latest(reports.get(trial.number, {}))) for trial in trials),
        reports=reports,
        floor=floor,
        elapsed_s=elapsed_s,
        is_running=is_running,
        data=data,
        final_floor=final_floor,
    )
