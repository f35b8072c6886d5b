"""The pair of hyperparameters that interacts most, by a random forest (Friedman & Popescu 2008).

A forest is fitted to the ranks of the scores. Of a pair, its partial dependence on both is what it
predicts at a value of each, on average over all trials; what is left of that once the two single
partial dependences are taken off is their interaction. Its variance, as a share of that of what the
forest predicts, is the strength: 0 where what is best of the one does not hang on the other.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from tuner.space.domains import Choice, Domain
from tuner.study.importances import Point

#: With fewer trials a forest finds interactions in anything.
MIN_TRIALS = 12
#: Trials that the forest is averaged over, and values of each hyperparameter, at the most.
_MOST_TRIALS, _MOST_VALUES = 200, 8
#: Shuffles of the scores, to tell what chance gives; fewer than the least of them do not.
_NUM_SHUFFLES, _LEAST_SHUFFLES = 10, 3


@final
@dataclass(frozen=True)
class Pair:
    """Two hyperparameters, the strength of their interaction, and the strongest by chance.

    ``chance`` is the strength of the strongest pair, in the mean over shuffled scores; ``None``
    where time was too short.
    """

    keys: tuple[str, str]
    strength: float
    chance: float | None
    num_trials: int


def strongest_pair(
    points: Sequence[Point], domains: Mapping[str, Domain], keys: Sequence[str], limit_s: float
) -> Pair | None:
    """Of the keys that all trials have, the pair that interacts most; ``None`` where none can.

    Args:
        points: The trials.
        domains: The searched values by dotted key.
        keys: Those that are looked at, some six at the most: pairs grow with their square.
        limit_s: Seconds after which the scores are not shuffled once more.
    """
    points = points[:_MOST_TRIALS]
    keys = [key for key in keys if all(key in point.values for point in points)]
    if len(keys) < 2 or len(points) < MIN_TRIALS:
        return None
    table = np.array([[_coded(p.values[k], domains[k]) for k in keys] for p in points])
    ranks = np.argsort(np.argsort([point.score for point in points])).astype(float)
    strengths = _strengths(table, ranks)
    first, second = max(strengths, key=lambda pair: strengths[pair])
    rng = np.random.default_rng(0)
    by_chance: list[float] = []
    until = time.monotonic() + limit_s
    while len(by_chance) < _NUM_SHUFFLES and time.monotonic() < until:
        by_chance.append(max(_strengths(table, rng.permutation(ranks)).values()))
    chance = float(np.mean(by_chance)) if len(by_chance) >= _LEAST_SHUFFLES else None
    return Pair((keys[first], keys[second]), strengths[first, second], chance, len(points))


def _coded(value: Any, domain: Domain) -> float:
    """A forest asks only for the order of numbers; a choice is its place in the list."""
    return float(domain.choice.index(value)) if isinstance(domain, Choice) else float(value)


def _strengths(table: np.ndarray, ranks: np.ndarray) -> dict[tuple[int, int], float]:
    from sklearn.ensemble import RandomForestRegressor  # a second that a search need not wait

    forest = RandomForestRegressor(n_estimators=32, min_samples_leaf=2, random_state=0)
    forest.fit(table, ranks)
    total = float(np.var(forest.predict(table))) or 1.0
    values = [_spread(column) for column in table.T]
    return {
        pair: float(np.var(_interaction(forest, table, values, pair))) / total
        for pair in itertools.combinations(range(table.shape[1]), 2)
    }


def _spread(column: np.ndarray) -> np.ndarray:
    there = np.unique(column)
    if len(there) <= _MOST_VALUES:
        return there
    return np.unique(np.quantile(column, (np.arange(_MOST_VALUES) + 0.5) / _MOST_VALUES))


def _interaction(
    forest: Any, table: np.ndarray, values: Sequence[np.ndarray], pair: tuple[int, int]
) -> np.ndarray:
    """The partial dependence on both, [values, values], less that on each alone."""
    one, other = (values[column] for column in pair)
    asked = np.repeat(table[np.newaxis], len(one) * len(other), axis=0)
    cells = np.array(list(itertools.product(one, other)))
    for place, column in enumerate(pair):
        asked[:, :, column] = cells[:, place, np.newaxis]
    predicted = forest.predict(asked.reshape(-1, table.shape[1]))
    joint = predicted.reshape(len(one), len(other), len(table)).mean(axis=2)
    rows, columns = joint.mean(axis=1, keepdims=True), joint.mean(axis=0, keepdims=True)
    return joint - rows - columns + joint.mean()
