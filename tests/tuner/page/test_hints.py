"""The next steps that a report suggests, for made-up searches."""

from collections.abc import Callable
from typing import Any

import pytest
from made_search import facts, trial

from tuner.page.facts import Facts
from tuner.page.hints import best_config, domain_text, edge, hints
from tuner.retrain.retrained import Retrained
from tuner.space.domains import Choice, Range
from tuner.space.spec import SearchSpec
from tuner.study.importances import Importance

MakeSpec = Callable[..., SearchSpec]
LOG = Range[float](low=1e-4, high=1.0, log=True)
WHOLE = Range[int](low=1, high=5)


@pytest.mark.parametrize(
    ("key", "domain", "value", "end"),
    [
        ("training.critic_lr", LOG, 0.9, "high"),
        ("training.critic_lr", LOG, 1.1e-4, "low"),
        ("training.critic_lr", LOG, 0.1, None),  # a quarter of the magnitudes below the end
        ("training.n_critic", WHOLE, 5, "high"),
        ("training.n_critic", WHOLE, 4, None),
        ("training.n_critic", WHOLE, 1, None),  # a critic takes no fewer steps than one
        ("training.beta1", Range[float](low=0.0, high=0.99), 0.98, None),
    ],
)
def test_a_value_is_at_an_end_of_its_range_if_the_range_could_go_on(
    key: str, domain: Any, value: float, end: str | None
) -> None:
    assert edge(key, domain, value) == end


def test_a_domain_in_words() -> None:
    assert domain_text(LOG) == "0.0001 to 1 (log)"
    assert domain_text(Choice(choice=("adam", "rmsprop"))) == "one of adam, rmsprop"


def reasons(search: Facts, seeds: tuple[Retrained, ...] = (), rankings: Any = ()) -> dict[str, str]:
    return {hint.action: hint.reason for hint in hints(search, rankings, (), seeds)}


def test_a_search_is_to_be_resumed_or_given_more_trials(make_spec: MakeSpec) -> None:
    more = "Run more trials, or lower asha.max_generator_steps"
    found = reasons(facts(make_spec(), [trial(make_spec(), 0, [4.0], None)]))
    assert "Resume the search" in found
    assert not {more, "Use the best generator"} & set(found)
    spec = make_spec(search={"num_trials": 1})
    assert reasons(facts(spec, [trial(spec, 0, [4.0])]))[more] == "no trial completed"


def test_the_best_is_to_be_retrained_and_its_range_widened(make_spec: MakeSpec) -> None:
    spec = make_spec()
    some = facts(spec, [trial(spec, 0, [4.0, 2.0, 1.0], "completed", final=1.1)])
    found = reasons(some)
    assert found["Widen training.critic_lr past 1e-5"].startswith("the best has 1e-5, at the lower")
    assert found["Train the best for longer"].endswith("from 2 to 1")
    assert "Train the best again with other seeds" in found
    again = reasons(some, (Retrained("00000", 4000, (1.0, 1.2)),))
    assert "Train the best again with other seeds" not in again
    assert "Train the best for longer" in again
    longer = reasons(some, (Retrained("00000", 8000, (0.9,)),))
    assert "Train the best for longer" not in longer
    assert "Train the best again with other seeds" in longer
    assert best_config(some) == [("critic_lr", "1e-5", "1e-5 to 0.01 (log)")]


def test_a_trial_that_was_cut_off_ahead_of_the_best_is_to_be_trained_once(
    make_spec: MakeSpec,
) -> None:
    spec = make_spec()
    cut = trial(spec, 1, [3.0]).with_metrics({"generator_steps": 700.0})
    some = facts(spec, [trial(spec, 0, [4.0, 2.0, 1.0], "completed"), cut])
    action = "Train trial 00001 to the last rung"
    assert reasons(some)[action].endswith("at step 250 its w1 was 3, against 4 of the best")
    assert action not in reasons(some, (Retrained("00001", 4000, (1.0,)),))


def test_what_both_evaluators_find_unimportant_may_be_fixed(
    make_spec: MakeSpec,
) -> None:
    spec = make_spec()
    some = facts(spec, [trial(spec, 0, [4.0, 2.0, 1.0], "completed")])
    small = Importance("training.critic_lr", 0.02, 0.0, 0.05, 0.1, 40)
    large = Importance("training.critic_lr", 0.02, 0.0, 0.5, 0.1, 40)
    assert "Fix critic_lr, for example at 1e-5" in reasons(some, rankings=[[small], [small]])
    assert "Fix critic_lr, for example at 1e-5" not in reasons(some, rankings=[[small], [large]])
