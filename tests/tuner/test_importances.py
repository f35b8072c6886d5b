"""Importances of scores whose causes are known."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tuner.domains import Choice, Range
from tuner.importances import EVALUATORS, MIN_TRIALS, Point, importances
from tuner.interactions import strongest_pair

UNIT = Range[float](low=0.0, high=1.0)
DOMAINS = {"training.a": UNIT, "training.b": UNIT, "training.c": Choice(choice=("x", "y"))}


def points(score: Callable[[float, float, str], float], num: int = 80) -> list[Point]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(num):
        a, b, c = float(rng.random()), float(rng.random()), str(rng.choice(["x", "y"]))
        values = {"training.a": a, "training.b": b, "training.c": c}
        found.append(Point(values, score(a, b, c)))
    return found


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_what_alone_decides_has_it_all_and_is_no_chance(evaluator: str) -> None:
    # Scores over six decades: their ranks alone count.
    first, *rest = importances(points(lambda a, b, c: 10 ** (6 * a)), DOMAINS, evaluator, 20)
    assert first.key == "training.a"
    assert first.share > 0.8
    assert first.is_real
    assert first.low is not None
    assert first.high is not None
    assert first.low <= first.share <= first.high + 0.05
    assert not any(row.is_real for row in rest)


def test_without_time_there_is_no_interval() -> None:
    rows = importances(points(lambda a, b, c: a), DOMAINS, "forest", 0)
    assert all(row.low is row.high is row.chance is None for row in rows)


def test_a_hyperparameter_that_some_have_is_judged_among_those() -> None:
    def without(which: Sequence[Point], num: int) -> list[Point]:
        cut = [Point({k: v for k, v in p.values.items() if k != "training.b"}, p.score)
               for p in which[num:]]  # fmt: skip
        return [*which[:num], *cut]

    made = points(lambda a, b, c: b)
    rows = {r.key: r for r in importances(without(made, 30), DOMAINS, "forest", 0)}
    assert (rows["training.a"].num_trials, rows["training.b"].num_trials) == (80, 30)
    assert rows["training.b"].share > 0.8
    few = importances(without(made, MIN_TRIALS - 1), DOMAINS, "forest", 0)
    assert {row.key for row in few} == {"training.a", "training.c"}


def test_a_product_interacts_and_a_sum_does_not() -> None:
    keys = [*DOMAINS]
    product = strongest_pair(points(lambda a, b, c: (a - 0.5) * (b - 0.5)), DOMAINS, keys, 20)
    total = strongest_pair(points(lambda a, b, c: a + b), DOMAINS, keys, 20)
    assert product is not None
    assert total is not None
    assert set(product.keys) == {"training.a", "training.b"}
    assert product.strength > 10 * total.strength
    assert product.chance is not None
    assert product.strength > product.chance


def test_a_pair_takes_two_hyperparameters_and_some_trials() -> None:
    made = points(lambda a, b, c: a)
    assert strongest_pair(made, DOMAINS, ["training.a"], 0) is None
    assert strongest_pair(made[:5], DOMAINS, [*DOMAINS], 0) is None
