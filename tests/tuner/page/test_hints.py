"""The next steps that a report suggests, for made-up searches."""

from collections.abc import Callable
from typing import Any

import pytest
from made_search import facts, trial

from tuner.page.facts import Facts
from tuner.page.hints import best_config, hints
from tuner.retrain.retrained import Retrained
from tuner.space.domains import Range
from tuner.space.spec import SearchSpec
from tuner.study.importances import Importance

MakeSpec = Callable[..., SearchSpec]
LOG = Range[float](low=1e-4, high=1.0, log=True)
WHOLE = Range[int](low=1, high=5)


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


@pytest.mark.parametrize(("decay", "options"), [("constant", "--continue "), ("linear", "")])
def test_the_best_goes_on_from_its_checkpoint_unless_its_learning_rates_decay(
    make_spec: MakeSpec, decay: str, options: str
) -> None:
    spec = make_spec(training={"lr_decay": decay})
    some = facts(spec, [trial(spec, 0, [4.0, 2.0, 1.0], "completed", final=1.1)])
    (longer,) = (h for h in hints(some, (), (), ()) if h.action == "Train the best for longer")
    assert longer.command is not None
    assert longer.command.endswith(f" {options}--generator-steps 8000")


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


def test_a_second_search_is_suggested_once_there_are_trials_to_narrow_to(
    make_spec: MakeSpec,
) -> None:
    spec = make_spec(search={"num_trials": 6, "sampler": "random"}, objective={"final_trials": 0})
    done = [trial(spec, i, [3.0, 2.0, 1.0 + i], "completed") for i in range(6)]
    (hint,) = (h for h in hints(facts(spec, done), (), (), ()) if "again around" in h.action)
    assert hint.command == "python -m tuner.narrow /nowhere/search"
    assert "Search again around the best" not in reasons(facts(spec, done[:4]))
