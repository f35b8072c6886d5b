"""Which hyperparameters a trial has, and what they are where its author is silent."""

from typing import get_args

import pytest
from pydantic import ValidationError

from trainables.config import TrainingConfig
from trainables.methods import APPLIES_WHEN, PUBLISHED, Constraint, Loss, why_no_effect

METHODS = [
    *({"constraint": constraint} for constraint in get_args(Constraint)),
    *({"loss": loss} for loss in get_args(Loss) if loss != "wasserstein"),
]


def test_a_method_is_published_for_every_constraint_and_every_other_loss() -> None:
    assert set(PUBLISHED) == {name for method in METHODS for name in method.values()}


def test_no_hyperparameter_stands_before_the_one_that_it_hangs_on() -> None:
    for keys in (list(TrainingConfig.model_fields), *map(list, PUBLISHED.values())):
        for key, (parent, _) in APPLIES_WHEN.items():
            if key in keys and parent in keys:
                assert keys.index(parent) < keys.index(key)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: next(iter(method.values())))
def test_a_method_alone_gets_all_that_its_paper_publishes_and_nothing_else(method: dict) -> None:
    (name,) = method.values()
    training = TrainingConfig.model_validate(method)
    has = {key: value for key, value in training.model_dump().items() if value is not None}
    expected = dict(PUBLISHED[name]) | {"loss": "wasserstein", "batch_size": 64} | method
    if expected["optimizer"] != "adam":
        del expected["beta1"], expected["beta2"]
    assert has == expected


def test_nothing_given_is_wgan_gp() -> None:
    assert TrainingConfig() == TrainingConfig(loss="wasserstein", constraint="gradient_penalty")


def test_goodfellows_gan_has_one_critic_step_and_radfords_adam() -> None:
    training = TrainingConfig(loss="non_saturating")
    assert (training.n_critic, training.optimizer, training.instance_noise) == (1, "adam", 0)
    assert (training.critic_lr, training.generator_lr) == (2e-4, 2e-4)
    assert (training.beta1, training.beta2) == (0.5, 0.999)
    assert training.constraint is training.gp_weight is training.clip_value is None


def test_what_is_given_wins() -> None:
    training = TrainingConfig(loss="minimax", n_critic=3, beta1=0.0, instance_noise=0.2)
    assert (training.n_critic, training.beta1, training.beta2) == (3, 0.0, 0.999)
    assert training.instance_noise == 0.2


REFUSED = [
    (
        {"loss": "minimax", "constraint": "clip"},
        "constraint has no effect when loss is minimax: leave constraint out, or set loss to "
        "wasserstein",
    ),
    (
        {"loss": "minimax", "clip_value": 0.1},
        "clip_value has no effect when loss is minimax: leave clip_value out, or set loss to "
        "wasserstein and constraint to clip",
    ),
    (
        {"constraint": "clip", "gp_weight": 1},
        "gp_weight has no effect when constraint is clip: leave gp_weight out, or set constraint "
        "to gradient_penalty or one_sided_penalty",
    ),
    (
        {"instance_noise": 0.1},
        "instance_noise has no effect when loss is wasserstein: leave instance_noise out, or set "
        "loss to minimax or non_saturating",
    ),
    (
        {"loss": "non_saturating", "optimizer": "rmsprop", "beta1": 0.5},
        "beta1 has no effect when optimizer is rmsprop: leave beta1 out, or set optimizer to adam",
    ),
]


@pytest.mark.parametrize(("given", "why"), REFUSED)
def test_what_cannot_apply_is_refused_with_the_way_out(given: dict, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        TrainingConfig.model_validate(given)


@pytest.mark.parametrize("given", [{"loss": "hinge"}, {"loss": ["minimax"]}, {"constraint": "cut"}])
def test_an_unknown_method_is_refused(given: dict) -> None:
    with pytest.raises(ValidationError, match=r"Input should be .*"):
        TrainingConfig.model_validate(given)


def test_negative_noise_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        TrainingConfig(loss="minimax", instance_noise=-0.1)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: next(iter(method.values())))
def test_a_trial_written_down_with_what_does_not_apply_reads_back(method: dict) -> None:
    training = TrainingConfig.model_validate(method)
    assert TrainingConfig.model_validate(training.model_dump()) == training
    assert TrainingConfig.model_validate(training.model_dump(exclude_none=True)) == training


def test_of_a_parent_that_is_unknown_nothing_is_concluded() -> None:
    assert why_no_effect("gp_weight", {"loss": ("wasserstein",)}) is None
    assert why_no_effect("gp_weight", {}) is None
    assert why_no_effect("n_critic", {"loss": ("minimax",)}) is None
    assert why_no_effect("gp_weight", {"loss": ("minimax",)}) == (
        "has no effect when loss is minimax: leave gp_weight out, or set loss to wasserstein"
    )


def test_one_possible_value_that_it_applies_under_is_enough() -> None:
    both = {"loss": ("minimax", "wasserstein"), "constraint": ("clip",)}
    assert why_no_effect("clip_value", both) is None
    assert why_no_effect("instance_noise", both) is None
    assert why_no_effect("gp_weight", both) == (
        "has no effect when constraint is clip: leave gp_weight out, or set constraint to "
        "gradient_penalty or one_sided_penalty"
    )
