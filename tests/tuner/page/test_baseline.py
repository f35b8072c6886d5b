"""The papers' default points, found among the trials or described for the next search."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from made_search import facts, trial

from tuner.page.baseline import baselines
from tuner.space.spec import SearchSpec, validate

MakeSpec = Callable[..., SearchSpec]
LR = {"low": 1e-5, "high": 1e-2, "log": True}
AT_DEFAULT = {"training.critic_lr": 1e-4}


def test_the_trial_of_the_default_point_is_compared_with_the_best(make_spec: MakeSpec) -> None:
    spec = make_spec()
    (found,) = baselines(
        facts(
            spec,
            [
                trial(spec, 0, [3.0, 1.0, 0.5], "completed"),
                trial(spec, 1, [4.0, 2.0], values=AT_DEFAULT),
                trial(spec, 2, [3.9, 1.9], values=AT_DEFAULT),  # the luckier of two: not it
            ],
        )
    )
    assert found.trial is not None
    assert (found.method, found.trial.number) == ("gradient_penalty", 1)
    assert (found.steps, found.w1, found.best_w1) == (1000, 2.0, 1.0)


def test_a_point_that_no_trial_had_is_given_as_a_search_space_takes_it(make_spec: MakeSpec) -> None:
    spec = make_spec()
    (found,) = baselines(facts(spec, [trial(spec, 0, [3.0])]))
    assert found.trial is None
    assert not found.excluded
    document = {**spec.resolved(), "initial_points": yaml.safe_load(found.yaml)}
    again, faults = validate(document)
    assert not faults
    assert again is not None
    assert again.first_points == [{"training.critic_lr": 1e-4}]


def test_a_point_outside_the_ranges_is_excluded(make_spec: MakeSpec) -> None:
    spec = make_spec(training={"critic_lr": {"low": 1e-3, "high": 1e-2}})
    (found,) = baselines(facts(spec, [trial(spec, 0, [3.0])]))
    assert found.excluded == {"training.critic_lr": 1e-4}


@pytest.fixture
def mixed(make_spec: MakeSpec) -> SearchSpec:
    training: dict[str, Any] = {
        "constraint": {"choice": ["gradient_penalty", "clip"]},
        "optimizer": {"choice": ["adam", "rmsprop"]},
        "critic_lr": LR,
        "generator_lr": LR,
    }
    return make_spec(training=training, networks={"architecture": {"choice": ["mlp", "dcgan"]}})


def test_each_method_has_its_own_paper_and_any_architecture(mixed: SearchSpec) -> None:
    of_clip = {
        "training.constraint": "clip", "training.optimizer": "rmsprop",
        "training.critic_lr": 5e-5, "training.generator_lr": 5e-5,
        "networks.architecture": "dcgan",
    }  # fmt: skip
    of_penalty = {
        "training.constraint": "clip", "training.critic_lr": 1e-4, "training.generator_lr": 1e-4,
    }  # fmt: skip
    trials = [trial(mixed, 0, [2.0], values=of_penalty), trial(mixed, 1, [1.0], values=of_clip)]
    found = {b.method: b.trial and b.trial.number for b in baselines(facts(mixed, trials))}
    assert found == {"gradient_penalty": None, "clip": 1}


def test_a_published_point_has_any_width_since_no_method_publishes_one(
    make_spec: MakeSpec,
) -> None:
    spec = make_spec(
        training={"critic_lr": LR}, networks={"generator_width": {"choice": [64, 128]}}
    )
    (found,) = baselines(facts(spec, [trial(spec, 0, [3.0], values=AT_DEFAULT)]))
    assert found.trial is not None
    assert found.trial.params["networks.generator_width"] == 64
    assert found.point == AT_DEFAULT


def test_a_search_that_fixes_another_value_has_no_published_point(make_spec: MakeSpec) -> None:
    spec = make_spec(training={"critic_lr": LR, "gp_weight": 1.0})
    (found,) = baselines(facts(spec, [trial(spec, 0, [3.0], values=AT_DEFAULT)]))
    assert found.trial is None
    assert found.excluded == {"training.gp_weight": 10.0}


def test_without_a_best_there_is_nothing_to_compare_with(make_spec: MakeSpec) -> None:
    spec = make_spec()
    (found,) = baselines(facts(spec, [trial(spec, 0, [3.0], values=AT_DEFAULT)]))
    assert found.trial is not None
    assert found.steps is None
