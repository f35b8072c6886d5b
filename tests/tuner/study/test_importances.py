"""Importances of scores that are known functions of the hyperparameters."""

from collections.abc import Sequence

import numpy as np
import pytest
from made_search import DOMAINS, UNIT, points

from tuner.study.importances import EVALUATORS, MIN_TRIALS, Point, find_importances


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_the_only_hyperparameter_that_matters_has_most_of_the_importance(evaluator: str) -> None:
    # Scores span six decades, but only their ranks count.
    first, *rest = find_importances(points(lambda a, b, c: 10 ** (6 * a)), DOMAINS, evaluator, 20)
    assert first.key == "training.a"
    assert first.share > 0.8
    assert first.is_real
    assert first.low is not None
    assert first.high is not None
    assert first.low <= first.share <= first.high + 0.05
    assert not any(row.is_real for row in rest)


@pytest.mark.parametrize("decisive", ["training.zeta", "training.mid", "training.alpha"])
@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_a_share_carries_its_own_name_when_keys_are_not_in_alphabetical_order(
    evaluator: str, decisive: str
) -> None:
    """Optuna's forest sorts its columns by name, whatever the order of the names it is given."""
    names = ("training.zeta", "training.mid", "training.alpha")
    rng = np.random.default_rng(0)
    rows = [dict(zip(names, map(float, rng.random(3)), strict=True)) for _ in range(80)]
    made = [Point(row, row[decisive]) for row in rows]
    first, *rest = find_importances(made, dict.fromkeys(names, UNIT), evaluator, 0)
    assert first.key == decisive
    assert first.share > 0.8
    assert {row.key for row in rest} == {*names} - {decisive}


def test_without_time_there_is_no_interval() -> None:
    rows = find_importances(points(lambda a, b, c: a), DOMAINS, "forest", 0)
    assert all(row.low is row.high is row.chance is None for row in rows)


def test_a_conditional_hyperparameter_is_compared_among_the_trials_that_have_it() -> None:
    def without(which: Sequence[Point], num: int) -> list[Point]:
        cut = [Point({k: v for k, v in p.values.items() if k != "training.b"}, p.score)
               for p in which[num:]]  # fmt: skip
        return [*which[:num], *cut]

    made = points(lambda a, b, c: b)
    rows = {r.key: r for r in find_importances(without(made, 30), DOMAINS, "forest", 0)}
    assert (rows["training.a"].num_trials, rows["training.b"].num_trials) == (80, 30)
    assert rows["training.b"].share > 0.8
    few = find_importances(without(made, MIN_TRIALS - 1), DOMAINS, "forest", 0)
    assert {row.key for row in few} == {"training.a", "training.c"}
