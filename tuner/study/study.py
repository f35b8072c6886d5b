"""Store the trials of a search in an Optuna study, the durable state that a resume starts from.

The study is an append-only journal with one line per event. Each line is flushed before the search
continues, so that after a kill at any moment the journal has the status of every trial that ended
and the progress of the others.
"""

import json
import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from trainables.config import TrialConfig
from tuner.errors import BadInput, Fault
from tuner.printable import printable
from tuner.process import silence
from tuner.space import SearchSpec, with_earlier_values
from tuner.study.checkpoints import CheckpointFolder, Superseded
from tuner.study.proposals import STATES, SamplerView, propose
from tuner.study.trial import FinalScore, Readings, Repeats, Status, Trial, best_rung

#: Attributes of the study: the parts of a finalist's score, or of that of real samples.
_READINGS, _FLOOR = "final_readings:", "floor"
#: The attribute of a trial that waits to be promoted: the rung.
_WAITING = "waiting"
#: The way out where a journal is damaged.
_WAY_OUT = "put back a copy of it, from a backup or the search's storage"


class Study:
    """The trials of a search: proposed here, and stored in ``RUN/study.log``."""

    def __init__(self, path: Path, spec: SearchSpec, location: str | None = None) -> None:
        """Open or create the study at ``path``; drop a last line that a crash cut short.

        Args:
            path: Its journal.
            spec: The search.
            location: The folder, or URI, that holds the checkpoints; the journal's, if left out.

        Raises:
            BadInput: if the journal is damaged, with the line.
        """
        silence("optuna", logging.ERROR)
        _drop_partial_line(path)
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
        attrs = self._study.user_attrs
        self._finals = dict(attrs.get("finals", {}))
        self._readings: dict[str, Readings] = {
            name.removeprefix(_READINGS): readings
            for name, readings in attrs.items()
            if name.startswith(_READINGS)
        }
        self._repeats = {
            number: Repeats(**{**fields, "w1": {int(s): w1 for s, w1 in fields["w1"].items()}})
            for number, fields in attrs.get("repeats", {}).items()
        }
        frozen = self._frozen()
        self._sampler_view = SamplerView(frozen, promotes=spec.asha.promotes)
        self._finish_interrupted_endings()

    @property
    def name(self) -> str:
        """Return the name of the search."""
        return self._spec.name

    def ask(self) -> Trial | None:
        """Propose the next trial; return ``None`` once the search has all of its trials."""
        frozen = self._frozen()
        number = len(frozen)
        if self._num_trials is not None and number >= self._num_trials:
            return None
        # The trial is drawn in memory and written to the journal as one line. If Optuna wrote a
        # line per value, a kill between them would use up the trial's number, and with it the
        # seeds of all later trials.
        point = self._points[number] if number < len(self._points) else None
        earlier = self._sampler_view.select(frozen)
        drawn, config = propose(self._spec, number, earlier, point)
        self._study.add_trial(drawn)
        self._configs[number] = config
        self._sampler_view.update(self._storage.get_trial(self._id(number)))
        return Trial(number, config, drawn.params, {})

    def add(self, config: TrialConfig) -> None:
        """Add a trial of a given configuration, to be started."""
        attrs = {"config": config.model_dump(mode="json")}
        trial = optuna.create_trial(state=TrialState.RUNNING, user_attrs=attrs)
        self._study.add_trial(trial)

    def score(self, number: int, generator_steps: int, score: float) -> None:
        """Record the score of a trial at a rung; keep an earlier score of the same rung."""
        trial_id = self._id(number)
        if generator_steps not in self._storage.get_trial(trial_id).intermediate_values:
            self._storage.set_trial_intermediate_value(trial_id, generator_steps, score)
            self._sampler_view.update(self._storage.get_trial(trial_id))

    def wait(self, number: int, generator_steps: int, score: float) -> None:
        """Record that a trial waits at a rung, where it has this score."""
        # First, and in effect once the score is there, too: a trial with a score that does not
        # wait counts as promoted.
        self._set_waiting(number, generator_steps)
        self.score(number, generator_steps, score)

    def promote(self, number: int) -> None:
        """Record that a trial continues from the rung at which it waited."""
        self._set_waiting(number, None)

    def _set_waiting(self, number: int, generator_steps: int | None) -> None:
        trial_id = self._id(number)
        if self._storage.get_trial(trial_id).user_attrs.get(_WAITING) != generator_steps:
            self._storage.set_trial_user_attr(trial_id, _WAITING, generator_steps)

    def save(
        self, number: int, checkpoint: str, rung: tuple[int, float] | None = None
    ) -> Superseded:
        """Record the path of a trial's last checkpoint; keep one earlier, in case it is damaged.

        The generators of the best and of the latest rung are kept as well, without the training
        states of their checkpoints.

        Args:
            number: The trial.
            checkpoint: Its location, in the folder of the search's checkpoints.
            rung: The generator step and the score of the rung that it was saved at, if at one.

        Returns:
            What is no longer needed.

        Raises:
            ValueError: if it lies elsewhere.
        """
        if (name := self._checkpoints.name_of(checkpoint)) is None:
            raise ValueError(f"{checkpoint} is no checkpoint of this search")
        trial_id = self._id(number)
        frozen = self._storage.get_trial(trial_id)
        earlier = map(self._checkpoints.recorded_name, frozen.user_attrs.get("checkpoints", ()))
        names = [name, *(other for other in earlier if other is not None and other != name)]
        generators = kept = _generators(frozen)
        if rung is not None:
            steps, score = rung
            scores = {steps: score, **frozen.intermediate_values}
            candidates = {at: scores[at] for at in {*generators, steps} if at in scores}
            metric = self._spec.objective.metric
            kept_at = {steps, best_rung(candidates, metric)}
            kept = {at: path for at, path in {**generators, steps: name}.items() if at in kept_at}
            # Before the checkpoint: a resume from that would not record its generator any more.
            by_text = {str(at): path for at, path in kept.items()}
            self._storage.set_trial_user_attr(trial_id, "generators", by_text)
        self._storage.set_trial_user_attr(trial_id, "checkpoints", names[:2])
        needed = {*names[:2], *kept.values()}
        dropped = {*names[2:], *generators.values()} - needed
        return self._checkpoints.located(dropped, set(names[2:]) & set(kept.values()))

    def foreign_checkpoints(self) -> list[str]:
        """List the journal's checkpoints outside of the search, which nothing may touch."""
        recorded = dict.fromkeys([*self._recorded(), *self._recorded_generators()])
        return [one for one in recorded if self._checkpoints.locate(one) is None]

    def superseded_checkpoints(self) -> Superseded:
        """Look for checkpoints that no trial needs, as a kill leaves them.

        Raises:
            OSError: if their folder cannot be read.
        """
        return self._checkpoints.superseded(self._recorded(), self._recorded_generators())

    def end(
        self,
        number: int,
        status: Status,
        metrics: Mapping[str, float],
        score: float | None,
        message: str | None = None,
    ) -> None:
        """Record how a trial ended, and report it to the sampler."""
        ending = {"status": status, "metrics": dict(metrics), "score": score, "message": message}
        # From this line on the trial has ended: if a kill prevents the rest, it is done when the
        # study is opened again.
        self._storage.set_trial_user_attr(self._id(number), "ending", ending)
        self._tell(number, ending)

    def set_final(self, number: int, final: Mapping[str, float], readings: Readings) -> None:
        """Record the scores of a trial in the final, and the parts to compare them by."""
        # An attribute of the study: Optuna does not allow changes to a trial that has ended.
        self._set_readings(str(number), readings)
        finals = {**self._finals, str(number): dict(final)}
        self._study.set_user_attr("finals", finals)
        self._finals = finals

    def set_repeats(self, repeats: Mapping[int, Repeats]) -> None:
        """Record the repeats of trials, by number, in one line, so that all of them count at once.

        An earlier record of the same trials is replaced.
        """
        self._repeats |= {str(number): repeat for number, repeat in repeats.items()}
        fields = {
            number: {**asdict(repeat), "w1": {str(s): w1 for s, w1 in repeat.w1.items()}}
            for number, repeat in self._repeats.items()
        }
        self._study.set_user_attr("repeats", fields)

    @property
    def final_floor(self) -> FinalScore | None:
        """Return the score of real samples in the final, or ``None`` before it is measured."""
        floor = self._study.user_attrs.get("final_floor")
        return floor and FinalScore(**floor, readings=self._readings[_FLOOR])

    def set_final_floor(self, score: FinalScore) -> None:
        """Record the score of real samples in the final."""
        self._set_readings(_FLOOR, score.readings)
        kept = ("w1", "w1_stderr", "seconds", "cpu_seconds")
        values = {name: getattr(score, name) for name in kept}
        self._study.set_user_attr("final_floor", values)

    def _set_readings(self, name: str, readings: Readings) -> None:
        """Record the parts of a score, in a line of its own: "finals" is written for each trial."""
        rounded = {
            part: [float(f"{value:.6g}") for value in values] for part, values in readings.items()
        }
        self._study.set_user_attr(f"{_READINGS}{name}", rounded)
        self._readings[name] = rounded

    def trials(self) -> list[Trial]:
        """Return all proposed trials, by number."""
        return [self._trial(t) for t in self._frozen()]

    def trial(self, number: int) -> Trial:
        """Return the trial of this number."""
        return self._trial(self._storage.get_trial(self._id(number)))

    @property
    def search_id(self) -> str:
        """Return a unique ID, which differs from that of an earlier search of the same name."""
        if "search_id" not in self._study.user_attrs:
            self._study.set_user_attr("search_id", uuid.uuid4().hex)
        return str(self._study.user_attrs["search_id"])

    @property
    def elapsed_s(self) -> float:
        """Return the seconds that the search has run, summed over its sessions."""
        return float(self._study.user_attrs.get("elapsed_s", 0.0))

    def set_elapsed(self, seconds: float) -> None:
        """Record the seconds that the search has run."""
        self._study.set_user_attr("elapsed_s", seconds)

    @property
    def floor(self) -> Mapping[str, float] | None:
        """Return the score of real samples and its error, or ``None`` before it is measured."""
        return self._study.user_attrs.get("floor")

    def set_floor(self, floor: Mapping[str, float]) -> None:
        """Record the score of real samples."""
        self._study.set_user_attr("floor", dict(floor))

    @property
    def data(self) -> str | None:
        """Return the fingerprint of the data that the search started with."""
        return self._study.user_attrs.get("data")

    def set_data(self, fingerprint: str) -> None:
        """Record the fingerprint of the data."""
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
        """Report the end of a trial to Optuna; a PRUNED trial keeps the score of its last rung."""
        status, score = ending["status"], ending["score"]
        if score is not None:
            self.score(number, int(ending["metrics"]["generator_steps"]), score)
        value = score if status == "completed" else None
        self._study.tell(number, value, state=STATES[status])
        self._sampler_view.update(self._storage.get_trial(self._id(number)))

    def _trial(self, frozen: FrozenTrial) -> Trial:
        attrs = frozen.user_attrs
        ending = attrs.get("ending", {})
        if frozen.number not in self._configs:  # cached: validation is slow
            config = TrialConfig.model_validate(with_earlier_values(attrs["config"]))
            self._check_networks(frozen.number, config)
            self._configs[frozen.number] = config
        return Trial(
            number=frozen.number,
            config=self._configs[frozen.number],
            params=frozen.params,
            scores=frozen.intermediate_values,
            status=ending.get("status"),
            metrics=ending.get("metrics", {}),
            message=None if ending.get("message") is None else printable(ending["message"]),
            checkpoints=tuple(self._located(attrs.get("checkpoints", ()))),
            final=self._final(frozen.number),
            final_readings=self._readings.get(str(frozen.number)),
            ended_unix_time_s=ended.timestamp() if (ended := frozen.datetime_complete) else None,
            generators={
                steps: location
                for steps, path in _generators(frozen).items()
                if (location := self._checkpoints.locate(path)) is not None
            },
            repeats=self._repeats.get(str(frozen.number)),
            waiting_at=None if ending else _waiting_at(frozen),
        )

    def _final(self, number: int) -> Mapping[str, float] | None:
        """Return a trial's scores in the final, with the summary of its repeats."""
        final, repeats = self._finals.get(str(number)), self._repeats.get(str(number))
        return final if final is None or repeats is None else {**final, **repeats.values}

    def _check_networks(self, number: int, config: TrialConfig) -> None:
        """Check that a trial has no custom class but the search's: its module will be imported.

        Raises:
            BadInput: if it has another, so that the journal is not as it was written.
        """
        networks, objective = config.networks, config.objective
        used = {networks.generator, networks.critic, objective.features, objective.metrics} - {None}
        if foreign := used - self._spec.custom_classes:
            message = f"trial {number} has the class {foreign.pop()}, which the search does not "
            message += "name: restore the journal, or start another search by --name"
            raise BadInput("study.log", [Fault("", message)])

    def _recorded(self) -> list[str]:
        return [one for t in self._frozen() for one in t.user_attrs.get("checkpoints", ())]

    def _recorded_generators(self) -> list[str]:
        return [path for t in self._frozen() for path in _generators(t).values()]

    def _located(self, recorded: Iterable[str]) -> list[str]:
        """Return the locations of those recorded checkpoints that lie within the search."""
        located = map(self._checkpoints.locate, recorded)
        return [location for location in located if location is not None]

    def _finish_interrupted_endings(self) -> None:
        for trial in self._frozen():
            if trial.state == TrialState.RUNNING and "ending" in trial.user_attrs:
                self._tell(trial.number, trial.user_attrs["ending"])


def _waiting_at(frozen: FrozenTrial) -> int | None:
    """Return the rung at which a trial waits, once its score there is recorded, too."""
    steps = frozen.user_attrs.get(_WAITING)
    return steps if steps is not None and steps == frozen.last_step else None


def _generators(frozen: FrozenTrial) -> dict[int, str]:
    """Return the recorded paths of the checkpoints of rungs, by generator step."""
    recorded = frozen.user_attrs.get("generators", {})
    return {int(steps): path for steps, path in recorded.items()}


def _drop_partial_line(path: Path) -> None:
    """Drop a last line without a newline: its write never returned, so nothing depends on it."""
    # The caller holds the lock of the search's folder, so a journal lock is left from a crash.
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if not path.exists():
        return
    journal = path.read_bytes()
    end = journal.rfind(b"\n") + 1
    if end < len(journal):
        with path.open("r+b") as file:
            file.truncate(end)
    lines = journal[:end].splitlines()
    if lines and not _is_entry(lines[-1]):  # which Optuna skips, until another follows
        raise BadInput(str(path), [_damaged_line(len(lines))])


def _damage(path: Path, error: Exception) -> Fault:
    """Find what is wrong with a journal that Optuna cannot read."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not _is_entry(line):
            return _damaged_line(number)
    message = f"cannot be read by Optuna ({type(error).__name__}: {error}): {_WAY_OUT}"
    return Fault("", message)


def _damaged_line(number: int) -> Fault:
    cut = f"or cut it off after line {number - 1}, to resume the search from where it was then"
    return Fault(f"line {number}", f"is not as it was written: {_WAY_OUT}, {cut}")


def _is_entry(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line)["op_code"], int)
    except (ValueError, TypeError, KeyError):
        return False
