"""Estimate the importance of each hyperparameter with Optuna's evaluators, and its uncertainty.

The evaluators see the ranks of the scores, not the scores: a few scores that are a thousand times
as high as the others would otherwise dominate the result. A conditional hyperparameter is compared
among the trials that have it, together with the hyperparameters that all of these trials have.

Two evaluators answer two questions. ``forest`` (mean decrease of impurity) is the share of the
differences between all trials that a random forest attributes to a hyperparameter. ``top quarter``
(PED-ANOVA, Watanabe et al. 2023) is the share of the difference between the best quarter and the
rest. Optuna's third evaluator, fANOVA, takes minutes for a few hundred trials, and resampling would
multiply that.
"""

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import (
    BaseImportanceEvaluator,
    MeanDecreaseImpurityImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import TrialState, create_trial
from scipy.stats import rankdata

from tuner.process import silence
from tuner.space import Choice, Domain, is_integer

#: With fewer trials the importances are noise.
MIN_TRIALS = 8
#: Of more trials, a random subset is used: more cost time and hardly narrow the intervals.
MAX_TRIALS = 1000
#: The most resamples of the trials, and the fewest that give an interval.
MAX_RESAMPLES, MIN_RESAMPLES = 50, 10

_EVALUATORS: Mapping[str, Callable[[], BaseImportanceEvaluator]] = {
    "forest": lambda: MeanDecreaseImpurityImportanceEvaluator(n_trees=16, seed=0),
    "top quarter": lambda: PedAnovaImportanceEvaluator(target_quantile=0.25),
}
EVALUATORS = tuple(_EVALUATORS)


@final
@dataclass(frozen=True)
class Point:
    """A trial's searched values by dotted key, and its score (lower is better)."""

    values: Mapping[str, Any]
    score: float


@final
@dataclass(frozen=True)
class Importance:
    """The importance of a hyperparameter by one evaluator, as a share in [0, 1].

    ``low`` to ``high`` is the 95% bootstrap interval over resampled trials. ``chance`` is the 95th
    percentile of the importance under shuffled scores. Each is ``None`` if there was no time for
    :data:`MIN_RESAMPLES` resamples.
    """

    key: str
    share: float
    low: float | None
    high: float | None
    chance: float | None
    num_trials: int

    @property
    def is_real(self) -> bool:
        """Return whether the importance exceeds that of shuffled scores."""
        return self.chance is not None and self.share > self.chance


def find_importances(
    points: Sequence[Point], domains: Mapping[str, Domain], evaluator: str, limit_s: float
) -> list[Importance]:
    """Return the importances of the hyperparameters, the largest first.

    Args:
        points: The trials; of more than :data:`MAX_TRIALS`, that many are drawn.
        domains: The searched values by dotted key.
        evaluator: One of :data:`EVALUATORS`.
        limit_s: Seconds after which no further resample starts.
    """
    points = _thinned(points)
    groups = list(_groups(points, domains))
    importances = []
    for index, (keys, ranked_keys, members) in enumerate(groups):
        share_s = limit_s / len(groups)
        rows = _evaluate(members, keys, domains, evaluator, share_s, seed=index)
        importances += [row for row in rows if row.key in ranked_keys]
    return sorted(importances, key=lambda row: -row.share)


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    if len(points) <= MAX_TRIALS:
        return points
    chosen = np.random.default_rng(0).choice(len(points), MAX_TRIALS, replace=False)
    return [points[index] for index in sorted(chosen)]


def _groups(
    points: Sequence[Point], domains: Mapping[str, Domain]
) -> Iterator[tuple[list[str], set[str], list[Point]]]:
    """Group the keys by the set of trials that have them.

    Yields:
        The keys that all trials of the group have, those whose importance the group gives, and the
        trials of the group.
    """
    keys_by_trials: dict[tuple[int, ...], set[str]] = {}
    for key in domains:
        indices = tuple(i for i, point in enumerate(points) if key in point.values)
        if len(indices) >= MIN_TRIALS:
            keys_by_trials.setdefault(indices, set()).add(key)
    for indices, ranked_keys in keys_by_trials.items():
        members = [points[index] for index in indices]
        keys = [key for key in domains if all(key in point.values for point in members)]
        yield keys, ranked_keys, members


def _evaluate(
    points: Sequence[Point],
    keys: Sequence[str],
    domains: Mapping[str, Domain],
    evaluator: str,
    limit_s: float,
    seed: int,
) -> list[Importance]:
    rng = np.random.default_rng(seed)
    ranks = rankdata([point.score for point in points])
    values = [point.values for point in points]
    shares = _shares(values, ranks, keys, domains, evaluator)
    until = time.monotonic() + limit_s
    resampled: list[dict[str, float]] = []
    shuffled: list[dict[str, float]] = []
    while len(resampled) < MAX_RESAMPLES and time.monotonic() < until:
        drawn = rng.integers(len(points), size=len(points))
        resample = [values[i] for i in drawn]
        resampled.append(_shares(resample, ranks[drawn], keys, domains, evaluator))
        permuted = rng.permutation(ranks)
        shuffled.append(_shares(values, permuted, keys, domains, evaluator))
    is_enough = len(resampled) >= MIN_RESAMPLES

    def quantile(samples: list[dict[str, float]], key: str, share: float) -> float | None:
        return float(np.quantile([s[key] for s in samples], share)) if is_enough else None

    return [
        Importance(
            key,
            shares[key],
            quantile(resampled, key, 0.025),
            quantile(resampled, key, 0.975),
            quantile(shuffled, key, 0.95),
            len(points),
        )
        for key in keys
    ]


def _shares(
    values: Sequence[Mapping[str, Any]],
    ranks: np.ndarray,
    keys: Sequence[str],
    domains: Mapping[str, Domain],
    evaluator: str,
) -> dict[str, float]:
    study = _study(values, ranks, {key: domains[key] for key in keys})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Sorted, since the forest sorts its columns by name, and then labels them with `params`
        # in the order in which they were given (Optuna 5.0).
        shares = get_param_importances(
            study, evaluator=_EVALUATORS[evaluator](), params=sorted(keys), normalize=True
        )
    # If no hyperparameter explains any of the variance, the shares are 0 / 0.
    return {key: float(share) if math.isfinite(share) else 0.0 for key, share in shares.items()}


def _study(
    values: Sequence[Mapping[str, Any]], scores: Iterable[float], domains: Mapping[str, Domain]
) -> optuna.Study:
    """Return an in-memory study of completed trials, restricted to these hyperparameters."""
    silence("optuna", logging.ERROR)
    study = optuna.create_study(direction="minimize")
    distributions = {key: _distribution(domain) for key, domain in domains.items()}
    study.add_trials(
        create_trial(
            state=TrialState.COMPLETE,
            value=float(score),
            params={key: params[key] for key in domains},
            distributions=distributions,
        )
        for params, score in zip(values, scores, strict=True)
    )
    return study


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.labels)
    make = IntDistribution if is_integer(domain) else FloatDistribution
    return make(domain.low, domain.high, log=domain.log)
