"""Which hyperparameters mattered: Optuna's evaluators, and how sure they are.

This file alone knows Optuna, with the study and its proposals. The evaluators work on ranks of the
scores: a few that are a thousand times as bad as the others would else decide everything. A
hyperparameter that only some trials have is judged among those, beside what all of these have.

Two evaluators, since they answer two questions. ``forest`` (mean decrease of impurity) is how much
of the differences between all trials a random forest puts down to each; ``top quarter``
(PED-ANOVA, Watanabe 2023) how much each tells the best quarter from the rest. Optuna's third,
fANOVA, takes minutes for a few hundred trials, which resampling would multiply.
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

from tuner.space import Choice, Domain, is_integer

#: With fewer trials nothing can be told.
MIN_TRIALS = 8
#: More than these are thinned out: an importance does not get much surer, only slower.
MOST_TRIALS = 1000
#: Resamples of the trials, at the most, and fewer than this give no interval.
MOST_RESAMPLES, LEAST_RESAMPLES = 50, 10

_EVALUATORS: Mapping[str, Callable[[], BaseImportanceEvaluator]] = {
    "forest": lambda: MeanDecreaseImpurityImportanceEvaluator(n_trees=16, seed=0),
    "top quarter": lambda: PedAnovaImportanceEvaluator(target_quantile=0.25),
}
EVALUATORS = tuple(_EVALUATORS)


@final
@dataclass(frozen=True)
class Point:
    """A trial's searched values by dotted key, and its score: lower is better."""

    values: Mapping[str, Any]
    score: float


@final
@dataclass(frozen=True)
class Importance:
    """How much a hyperparameter mattered, as a share of 1, by one evaluator.

    ``low`` to ``high`` holds 95% of what resamples of the trials say; ``chance`` is what 95% of
    shuffled scores stay below, which hang on nothing. Each is ``None`` where time was too short.
    """

    key: str
    share: float
    low: float | None
    high: float | None
    chance: float | None
    num_trials: int

    @property
    def is_real(self) -> bool:
        """Whether it is more than shuffled scores give."""
        return self.chance is not None and self.share > self.chance


def find_importances(
    points: Sequence[Point], domains: Mapping[str, Domain], evaluator: str, limit_s: float
) -> list[Importance]:
    """The importances by one of :data:`EVALUATORS`, the largest first.

    Args:
        points: The trials; of more than :data:`MOST_TRIALS`, that many are drawn.
        domains: The searched values by dotted key.
        evaluator: Its name.
        limit_s: Seconds after which no further resample begins.
    """
    points = _thinned(points)
    groups = list(_groups(points, domains))
    found = []
    for index, (keys, new, those) in enumerate(groups):
        share_s = limit_s / len(groups)
        rows = _evaluate(those, keys, domains, evaluator, share_s, seed=index)
        found += [row for row in rows if row.key in new]
    return sorted(found, key=lambda row: -row.share)


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    if len(points) <= MOST_TRIALS:
        return points
    chosen = np.random.default_rng(0).choice(len(points), MOST_TRIALS, replace=False)
    return [points[index] for index in sorted(chosen)]


def _groups(
    points: Sequence[Point], domains: Mapping[str, Domain]
) -> Iterator[tuple[list[str], set[str], list[Point]]]:
    """What all trials of a group have, which of it the group is for, and its trials.

    Keys that the same trials have share a group.
    """
    holders: dict[tuple[int, ...], set[str]] = {}
    for key in domains:
        having = tuple(i for i, point in enumerate(points) if key in point.values)
        if len(having) >= MIN_TRIALS:
            holders.setdefault(having, set()).add(key)
    for having, new in holders.items():
        those = [points[index] for index in having]
        keys = [key for key in domains if all(key in point.values for point in those)]
        yield keys, new, those


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
    while len(resampled) < MOST_RESAMPLES and time.monotonic() < until:
        drawn = rng.integers(len(points), size=len(points))
        again = [values[i] for i in drawn]
        resampled.append(_shares(again, ranks[drawn], keys, domains, evaluator))
        mixed = rng.permutation(ranks)
        shuffled.append(_shares(values, mixed, keys, domains, evaluator))
    is_enough = len(resampled) >= LEAST_RESAMPLES

    def quantile(of: list[dict[str, float]], key: str, share: float) -> float | None:
        return float(np.quantile([each[key] for each in of], share)) if is_enough else None

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
    # Where nothing explains anything, the shares are 0 / 0.
    return {key: float(share) if math.isfinite(share) else 0.0 for key, share in shares.items()}


def _study(
    values: Sequence[Mapping[str, Any]], scores: Iterable[float], domains: Mapping[str, Domain]
) -> optuna.Study:
    """A study in memory of completed trials, with what they have of these hyperparameters."""
    optuna.logging.set_verbosity(logging.ERROR)
    study = optuna.create_study(direction="minimize")
    distributions = {key: _distribution(domain) for key, domain in domains.items()}
    study.add_trials(
        create_trial(
            state=TrialState.COMPLETE,
            value=float(score),
            params={key: own[key] for key in domains},
            distributions=distributions,
        )
        for own, score in zip(values, scores, strict=True)
    )
    return study


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.labels)
    make = IntDistribution if is_integer(domain) else FloatDistribution
    return make(domain.low, domain.high, log=domain.log)
