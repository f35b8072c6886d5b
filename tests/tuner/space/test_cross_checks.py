"""Faults that lie between two sections of a search space, each of them right by itself."""

from collections.abc import Callable
from typing import Any

import pytest

from trainables.config import TrainingConfig
from tuner.errors import Fault

FaultsOf = Callable[..., list[Fault]]


GENERATORS = {
    "networks": {
        "generator_width": {"choice": [64, 128]},
        "generator_depth": {"low": 1, "high": 3},
        "latent_dim": {"low": 2, "high": 64},
    },
    "training": {"generator_lr": {"low": 1e-5, "high": 1e-2, "log": True}},
}
TWO = {"choice": [1, 2]}


@pytest.mark.parametrize("objective", ["critic_estimate", {"name": "critic_estimate"}])
def test_a_trials_own_critic_may_rank_where_the_generator_alone_is_searched(
    faults_of: FaultsOf, objective: Any
):
    matching = GENERATORS["training"] | {"feature_matching_weight": {"choice": [0, 1]}}
    for training in (GENERATORS["training"], matching):
        assert faults_of(objective=objective, **GENERATORS | {"training": training}) == []


@pytest.mark.parametrize(
    "key",
    [
        *(f"training.{field}" for field in TrainingConfig.model_fields
          if field not in (
              "feature_matching_weight", "generator_lr", "ema_decay", "num_projections"
          )),
        "networks.architecture", "networks.critic_width", "networks.critic_depth",
        "networks.critic", "networks.critic_args.width", "networks.critic_activation",
        "networks.critic_norm", "networks.minibatch_discrimination", "networks.minibatch_dims",
    ],
)  # fmt: skip
def test_whatever_else_is_searched_moves_the_critics_scale(faults_of: FaultsOf, key: str):
    """All keys there are: one that is added counts as the critic's until it is said not to be."""
    values = {
        "constraint": ["gradient_penalty", "one_sided_penalty"],
        "loss": ["minimax", "non_saturating"],
        "divergence": ["kl", "pearson"],
        "generator_loss": ["saturating", "alternative"],
        "label_smoothing": [0.1, 0.2],
        "critic_dropout": [0.1, 0.2],
        "optimizer": ["adam", "rmsprop"],
        "architecture": ["mlp"],
        "diversity_ratio": [0.5, 0.7],
        "lambda_k": [0.001, 0.01],
        "beta1": [0.0, 0.5],
        "beta2": [0.9, 0.99],
        "lr_decay": ["constant", "linear"],
        "precision": ["float32", "bfloat16"],
        "compile": [False, True],
        "cuda_graph": [False, True],
        "critic": ["mine:A", "mine:B"],
        "critic_activation": ["relu", "tanh"],
        "critic_norm": ["none", "layer"],
    }
    needs = {
        "weight_decay": {"training": {"optimizer": "adamw"}},
        "clip_value": {"training": {"constraint": "clip"}},
        "instance_noise": {"training": {"loss": "minimax"}},
        "label_smoothing": {"training": {"loss": "minimax"}},
        "consistency_weight": {"training": {"critic_dropout": 0.5}},
        "consistency_margin": {"training": {"critic_dropout": 0.5, "consistency_weight": 2}},
        "divergence": {"training": {"loss": "f_gan"}},
        "generator_loss": {"training": {"loss": "f_gan"}},
        "div_weight": {"training": {"loss": "wgan_div"}},
        "div_power": {"training": {"loss": "wgan_div"}},
        "margin": {"training": {"loss": "ebgan"}},
        "diversity_ratio": {"training": {"loss": "began"}},
        "lambda_k": {"training": {"loss": "began"}},
        "pulling_away_weight": {"training": {"loss": "ebgan"}},
        "r1_weight": {"training": {"loss": "minimax"}},
        "r2_weight": {"training": {"loss": "minimax"}},
        "critic_args": {"networks": {"critic": "mine:A"}},
        "critic_norm": {"networks": {"architecture": "dcgan"}},
        "minibatch_discrimination": {"training": {"loss": "minimax"}},
        "minibatch_dims": {
            "training": {"loss": "minimax"},
            "networks": {"minibatch_discrimination": 8},
        },
    }
    section, field, *argument = key.split(".")
    needed = needs.get(field, {})
    sections = {name: {**GENERATORS[name], **needed.get(name, {})} for name in GENERATORS}
    choice = {"choice": values.get(field, [2, 4])}
    sections[section][field] = {argument[0]: choice} if argument else choice
    (fault,) = faults_of(objective="critic_estimate", **sections)
    assert fault == Fault(
        "objective.name",
        f"must not be critic_estimate while {key} is searched: its scale depends on the "
        "critic, so that trials would differ by more than their generators: fix it, or give "
        "independent_critic",
    )
    assert faults_of(objective="independent_critic", **sections) == []


@pytest.mark.parametrize(
    "loss", ["sliced_wasserstein", {"choice": ["wasserstein", "sliced_wasserstein"]}]
)
def test_trials_without_a_critic_are_not_ranked_by_its_estimate(faults_of: FaultsOf, loss: Any):
    lr = {"generator_lr": 1e-4, "beta1": 0.5, "beta2": 0.9}
    (fault,) = faults_of(objective="critic_estimate", training={"loss": loss, **lr})
    assert fault == Fault(
        "objective.name",
        "must not be critic_estimate where loss is sliced_wasserstein, which trains no critic: "
        "give independent_critic, or change the loss",
    )


def test_all_keys_that_move_the_critics_scale_are_named_beside_all_other_faults(
    faults_of: FaultsOf,
):
    faults = faults_of(
        objective="critic_estimate",
        networks={"critic_width": TWO, "latent_dim": TWO},
        training={"critic_lr": TWO, "n_critic": TWO},
        search={},
    )
    assert [fault.where for fault in faults] == ["objective.name", "search"]
    assert "networks.critic_width, training.n_critic, training.critic_lr are searched: its" in (
        faults[0].message
    )
    assert faults[0].message.endswith("generators: fix them, or give independent_critic")


@pytest.mark.parametrize(
    ("batch_size", "pack", "fault"),
    [
        (64, 2, None),
        ({"choice": [32, 64]}, {"choice": [1, 4]}, None),
        ({"low": 32, "high": 128}, 1, None),
        (63, 2, "which 63 is not of 2"),
        ({"low": 32, "high": 128}, {"choice": [1, 2]}, "which 33 is not of 2"),
        (64, {"low": 1, "high": 3}, "which 64 is not of 3"),
    ],
)
def test_every_batch_size_is_a_multiple_of_every_pack(
    faults_of: FaultsOf, batch_size: Any, pack: Any, fault: str | None
):
    rule = f"must be a multiple of pack, {fault}: list multiples with choice, or change pack"
    expected = [] if fault is None else [Fault("training.batch_size", rule)]
    assert faults_of(training={"batch_size": batch_size, "pack": pack}) == expected


@pytest.mark.parametrize("search", [{}, {"sampler": "random"}])
def test_a_search_without_an_end_is_refused(faults_of: FaultsOf, search: dict[str, Any]):
    what = "needs num_trials or a budget (time_budget_s, generator_steps, gpu_hours), got none: "
    assert faults_of(search=search) == [Fault("search", f"{what}give one or more")]


@pytest.mark.parametrize(("gpus", "is_refused"), [(0, True), (0.5, False), ("auto", False)])
def test_gpu_hours_that_no_trial_uses_are_refused(faults_of: FaultsOf, gpus: Any, is_refused: bool):
    rule = "needs trials with GPUs, but resources.gpus_per_trial is 0: raise that, or give "
    fault = Fault("search.gpu_hours", f"{rule}time_budget_s or generator_steps")
    for search in ({"gpu_hours": 3.5}, {"gpu_hours": 3.5, "num_trials": 4}):
        found = faults_of(search=search, resources={"gpus_per_trial": gpus})
        assert found == [fault] * is_refused


def test_a_grid_over_real_numbers_is_refused_at_each_of_them(faults_of: FaultsOf):
    real = {"low": 1, "high": 2}
    faults = faults_of(
        search={"sampler": "grid"},
        networks={"latent_dim": real},
        training={"critic_lr": real, "gp_weight": real},
    )
    what = (
        "is a range of real numbers, and a grid needs a finite space: list its values with "
        "choice, or give another search.sampler"
    )
    assert faults == [Fault("training.gp_weight", what), Fault("training.critic_lr", what)]


def test_a_grid_that_is_too_large_is_refused(faults_of: FaultsOf):
    networks = {"latent_dim": {"low": 1, "high": 1000}, "critic_width": {"low": 1, "high": 101}}
    (fault,) = faults_of(search={"sampler": "grid"}, networks=networks)
    assert fault.where == "search.sampler"
    assert fault.message == (
        "grid must have at most 100,000 points, got 101,000: narrow the space, or give random"
    )
