"""The trials of a search as an Optuna study: the one durable record of what was run.

This file alone knows Optuna, with the proposals and the importances. The study lives in an
append-only journal, one line per event, written through before the search goes on, so that a search
killed at any moment knows on its return which trials ended, how, and where the others stood.
"""

import json
import logging
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from trainables.config import TrialConfig
from tuner.errors import BadInput, Fault
from tuner.space import SearchSpec
from tuner.study.checkpoints import CheckpointFolder
from tuner.study.proposals import STATES, SamplerView, propose
from tuner.study.trial import Status, Trial

#: The way out where a journal is damaged.
_WAY_OUT = "put back a copy of it, from a backup or the search's storage"


class Study:
    """Proposes trials, and keeps what became of them in ``RUN/study.log``."""

    def __init__(self, path: Path, spec: SearchSpec, location: str | None = None) -> None:
        """Open the study at ``path``, or make it; a line that a crash cut short is dropped.

        Args:
            path: Its journal.
            spec: The search.
            location: The folder, or URI, that holds the checkpoints; the journal's, if left out.

        Raises:
            BadInput: if the journal is damaged, with the line.
        """
        optuna.logging.set_verbosity(logging.ERROR)
        _mend(path)
        backend = JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
        try:
            self._storage = JournalStorage(backend)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=spec.name,
                direction="minimize",
                load_if_exists=True,
            )
        except OSError:
            raise
        except Exception as error:  # a wrong line can make Optuna raise any type
            raise BadInput(str(path), [_damage(path, error)]) from error
        self._spec = spec
        self._checkpoints = CheckpointFolder(location or str(path.parent), spec.name)
        is_grid = spec.search.sampler == "grid"
        self._points = list(spec.grid_points()) if is_grid else spec.first_points
        self._num_trials = spec.num_trials
        self._ids: dict[int, int] = {}
        self._configs: dict[int, TrialConfig] = {}
        self._finals = dict(self._study.user_attrs.get("finals", {}))
        frozen = self._frozen()
        self._shown = SamplerView(frozen)
        self._finish_interrupted_endings()

    def ask(self) -> Trial | None:
        """Propose the next trial, or ``None`` where the search has asked for its last one."""
        frozen = self._frozen()
        number = len(frozen)
        if self._num_trials is not None and number >= self._num_trials:
            return None
        # Drawn beside the journal and written in one line: a kill within a draw of many values
        # would else use up a trial's number, and with it the seed of every trial from there on.
        point = self._points[number] if number < len(self._points) else None
        drawn, config = propose(self._spec, number, self._shown.of(frozen), point)
        self._study.add_trial(drawn)
        self._configs[number] = config
        self._shown.note(self._storage.get_trial(self._id(number)))
        return Trial(number, config, drawn.params, {})

    def score(self, number: int, generator_steps: int, score: float) -> None:
        """Record that a trial passed a rung with this score; again is the same as once."""
        trial_id = self._id(number)
        if generator_steps not in self._storage.get_trial(trial_id).intermediate_values:
            self._storage.set_trial_intermediate_value(trial_id, generator_steps, score)

    def save(self, number: int, checkpoint: str) -> list[str]:
        """Record where a trial's last checkpoint is; the one before it serves if it is damaged.

        Args:
            number: The trial.
            checkpoint: Its location, in the folder of the search's checkpoints.

        Returns:
            The locations of those that are needed no more.

        Raises:
            ValueError: if it lies elsewhere.
        """
        if (name := self._checkpoints.name_of(checkpoint)) is None:
            raise ValueError(f"{checkpoint} is no checkpoint of this search")
        recorded = self._storage.get_trial(self._id(number)).user_attrs.get("checkpoints", ())
        before = map(self._checkpoints.recorded_name, recorded)
        all_kept = [name, *(other for other in before if other is not None and other != name)]
        self._storage.set_trial_user_attr(self._id(number), "checkpoints", all_kept[:2])
        return self._located(all_kept[2:])

    def foreign_checkpoints(self) -> list[str]:
        """List what the journal names as checkpoints outside of the search: nothing touches it."""
        return [one for one in self._recorded() if self._checkpoints.locate(one) is None]

    def superseded_checkpoints(self) -> list[str]:
        """List the locations of checkpoints that no trial needs, as a kill leaves them.

        Raises:
            OSError: if their folder cannot be read.
        """
        return self._checkpoints.unrecorded(self._recorded())

    def end(
        self,
        number: int,
        status: Status,
        metrics: Mapping[str, float],
        score: float | None,
        message: str | None = None,
    ) -> None:
        """Record how a trial ended, and teach the sampler what there is to learn from it."""
        ending = {"status": status, "metrics": dict(metrics), "score": score, "message": message}
        # The line that decides: what follows from it is made up for when the study is opened.
        self._storage.set_trial_user_attr(self._id(number), "ending", ending)
        self._tell(number, ending)

    def set_final(self, number: int, final: Mapping[str, float]) -> None:
        """Record what the final said of a trial."""
        # Of the study: Optuna keeps a trial that has ended from being changed.
        finals = {**self._finals, str(number): dict(final)}
        self._study.set_user_attr("finals", finals)
        self._finals = finals

    def trials(self) -> list[Trial]:
        """Every trial that was proposed, by number."""
        return [self._trial(t) for t in self._frozen()]

    def trial(self, number: int) -> Trial:
        """What is known of one trial."""
        return self._trial(self._storage.get_trial(self._id(number)))

    @property
    def search_id(self) -> str:
        """What tells this search from an earlier one of the same name."""
        if "search_id" not in self._study.user_attrs:
            self._study.set_user_attr("search_id", uuid.uuid4().hex)
        return str(self._study.user_attrs["search_id"])

    @property
    def elapsed_s(self) -> float:
        """Seconds that the search has run, over all of its sittings."""
        return float(self._study.user_attrs.get("elapsed_s", 0.0))

    def set_elapsed(self, seconds: float) -> None:
        """Record the seconds that the search has run."""
        self._study.set_user_attr("elapsed_s", seconds)

    @property
    def floor(self) -> Mapping[str, float] | None:
        """What real samples score by the search's objective, once that was measured."""
        return self._study.user_attrs.get("floor")

    def set_floor(self, floor: Mapping[str, float]) -> None:
        """Record what real samples score."""
        self._study.set_user_attr("floor", dict(floor))

    @property
    def data(self) -> str | None:
        """The fingerprint of the data that the search began with."""
        return self._study.user_attrs.get("data")

    def set_data(self, fingerprint: str) -> None:
        """Record which data the search is of."""
        self._study.set_user_attr("data", fingerprint)

    def _frozen(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _id(self, number: int) -> int:
        if number not in self._ids:
            study_id = self._storage.get_study_id_from_name(self._study.study_name)
            self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(
                study_id, number
            )
        return self._ids[number]

    def _tell(self, number: int, ending: Mapping[str, Any]) -> None:
        """Tell Optuna how a trial ended; one that is PRUNED keeps the score of its last rung."""
        status, score = ending["status"], ending["score"]
        if score is not None:
            self.score(number, int(ending["metrics"]["generator_steps"]), score)
        value = score if status == "completed" else None
        self._study.tell(number, value, state=STATES[status])
        self._shown.note(self._storage.get_trial(self._id(number)))

    def _trial(self, frozen: FrozenTrial) -> Trial:
        attrs = frozen.user_attrs
        ending = attrs.get("ending", {})
        if frozen.number not in self._configs:  # which never changes, and takes long to check
            self._configs[frozen.number] = TrialConfig.model_validate(attrs["config"])
        return Trial(
            number=frozen.number,
            config=self._configs[frozen.number],
            params=frozen.params,
            scores=frozen.intermediate_values,
            status=ending.get("status"),
            metrics=ending.get("metrics", {}),
            message=ending.get("message"),
            checkpoints=tuple(self._located(attrs.get("checkpoints", ()))),
            final=self._finals.get(str(frozen.number)),
        )

    def _recorded(self) -> list[str]:
        return [one for t in self._frozen() for one in t.user_attrs.get("checkpoints", ())]

    def _located(self, recorded: Iterable[str]) -> list[str]:
        """Return the locations of those recorded checkpoints that lie within the search."""
        located = map(self._checkpoints.locate, recorded)
        return [location for location in located if location is not None]

    def _finish_interrupted_endings(self) -> None:
        for trial in self._frozen():
            if trial.state == TrialState.RUNNING and "ending" in trial.user_attrs:
                self._tell(trial.number, trial.user_attrs["ending"])


def _mend(path: Path) -> None:
    """Drop a last line without its end: it was never acknowledged, so nothing stands on it."""
    # The search's folder is locked by now, so a journal lock is one that a crash left behind.
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if not path.exists():
        return
    whole = path.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end < len(whole):
        with path.open("r+b") as file:
            file.truncate(end)
    lines = whole[:end].splitlines()
    if lines and not _is_entry(lines[-1]):  # which Optuna passes over, until another follows
        raise BadInput(str(path), [_damaged_line(len(lines))])


def _damage(path: Path, error: Exception) -> Fault:
    """Find what is wrong with a journal that Optuna cannot read."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not _is_entry(line):
            return _damaged_line(number)
    message = f"cannot be read by Optuna ({type(error).__name__}: {error}): {_WAY_OUT}"
    return Fault("", message)


def _damaged_line(number: int) -> Fault:
    before = f"or cut it off after line {number - 1}, to resume the search from where it was then"
    return Fault(f"line {number}", f"is not as it was written: {_WAY_OUT}, {before}")


def _is_entry(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line)["op_code"], int)
    except (ValueError, TypeError, KeyError):
        return False
