"""Initial points: the first trials have what their author says, and the rest is proposed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.errors import Fault
from tuner.space.spec import SearchSpec, validate
from tuner.study.study import Study

MakeSpec = Callable[..., SearchSpec]
FaultsOf = Callable[..., list[Fault]]

SPACE: dict[str, Any] = {
    "networks": {
        "generator": "mine:Net",
        "generator_args": {"width": {"low": 8, "high": 64}, "kind": {"choice": ["a", "b"]}},
    },
    "training": {
        "constraint": {"choice": ["clip", "gradient_penalty"]},
        "clip_value": {"low": 1e-3, "high": 1, "log": True},
        "optimizer": "adam",
        "critic_lr": {"low": 1e-5, "high": 1e-2, "log": True},
        "generator_lr": 1e-4,
    },
}
POINT = {
    "training": {"constraint": "clip", "clip_value": 0.01, "critic_lr": "5e-5"},
    "networks": {"generator_args": {"width": 16, "kind": "b"}},
}
DOTTED = {
    "training.constraint": "clip",
    "training.clip_value": 0.01,
    "training.critic_lr": 5e-5,
    "networks.generator_args.width": 16,
    "networks.generator_args.kind": "b",
}


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_the_first_trials_have_them_and_the_rest_is_proposed(
    tmp_path: Path, make_spec: MakeSpec, sampler: str
):
    points = [POINT, {"training": {"critic_lr": 1e-3}}]
    search = {"num_trials": 4, "sampler": sampler}
    study = Study(tmp_path / "study.log", make_spec(**SPACE, initial_points=points, search=search))
    first, second, third = (study.ask() for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    assert dict(first.params) == DOTTED
    assert first.config.networks.generator_args == {"width": 16, "kind": "b"}
    assert second.config.training.critic_lr == 1e-3
    assert "networks.generator_args.width" in second.params
    assert third.config.training.critic_lr != 1e-3


def test_a_resumed_search_has_each_of_them_once(tmp_path: Path, make_spec: MakeSpec):
    search = make_spec(**SPACE, initial_points=[POINT], search={"num_trials": 2})
    first = Study(tmp_path / "study.log", search).ask()
    second = Study(tmp_path / "study.log", search).ask()
    assert first is not None
    assert second is not None
    assert dict(first.params) == DOTTED
    assert dict(second.params) != DOTTED


def test_they_are_part_of_the_resolved_search(make_spec: MakeSpec):
    search = make_spec(**SPACE, initial_points=[POINT])
    again, faults = validate(search.resolved())
    assert faults == []
    assert again == search
    assert search.first_points == [DOTTED]


def test_what_the_search_fixes_to_that_very_value_may_be_said(make_spec: MakeSpec):
    point = {"training": {"generator_lr": "1e-4", "critic_lr": 1e-4}}
    search = make_spec(**SPACE, initial_points=[point])
    assert search.first_points == [{"training.critic_lr": 1e-4}]


WRONG = [
    ({"critic_lr": 3}, "critic_lr", "must lie in 1e-05 to 0.01, got 3: change it, or widen the"),
    ({"critic_lr": "fast"}, "critic_lr", "must lie in 1e-05 to 0.01, got 'fast'"),
    ({"critic_lr": True}, "critic_lr", "must lie in 1e-05 to 0.01, got True"),
    ({"constraint": "orthogonal"}, "constraint", "must be one of ['clip', 'gradient_penalty']"),
    ({"generator_lr": 1e-3}, "generator_lr", "is fixed at 0.0001, got 0.001: leave it out, or"),
    (
        {"constraint": "gradient_penalty", "clip_value": 0.1},
        "clip_value",
        "has no effect when constraint is gradient_penalty",
    ),
    ({"criticlr": 1}, "criticlr", "no such key in training of this search: leave it out"),
]


@pytest.mark.parametrize(("training", "key", "what"), WRONG)
def test_what_cannot_be_is_refused(
    faults_of: FaultsOf, training: dict[str, Any], key: str, what: str
):
    (fault,) = faults_of(**SPACE, initial_points=[{"training": training}])
    assert fault.where == f"initial_points.0.training.{key}"
    assert what in fault.message


def test_a_range_of_whole_numbers_has_no_half(faults_of: FaultsOf):
    point = {"networks": {"generator_args": {"width": 8.5}}}
    (fault,) = faults_of(**SPACE, initial_points=[point])
    assert fault.where == "initial_points.0.networks.generator_args.width"
    assert "must lie in 8 to 64, got 8.5" in fault.message


def test_a_point_has_sections(faults_of: FaultsOf):
    (fault,) = faults_of(**SPACE, initial_points=[{"critic_lr": 1e-3}])
    assert fault == Fault(
        "initial_points.0.critic_lr", "no such key; did you mean training.critic_lr?"
    )


def test_there_may_be_more_than_trials(tmp_path: Path, make_spec: MakeSpec):
    """So that ``--set search.num_trials=1`` tries a search out."""
    search = make_spec(**SPACE, initial_points=[POINT, POINT], search={"num_trials": 1})
    study = Study(tmp_path / "study.log", search)
    assert study.ask() is not None
    assert study.ask() is None


def test_a_grid_has_none(faults_of: FaultsOf):
    grid = {"training": {"critic_lr": {"choice": [1e-4, 1e-3]}}, "search": {"sampler": "grid"}}
    (fault,) = faults_of(**grid, initial_points=[{"training": {"critic_lr": 1e-4}}])
    assert fault.where == "initial_points"
    assert fault.message.startswith("must not be given for a grid")


def test_a_fixed_constraint_has_no_say_in_a_trial_whose_loss_has_none(faults_of: FaultsOf):
    """Spectral normalisation admits no dropout, and the minimax loss has no constraint."""
    training = {
        "loss": {"choice": ["wasserstein", "minimax"]},
        "constraint": "spectral_norm",
        "critic_dropout": {"low": 0.0, "high": 0.5},
        "n_critic": 1, "optimizer": "adam", "critic_lr": 1e-4, "generator_lr": 1e-4,
        "beta1": 0.5, "beta2": 0.9,
    }  # fmt: skip
    points = [{"training": {"loss": "minimax", "critic_dropout": 0.3}}]
    assert faults_of(training=training, initial_points=points) == []
    (fault,) = faults_of(
        training=training,
        initial_points=[{"training": {**points[0]["training"], "loss": "wasserstein"}}],
    )
    assert "has no effect when constraint is spectral_norm" in fault.message
