"""Draw new trials with Optuna's samplers, from a bounded subset of the earlier trials.

A sampler processes all trials that it sees at each proposal: if it saw all of them, proposal 3000
would cost as much as the first hundred together.
"""

import copy
import heapq
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

#: TPE counts at most 25 trials as good (Optuna's ``default_gamma``).
NUM_BEST = 25
#: With ``NUM_BEST`` 300 trials, of which TPE counts as many as good as it would of all.
NUM_LATEST = 275

#: The score that the Gaussian process sees for a diverged trial if no trial has a score yet.
_WORST_SCORE = 10.0
#: The least distance of that score from the worst score: an estimate of W1 may be 0.
_MIN_PENALTY = 1e-3

#: Optuna's state by status. A diverged trial has no score, which COMPLETE would need.
STATES: Mapping[Status, TrialState] = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
#: A failed trial says nothing about its hyperparameters.
_INFORMATIVE = (TrialState.COMPLETE, TrialState.PRUNED)


class SamplerView:
    """The subset of trials that a sampler sees: the best, the latest and the running ones.

    The subset depends on the trials alone, not on the order in which they ended, so that a resumed
    search proposes the same trials as an uninterrupted one.
    """

    def __init__(self, trials: Iterable[FrozenTrial] = (), *, promotes: bool = False) -> None:
        """Start with the trials so far.

        Args:
            trials: The trials so far.
            promotes: Whether trials wait at rungs to be promoted: then one that has a score counts
                as one that was stopped, whether it waits or was promoted.
        """
        self._promotes = promotes
        self._ranks: dict[int, tuple[float, ...]] = {}
        self._running: set[int] = set()
        for trial in trials:
            self.update(trial)

    def update(self, trial: FrozenTrial) -> None:
        """Add a new trial, or update one that has a new score or has ended."""
        if trial.state == TrialState.RUNNING and not self._is_informative(trial):
            self._running.add(trial.number)
            return
        self._running.discard(trial.number)
        if self._is_informative(trial) and not _has_diverged(trial):
            self._ranks[trial.number] = _rank(trial)
        else:
            self._ranks.pop(trial.number, None)

    def select(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Select the trials that the sampler sees, sorted by number.

        Args:
            trials: All trials, indexed by number.
        """
        ended = (trial.number for trial in reversed(trials) if self._is_informative(trial))
        best = heapq.nsmallest(NUM_BEST, self._ranks, key=lambda n: (self._ranks[n], n))
        numbers = {*best, *islice(ended, NUM_LATEST), *self._running}
        return [trials[number] for number in sorted(numbers)]

    def _is_informative(self, trial: FrozenTrial) -> bool:
        return trial.state in _INFORMATIVE or (self._promotes and _is_under_way(trial))


def _is_under_way(trial: FrozenTrial) -> bool:
    """Return whether a trial has a score, and has not ended."""
    return trial.state == TrialState.RUNNING and bool(trial.intermediate_values)


def _has_diverged(trial: FrozenTrial) -> bool:
    """Return whether a trial diverged, by its recorded status.

    Its state does not tell: older journals store a diverged trial as COMPLETE.
    """
    return trial.user_attrs.get("ending", {}).get("status") == "diverged"


def _as_sampled(
    trials: Sequence[FrozenTrial], sampler: str, *, promotes: bool = False
) -> list[FrozenTrial]:
    """Copy the trials, with the diverged ones changed so that the sampler avoids their region.

    TPE ranks every COMPLETE trial above every PRUNED one, and a PRUNED one without a score last.
    The Gaussian process sees only COMPLETE trials, so a diverged one gets a score worse than all.
    Where trials wait to be promoted, most wait until the end: TPE would count a RUNNING one as bad,
    and so sees it as PRUNED at its last rung.
    """
    copies = [copy.copy(trial) for trial in trials]
    for trial in filter(_is_under_way, copies) if promotes else ():
        trial.state = TrialState.PRUNED
    scores = [score for trial in trials for score in trial.intermediate_values.values()]
    worst = max(scores, default=_WORST_SCORE)
    for trial in filter(_has_diverged, copies):
        trial.intermediate_values = {}
        if sampler == "gp":
            trial.state = TrialState.COMPLETE
            # An estimate of W1 may be negative: twice the worst would then be the best.
            trial.value = worst + max(abs(worst), _MIN_PENALTY)
        else:
            trial.state, trial.value = TrialState.PRUNED, None
    return copies


def _rank(trial: FrozenTrial) -> tuple[float, ...]:
    """Return a sort key in TPE's order: completed trials first, then stopped ones by last rung."""
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return (0, 0, trial.value)
    last = trial.last_step
    return (2, 0, 0) if last is None else (1, -last, trial.intermediate_values[last])


class _SamplerStorage(InMemoryStorage):
    """In-memory storage of the trial that is being drawn, with read-only earlier trials."""

    def __init__(self, earlier: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._earlier = earlier
        for number, trial in enumerate(earlier, start=1):
            trial.number = number  # samplers identify the trial that is drawn by its number, 0

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Any = None
    ) -> list[FrozenTrial]:
        """Return the earlier trials, then the one that is being drawn."""
        earlier = (trial for trial in self._earlier if states is None or trial.state in states)
        return [*earlier, *super().get_all_trials(study_id, deepcopy, states)]


def propose(
    spec: SearchSpec, number: int, earlier: Sequence[FrozenTrial], point: Mapping[str, Any] | None
) -> tuple[FrozenTrial, TrialConfig]:
    """Draw a trial, as a deterministic function of the arguments.

    Args:
        spec: The search; its seed enters.
        number: The number of the trial.
        earlier: The earlier trials that the sampler sees.
        point: Values by dotted key that are fixed instead of sampled.

    Returns:
        Optuna's trial, and its configuration.
    """
    sampler = _sampler(spec, number)
    storage = _SamplerStorage(
        _as_sampled(earlier, spec.search.sampler, promotes=spec.asha.promotes)
    )
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
    """Create a sampler whose proposal depends only on the seed, the number and the study.

    A new one for each trial has no hidden state that a resumed search would lack.
    """
    seed = int(np.random.SeedSequence([spec.search.seed, number, 1]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match spec.search.sampler:
            case "tpe":
                # `group` splits a conditional space into sets of hyperparameters that always occur
                # together. With `constant_liar` a running trial counts as a bad one, so that
                # parallel trials spread out.
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
