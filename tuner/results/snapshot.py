"""A search as its folder has it at a moment, read without touching it: it may be running."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from tuner import storage
from tuner.errors import BadInput, Fault
from tuner.results.ranking import best_of, is_finished
from tuner.results.reports import as_of_now, latest, read_reports
from tuner.results.search_folder import check_is_search
from tuner.space import SearchSpec, read_spec
from tuner.study import Study, Trial

State = Literal["running", "interrupted", "finished"]


@final
@dataclass(frozen=True)
class Snapshot:
    """What is known of a search.

    ``trials`` are by number, each as of now (:func:`tuner.results.reports.as_of_now`).
    ``reports`` are what each trial reported, by its number and then by generator step; a report at
    a rung has ``w1``. ``data`` is the fingerprint of its data. ``floor`` has ``w1_floor`` and
    ``w1_floor_stderr``, once they were measured.
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

    @property
    def is_finished(self) -> bool:
        """Whether a resume would find nothing to do."""
        return is_finished(
            self.trials,
            num_trials=self.spec.num_trials,
            budget_s=self.spec.search.time_budget_s,
            elapsed_s=self.elapsed_s,
            num_finalists=self.spec.objective.final_trials,
        )

    @property
    def state(self) -> State:
        """Running, or how it was left."""
        if self.is_running:
            return "running"
        return "finished" if self.is_finished else "interrupted"

    @property
    def best(self) -> Trial | None:
        """The best trial so far: of those in the final, else of those completed."""
        return best_of(self.trials)

    def trial(self, trial_id: str) -> Trial:
        """The trial of this number, with or without its leading zeros.

        Raises:
            BadInput: where there is none.
        """
        number = int(trial_id) if trial_id.isascii() and trial_id.isdigit() else -1
        if not 0 <= number < len(self.trials):
            there = f"it has 0 to {len(self.trials) - 1}" if self.trials else "it has none yet"
            what = f"{self.run_dir} has no trial {trial_id!r}: {there}"
            raise BadInput("--trial", [Fault("", what)])
        return self.trials[number]


def _checkpoint_location(run_dir: Path, search: SearchSpec) -> str:
    """Return the folder, or URI, that holds the search's checkpoints."""
    in_storage = search.results.storage is not None and not (run_dir / "ray").is_dir()
    return storage.join(search.results.storage or "", search.name) if in_storage else str(run_dir)


def read_snapshot(run_dir: Path) -> Snapshot:
    """Read a search's folder; nothing in it is written, mended or locked for longer than a look.

    Raises:
        BadInput: where it holds no search, or a damaged one.
    """
    check_is_search(run_dir)
    search = read_spec(run_dir / "spec.yaml")
    is_running = storage.is_owned(run_dir)
    with tempfile.TemporaryDirectory() as scratch:
        # A copy: to open a journal is to mend it, which whoever writes it would not survive.
        journal = Path(shutil.copy(run_dir / "study.log", scratch))
        try:
            study = Study(journal, search, _checkpoint_location(run_dir, search))
        except BadInput as error:  # it names the copy
            raise BadInput(str(run_dir / "study.log"), error.faults) from error
        trials, search_id = study.trials(), study.search_id
        floor, elapsed_s, data = study.floor, study.elapsed_s, study.data
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
    )
