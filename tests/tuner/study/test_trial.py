"""Which of a trial's rungs stands for it."""

from typing import Any

import pytest

from trainables.config import ObjectiveConfig, TrialConfig
from tuner.study.trial import Trial, best_rung

SCORES = {250: 3.0, 1000: 0.6, 4000: 1.45}


def trial(scores: dict[int, float] = SCORES, **fields: Any) -> Trial:
    return Trial(0, fields.pop("config", TrialConfig()), {}, scores, **fields)


@pytest.mark.parametrize(
    ("scores", "metric", "best"),
    [
        (SCORES, "w1", 1000),
        ({4000: 1.0, 250: 1.0}, "w1", 250),  # whatever the order
        (SCORES, "critic_estimate", 4000),  # each by another critic
        ({}, "w1", None),
        ({}, "critic_estimate", None),
    ],
)
def test_the_best_rung_is_that_of_the_lowest_w1(
    scores: dict[int, float], metric: str, best: int | None
) -> None:
    assert best_rung(scores, metric) == best


@pytest.mark.parametrize(
    ("generators", "best"),
    [
        ({1000: "a", 4000: "b"}, 1000),
        ({250: "a", 4000: "b"}, 4000),  # that of step 1000 is gone
        ({}, 4000),  # a search of an earlier version
        ({500: "a"}, 4000),
    ],
)
def test_only_a_generator_that_is_kept_stands_for_a_trial(
    generators: dict[int, str], best: int
) -> None:
    found = trial(generators=generators, checkpoints=("last",))
    assert (found.best_rung, found.score) == (best, SCORES[best])
    assert found.best_generator == generators.get(best, "last")


def test_what_the_final_scored_stands_for_it() -> None:
    final = {"w1_final": 1.0, "generator_steps": 4000.0}
    found = trial(generators={1000: "a", 4000: "b"}, final=final)
    assert (found.best_rung, found.score, found.best_generator) == (4000, 1.45, "b")


def test_w1_is_that_of_the_best_rung_whatever_ranks_the_trials() -> None:
    both = {"generators": {1000: "a", 4000: "b"}, "metrics": {"w1": 9.0}}
    assert trial(**both).w1 == 0.6
    config = TrialConfig(objective=ObjectiveConfig(name="critic_estimate"))
    assert trial(**both, config=config).w1 == 9.0
    assert trial(**both, config=config).score == 1.45


def test_before_the_first_rung_there_is_none() -> None:
    found = trial({}, checkpoints=("first",))
    assert (found.best_rung, found.score, found.last_score, found.w1) == (None, None, None, None)
