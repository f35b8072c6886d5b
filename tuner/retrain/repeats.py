"""Train the finalists of a search again with further seeds, in a search of its own.

The best of many trials is partly the luckiest. The final therefore can train the configuration of
each finalist with seeds that no choice depended on, as its trial was trained: to the last rung,
scored at the same rungs, with the generator of its best rung scored by the final's critics.

These trainings are the trials of a further search, whose folder lies in that of the search, so that
they are run, interrupted and resumed as any trials are. None of them is stopped early.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from trainables.config import TrialConfig
from tuner.record import Listener, Record
from tuner.results import is_scored
from tuner.retrain.origin import fresh_seeds
from tuner.space import SearchSpec
from tuner.storage import join
from tuner.study import Repeats, Study, Trial

#: The folder in the search's folder, and in that of its checkpoints.
FOLDER = "final"


@contextmanager
def repeating(record: Record, checkpoints: str) -> Iterator["Repeating | None"]:
    """Open the search that trains the finalists again; ``None`` if nothing is left to train.

    Args:
        record: The search, whose final has scored the finalists themselves.
        checkpoints: The folder, or URI, of its checkpoints.
    """
    num_seeds = record.spec.objective.final_seeds
    finalists = (trial for trial in record.finalists if trial.final is not None)
    lacking = (trial for trial in finalists if not is_scored(trial, num_seeds))
    wanted = {trial.number: _configs(trial, num_seeds) for trial in lacking}
    if not wanted:
        yield None
        return
    run_dir, location = record.run_dir / FOLDER, join(checkpoints, FOLDER)
    run_dir.mkdir(exist_ok=True)
    num_wanted = sum(map(len, wanted.values()))
    study = Study(run_dir / "study.log", _spec(record.spec, num_wanted), location)
    # One that failed is trained again: a resume comes after the mending of its cause.
    begun = [trial.config for trial in study.trials() if trial.status != "failed"]
    for config in (config for configs in wanted.values() for config in configs):
        if config not in begun:
            study.add(config)
    num = len(study.trials())
    repeats = Record(run_dir, _spec(record.spec, num), study, spared=range(num))
    if record.final_floor is not None and repeats.final_floor is None:
        repeats.final_floor_scored(record.final_floor)
    repeating = Repeating(repeats, location, wanted)
    repeats.listeners.append(_Forwarder(record, repeating))
    record.start_repeats(repeats)
    try:
        repeats.remove_superseded()
        yield repeating
    finally:
        repeats.close()
        if repeats.halted is not None:
            record.halt(repeats.halted)


@final
@dataclass(frozen=True)
class Repeating:
    """The search that trains finalists again.

    ``location`` is the folder, or URI, of its checkpoints. ``wanted`` are the configurations to
    train, by the number of the finalist that lacks them.
    """

    record: Record
    location: str
    wanted: Mapping[int, list[TrialConfig]]

    def results(self) -> dict[int, Repeats]:
        """Return the results of the finalists of which a training has any, by number."""
        repeats = {number: self._repeats(configs) for number, configs in self.wanted.items()}
        return {number: repeat for number, repeat in repeats.items() if repeat.w1}

    def origin_of(self, trial: Trial) -> int | None:
        """Return the number of the finalist that a trial repeats; ``None`` of an earlier one."""
        origins = (number for number, configs in self.wanted.items() if trial.config in configs)
        return next(origins, None)

    def _repeats(self, configs: list[TrialConfig]) -> Repeats:
        trials = [trial for trial in self.record.by_number() if trial.config in configs]
        w1 = {t.config.seed: t.final["w1_final"] for t in trials if t.final is not None}
        diverged = {t.config.seed: None for t in trials if t.status == "diverged"}
        seconds, cpu_seconds = (
            sum(
                values.get(f"{part}_{kind}", 0.0)
                for trial in trials
                for values in (trial.metrics, trial.final or {})
                for part in ("training", "scoring", "final_scoring")
            )
            for kind in ("seconds", "cpu_seconds")
        )
        return Repeats({**w1, **diverged}, seconds, cpu_seconds)


def _configs(trial: Trial, num_seeds: int) -> list[TrialConfig]:
    """Return the configuration of a trial with each of its further seeds."""
    seeds = fresh_seeds(trial.config, num_seeds - 1)
    return [trial.config.model_copy(update={"seed": seed}) for seed in seeds]


def _spec(spec: SearchSpec, num_trials: int) -> SearchSpec:
    """Return the search of the repeats: so many trials, without a budget, all in the final."""
    without = dict.fromkeys(spec.search.budgets)
    search = spec.search.model_copy(
        update={"num_trials": num_trials, "sampler": "random", **without}
    )
    objective = spec.objective.model_copy(update={"final_trials": num_trials, "final_seeds": 1})
    changed = {"name": f"{spec.name}.{FOLDER}", "search": search, "objective": objective}
    fields = {name: getattr(spec, name) for name in SearchSpec.model_fields}
    return SearchSpec.model_construct(**{**fields, **changed, "initial_points": ()})


class _Forwarder(Listener):
    """Has the listeners of the search take note of what happens to the repeats."""

    def __init__(self, record: Record, repeating: "Repeating") -> None:
        self._record = record
        self._repeating = repeating

    def trial_reported(self, trial: Trial, report: Mapping[str, float]) -> None:
        self._record.tick()

    def trial_ended(self, trial: Trial) -> None:
        at = f"{trial.status} at generator step {trial.generator_steps}"
        reason = f" ({trial.message})" if trial.message else ""
        self._note(trial, f"{at}{reason}")

    def final_scored(self, trial: Trial) -> None:
        self._note(trial, f"w1 {(trial.final or {})['w1_final']:.4g} by the final")

    def final_failed(self, trial: Trial, reason: str) -> None:
        self._note(trial, f"could not be scored ({reason}): --resume tries it again")

    def noted(self, text: str) -> None:
        self._record.note(f"in the final, {text}")

    def tick(self) -> None:
        self._record.tick()

    def _note(self, trial: Trial, text: str) -> None:
        number = self._repeating.origin_of(trial)
        name = "an earlier finalist" if number is None else f"trial {number:05d}"
        self._record.note(f"{name} with seed {trial.config.seed}: {text}")
