"""Write a search to TensorBoard or Weights & Biases, by the thread that follows it for MLflow.

A trial is one run there, which is derived from the search's folder and can be written again as a
whole. So a resume doubles nothing: it writes the trials again that have changed since, in place of
what was there. ``written.json`` says which have not.
"""

import importlib.util
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, final

from tuner.errors import Fault
from tuner.results import Report, hyperparameters, read_reports, read_sessions
from tuner.space import SearchSpec, TrackingConfig
from tuner.storage import read_json, write_atomically
from tuner.study import Trial
from tuner.tracking.follower import Follower, SessionEnd, TrialUpdate
from tuner.tracking.naming import Facts, naming_of
from tuner.tracking.text import reason
from tuner.tracking.values import STEP

_WRITTEN = "written.json"
#: It is written again at most so often.
_WRITTEN_EVERY_S = 5.0


class Board(Protocol):
    """What a search is written to, a run per trial. Its methods are called from one thread.

    ``folder`` is where it keeps them, in the search's folder.
    """

    name: str
    folder: Path

    @property
    def command(self) -> str:
        """Return the command that opens it."""
        ...

    def open(self) -> None:
        """Prepare to write; called once, before anything else."""
        ...

    def write(self, trial: Trial, reports: Sequence[Report], *, is_running: bool) -> None:
        """Write a trial, in place of what an earlier session wrote.

        It may be called again with the same reports and more.

        Args:
            trial: The trial as it is now.
            reports: All of its reports so far, by generator step.
            is_running: Whether more are to come in this session.
        """
        ...

    def close(self) -> None:
        """Close what is still open."""
        ...


def package_faults(tracking: TrackingConfig) -> list[Fault]:
    """Check that the packages of the chosen boards are installed."""
    needed = {"tensorboard": "tensorboardX"} if tracking.tensorboard else {}
    needed |= {} if tracking.wandb is None else {"wandb": "wandb"}
    lacking = [key for key, package in needed.items() if importlib.util.find_spec(package) is None]
    return [
        Fault(
            f"tracking.{key}",
            f"needs the package {needed[key]}, which is not installed: "
            f"{shlex.quote(sys.executable)} -m pip install {needed[key]}, or leave it out",
        )
        for key in lacking
    ]


def boards_of(
    spec: SearchSpec, run_dir: Path, search_id: str, warn: Callable[[str], None]
) -> list["BoardFollower"]:
    """Return a follower for each board that the search chooses; none has begun to write.

    Args:
        spec: The search.
        run_dir: Its folder.
        search_id: Tells it from an earlier search of the same name.
        warn: Gets a line if a board cannot be written, from its thread.
    """
    from tuner.tracking.tensorboard import TensorBoard
    from tuner.tracking.wandb import WeightsAndBiases

    naming, tracking = naming_of(spec, read_sessions(run_dir)), spec.tracking

    def facts(trial: Trial) -> Facts:
        return naming.child(trial.trial_id, hyperparameters(trial))

    boards: list[Board] = []
    if tracking.tensorboard:
        boards.append(TensorBoard(run_dir, spec, facts))
    if tracking.wandb is not None:
        boards.append(WeightsAndBiases(run_dir, spec, search_id, facts))
    return [BoardFollower(board, run_dir, warn) for board in boards]


@final
class BoardFollower(Follower):
    """Writer of one search to one board."""

    def __init__(self, board: Board, run_dir: Path, warn: Callable[[str], None]) -> None:
        """Import, open and write nothing before `start`."""
        super().__init__(run_dir, board.name)
        self.board = board
        self._warn = warn
        self._reports: dict[int, list[Report]] = {}  # of the trials that are not written as a whole
        self._written: dict[str, list[object]] = {}
        self._due_s = 0.0
        self._failure = "it took too long"

    def _prepare_end(
        self,
        outcome: SessionEnd,
        artifacts: Sequence[Path],
        generator: Path | None,
        time_ms: int,
    ) -> None:
        """Prepare nothing: the artifacts and the generator stay in the search's folder."""

    def _give_up(self) -> str | None:
        if not self._changed.lacking:
            return None
        folder = shlex.quote(str(self._run_dir))
        return (
            f"{self.board.name} lacks data of this search ({self._failure}). Nothing is lost: "
            "the search's own folder has it all. Once that is fixed, --resume writes what is "
            f"missing, and so does: {shlex.quote(sys.executable)} -m tuner.sync {folder}"
        )

    def _begin(self, *, resumes: bool) -> bool:
        def begin() -> None:
            if self.board.folder.is_symlink():  # of a folder that another person may have written
                raise OSError(f"{self.board.folder} is a link: remove it")
            self._written = read_json(self.board.folder / _WRITTEN, dict)
            self.board.open()

        return self._is_done(begin)

    def _write_trial(self, update: TrialUpdate) -> bool:
        trial = update.trial
        if self._is_written(trial):
            self._reports.pop(trial.number, None)
            return True
        if trial.number not in self._reports and self._written.pop(trial.trial_id, None):
            # It has changed since it was written, so its reports were read already, or come now.
            known = read_reports(self._run_dir / "metrics.jsonl").get(trial.number, {})
            self._reports[trial.number] = list(known.values())
        reports = self._reports.setdefault(trial.number, [])
        last = reports[-1][STEP] if reports else 0
        reports += [report for report in update.reports if report[STEP] > last]
        if not update.is_all:
            return True
        if not self._is_done(
            lambda: self.board.write(trial, reports, is_running=update.is_running)
        ):
            return False
        if trial.status is not None:
            del self._reports[trial.number]
            self._written[trial.trial_id] = _state(trial)
            return self._keep_written()
        return True

    def _is_written(self, trial: Trial) -> bool:
        return trial.status is not None and self._written.get(trial.trial_id) == _state(trial)

    def _keep_written(self, *, is_last: bool = False) -> bool:
        now_s = time.monotonic()
        if now_s < self._due_s and not is_last:
            return True
        self._due_s = now_s + _WRITTEN_EVERY_S
        text = json.dumps(self._written) + "\n"
        return self._is_done(lambda: write_atomically(self.board.folder / _WRITTEN, text))

    def _write_progress(self, trials: Sequence[Trial]) -> bool:
        return True

    def _write_last(self) -> bool:
        return self._is_done(self.board.close) and self._keep_written(is_last=True)

    def _cannot_read(self, failure: str) -> None:
        self._fail(failure)

    def _leave(self) -> None:
        pass

    def _is_done(self, write: Callable[[], None]) -> bool:
        """Write; tell whether it succeeded. After a failure nothing more is written."""
        try:
            write()
        except Exception as error:  # of a package that may raise anything
            self._fail(reason(error))
            return False
        return True

    def _fail(self, failure: str) -> None:
        self._failure = failure
        self._warn(
            f"{self.board.name} is not written to any more: {failure}. The search continues."
        )


def _state(trial: Trial) -> list[object]:
    """Return what a trial that has ended changes in once it is written, as JSON keeps it."""
    return [trial.status, trial.generator_steps, trial.best_rung, dict(trial.final or {})]
