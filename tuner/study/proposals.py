"""What Optuna's sampler is shown of a search, and the trial that it makes of it.

A sampler works through every trial that it is shown, at each proposal: shown all of them, the
three-thousandth would cost as much as the first hundred together. It is shown so many at most.
"""

import bisect
import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from trainables.config import TrialConfig
from tuner.space import Choice, Domain, SearchSpec, is_integer, label
from tuner.study.trial import Status

#: TPE holds at most so many to be good, and the others for what they are to be told from.
NUM_BEST = 25
#: With the best, enough for TPE to hold as many to be good as it would of all.
NUM_LATEST = 275

#: The score that the Gaussian process sees for a diverged trial where no trial has a score yet.
_WORST_SCORE = 10.0
#: How much worse than the worst score it is, at the least: an estimate of W1 may be 0.
_LEAST_STEP = 1e-3

#: Optuna's state for each way in which a trial ends: a diverged one has no score to complete with.
STATES: Mapping[Status, TrialState] = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_TAUGHT = (TrialState.COMPLETE, TrialState.PRUNED)


class SamplerView:
    """The trials that a proposal follows from: the best, the latest, and those under way.

    Which these are follows from the trials alone, not from the order in which they ended: a study
    that is opened again shows what it would have shown.
    """

    def __init__(self, trials: Iterable[FrozenTrial] = ()) -> None:
        """Take note of the trials so far."""
        self._best: list[tuple[tuple[float, ...], int]] = []
        self._running: set[int] = set()
        for trial in trials:
            self.note(trial)

    def note(self, trial: FrozenTrial) -> None:
        """Take note of a trial that was proposed, or has ended."""
        if trial.state == TrialState.RUNNING:
            self._running.add(trial.number)
            return
        self._running.discard(trial.number)
        if trial.state in _TAUGHT and not _has_diverged(trial):
            bisect.insort(self._best, (_rank(trial), trial.number))
            del self._best[NUM_BEST:]

    def of(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Those of all trials, given by number, that the sampler is shown; by number."""
        ended = (trial.number for trial in reversed(trials) if trial.state in _TAUGHT)
        best = (number for _, number in self._best)
        numbers = {*best, *islice(ended, NUM_LATEST), *self._running}
        return [trials[number] for number in sorted(numbers)]


def _has_diverged(trial: FrozenTrial) -> bool:
    """Whether its ending says so: older journals have a diverged trial as a COMPLETE one."""
    return trial.user_attrs.get("ending", {}).get("status") == "diverged"


def _as_sampled(trials: Sequence[FrozenTrial], sampler: str) -> list[FrozenTrial]:
    """Copies of the trials, with each diverged one as the sampler learns to avoid its like.

    TPE ranks every COMPLETE trial above every PRUNED one, and a PRUNED one without a score last.
    The Gaussian process sees COMPLETE trials alone, so that the score has to say it.
    """
    copies = [copy.copy(trial) for trial in trials]
    scores = [score for trial in trials for score in trial.intermediate_values.values()]
    worst = max(scores, default=_WORST_SCORE)
    for trial in filter(_has_diverged, copies):
        trial.intermediate_values = {}
        if sampler == "gp":
            trial.state = TrialState.COMPLETE
            # An estimate of W1 may be negative: twice the worst would then be the best.
            trial.value = worst + max(abs(worst), _LEAST_STEP)
        else:
            trial.state, trial.value = TrialState.PRUNED, None
    return copies


def _rank(trial: FrozenTrial) -> tuple[float, ...]:
    """TPE's own order: completed trials before those that were stopped, the last rung first."""
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return (0, 0, trial.value)
    last = trial.last_step
    return (2, 0, 0) if last is None else (1, -last, trial.intermediate_values[last])


class _Beside(InMemoryStorage):
    """Holds the trial that is being drawn; the others it only shows."""

    def __init__(self, shown: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._shown = shown
        for number, trial in enumerate(shown, start=1):
            trial.number = number  # the one that is drawn has 0: samplers tell it by that

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Any = None
    ) -> list[FrozenTrial]:
        """The others, then the one that is drawn."""
        others = (trial for trial in self._shown if states is None or trial.state in states)
        return [*others, *super().get_all_trials(study_id, deepcopy, states)]


def propose(
    spec: SearchSpec, number: int, shown: Sequence[FrozenTrial], point: Mapping[str, Any] | None
) -> tuple[FrozenTrial, TrialConfig]:
    """Draw a trial, which follows from the seed, its number and what is shown, and nothing else.

    Args:
        spec: The search.
        number: The trial's.
        shown: What the sampler knows of the search.
        point: Values that are given instead of proposed, by dotted key.
    """
    sampler = _sampler(spec, number)
    storage = _Beside(_as_sampled(shown, spec.search.sampler))
    study = optuna.create_study(storage=storage, sampler=sampler, direction="minimize")
    if point is not None:
        study.enqueue_trial({key: label(value) for key, value in point.items()})
    trial = study.ask()
    chosen = spec.choose(lambda key, domain: _pick(trial, key, domain))
    config = spec.trial_config(chosen, _trial_seed(spec, number))
    trial.set_user_attr("config", config.model_dump(mode="json"))
    return study.get_trials(deepcopy=False)[-1], config


def _trial_seed(spec: SearchSpec, number: int) -> int:
    given = spec.search.trial_seeds or ()
    if number < len(given):
        return given[number]
    return int(np.random.SeedSequence([spec.search.seed, number]).generate_state(1)[0])


def _sampler(spec: SearchSpec, number: int) -> optuna.samplers.BaseSampler:
    """A sampler whose proposal depends on the seed, the trial's number and the study alone.

    One made anew for each trial carries no hidden state that a resumed search would lack.
    """
    seed = int(np.random.SeedSequence([spec.search.seed, number, 1]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match spec.search.sampler:
            case "tpe":
                # `group` splits a conditional space into parts that are always asked for
                # together; a running trial counts as a poor one, so that workers spread out.
                return optuna.samplers.TPESampler(
                    seed=seed, multivariate=True, group=True, constant_liar=True
                )
            case "gp":
                return optuna.samplers.GPSampler(seed=seed)
            case _:  # the grid is enqueued point by point
                return optuna.samplers.RandomSampler(seed=seed)


def _pick(trial: optuna.Trial, key: str, domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return domain.choice[domain.labels.index(trial.suggest_categorical(key, domain.labels))]
    suggest = trial.suggest_int if is_integer(domain) else trial.suggest_float
    return suggest(key, domain.low, domain.high, log=domain.log)
