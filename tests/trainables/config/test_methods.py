"""Which hyperparameters a trial has, and their defaults."""

from typing import get_args

import pytest
from pydantic import ValidationError
from unpublished import OFF

from trainables.config import (
    APPLIES_WHEN,
    ARCHITECTURES,
    DATASETS,
    PUBLISHED,
    Architecture,
    Constraint,
    DataConfig,
    Loss,
    NetworkConfig,
    TrainingConfig,
    TrialConfig,
    applies,
    may_be_absent,
    refused_together,
    why_no_effect,
)

METHODS = [
    *({"constraint": constraint} for constraint in get_args(Constraint)),
    *({"loss": loss} for loss in get_args(Loss) if loss != "wasserstein"),
]


def test_a_method_is_published_for_every_constraint_and_every_other_loss() -> None:
    assert set(PUBLISHED) == {name for method in METHODS for name in method.values()}


def test_parents_stand_before_the_hyperparameters_that_depend_on_them() -> None:
    choosing = [*TrainingConfig.model_fields, *NetworkConfig.model_fields]
    published = [*PUBLISHED.values(), *ARCHITECTURES.values()]
    for keys in (choosing, list(DataConfig.model_fields), *map(list, published)):
        for key, alternatives in APPLIES_WHEN.items():
            for parent in (parent for needs in alternatives for parent in needs):
                if key in keys and parent in keys:
                    assert keys.index(parent) < keys.index(key)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: next(iter(method.values())))
def test_a_method_alone_gets_the_published_values_and_nothing_else(method: dict) -> None:
    (name,) = method.values()
    training = TrainingConfig.model_validate(method)
    has = {key: value for key, value in training.model_dump().items() if value is not None}
    expected = dict(PUBLISHED[name]) | {"loss": "wasserstein", "batch_size": 64} | OFF | method
    del expected["weight_decay"]  # no paper's optimiser is AdamW
    del expected["consistency_margin"]  # the term is off
    if expected["optimizer"] != "adam":
        del expected["beta1"], expected["beta2"]
    assert has == expected


def test_the_default_method_is_wgan_gp() -> None:
    assert TrainingConfig() == TrainingConfig(loss="wasserstein", constraint="gradient_penalty")


def test_goodfellows_gan_has_one_critic_step_and_radfords_adam() -> None:
    training = TrainingConfig(loss="non_saturating")
    assert (training.n_critic, training.optimizer, training.instance_noise) == (1, "adam", 0)
    assert (training.critic_lr, training.generator_lr) == (2e-4, 2e-4)
    assert (training.beta1, training.beta2) == (0.5, 0.999)
    assert training.constraint is training.gp_weight is training.clip_value is None


def test_given_values_win_over_published_ones() -> None:
    training = TrainingConfig(loss="minimax", n_critic=3, beta1=0.0, instance_noise=0.2)
    assert (training.n_critic, training.beta1, training.beta2) == (3, 0.0, 0.999)
    assert training.instance_noise == 0.2


def test_r3gan_has_the_penalties_and_the_adam_of_huang_2024() -> None:
    training = TrainingConfig(loss="relativistic")
    assert (training.r1_weight, training.r2_weight, training.n_critic) == (0.05, 0.05, 1)
    assert (training.critic_lr, training.beta1, training.beta2) == (2e-4, 0.0, 0.9)


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
        "loss to minimax or non_saturating or relativistic or f_gan",
    ),
    (
        {"loss": "non_saturating", "optimizer": "rmsprop", "beta1": 0.5},
        "beta1 has no effect when optimizer is rmsprop: leave beta1 out, or set optimizer to adam "
        "or adamw",
    ),
]


@pytest.mark.parametrize(("given", "fault"), REFUSED)
def test_a_key_that_cannot_apply_is_refused_with_the_way_out(given: dict, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        TrainingConfig.model_validate(given)


def test_smoothing_without_a_classifying_loss_is_refused() -> None:
    """There is no label to smooth."""
    assert TrainingConfig(loss="minimax", label_smoothing=0.1).label_smoothing == 0.1
    for loss in ("wasserstein", "relativistic", "f_gan", "wgan_div"):
        fault = f"label_smoothing has no effect when loss is {loss}: .* minimax or non_saturating"
        with pytest.raises(ValidationError, match=fault):
            TrainingConfig.model_validate({"loss": loss, "label_smoothing": 0.1})


@pytest.mark.parametrize("key", ["margin", "pulling_away_weight"])
def test_ebgans_keys_are_refused_under_other_losses(key: str) -> None:
    fault = f"{key} has no effect when loss is wasserstein: leave {key} out, or set loss to ebgan"
    with pytest.raises(ValidationError, match=fault):
        TrainingConfig.model_validate({key: 1})
    for wrong in ({"constraint": "clip"}, {"r1_weight": 1}, {"num_projections": 10}):
        with pytest.raises(ValidationError, match="has no effect when loss is ebgan"):
            TrainingConfig.model_validate({"loss": "ebgan", **wrong})


@pytest.mark.parametrize("key", ["diversity_ratio", "lambda_k"])
def test_begans_keys_are_refused_under_other_losses(key: str) -> None:
    fault = f"{key} has no effect when loss is ebgan: leave {key} out, or set loss to began"
    with pytest.raises(ValidationError, match=fault):
        TrainingConfig.model_validate({"loss": "ebgan", key: 0.5})
    for wrong in ({"constraint": "clip"}, {"margin": 1}, {"pulling_away_weight": 1}):
        with pytest.raises(ValidationError, match="has no effect when loss is began"):
            TrainingConfig.model_validate({"loss": "began", **wrong})


def test_only_autoencoders_have_a_code() -> None:
    def networks_of(loss: str) -> dict:
        sections = {"training": {"loss": loss}, "networks": {"critic_code_dim": 3}}
        return TrialConfig.model_validate(sections).applied()["networks"]

    assert networks_of("ebgan")["critic_code_dim"] == 3
    assert "critic_code_dim" not in networks_of("minimax") | networks_of("wasserstein")
    fault = why_no_effect("critic_code_dim", {"loss": ("minimax",), "critic": (None,)})
    assert fault == (
        "has no effect when loss is minimax: leave critic_code_dim out, or set loss to ebgan "
        "or began"
    )


OF_A_CRITIC = {
    "n_critic": 2,
    "critic_lr": 0.1,
    "constraint": "clip",
    "instance_noise": 0.1,
    "r1_weight": 1,
    "label_smoothing": 0.1,
}


@pytest.mark.parametrize("key", OF_A_CRITIC)
def test_keys_of_a_critic_are_refused_where_none_is_trained(key: str) -> None:
    fault = f"{key} has no effect when loss is sliced_wasserstein, which trains no critic: leave"
    with pytest.raises(ValidationError, match=fault):
        TrainingConfig.model_validate({"loss": "sliced_wasserstein", key: OF_A_CRITIC[key]})


@pytest.mark.parametrize("loss", ["wasserstein", "minimax"])
def test_projections_are_refused_under_other_losses(loss: str) -> None:
    fault = f"num_projections has no effect when loss is {loss}: .* set loss to sliced_wasserstein"
    with pytest.raises(ValidationError, match=fault):
        TrainingConfig.model_validate({"loss": loss, "num_projections": 10})


def test_a_trial_without_a_critic_has_none_of_its_keys() -> None:
    trial = TrialConfig(training=TrainingConfig(loss="sliced_wasserstein"))
    applied = trial.applied()
    assert [key for key in applied["networks"] if key.startswith("critic")] == []
    assert applied["training"].keys() & {"n_critic", "critic_lr"} == set()
    assert applied["networks"]["architecture"] == "mlp"
    with pytest.raises(ValidationError, match="critic_estimate where loss is sliced_wasserstein"):
        TrialConfig.model_validate(
            {"training": {"loss": "sliced_wasserstein"}, "objective": "critic_estimate"}
        )


@pytest.mark.parametrize("key", ["critic", "critic_width", "critic_norm", "critic_activation"])
def test_a_search_without_a_critic_has_none_of_its_keys(key: str) -> None:
    fault = why_no_effect(key, {"loss": ("sliced_wasserstein",), "critic": (None,)})
    assert fault is not None
    assert fault.startswith("has no effect when loss is sliced_wasserstein, which trains no critic")
    assert why_no_effect(key, {"loss": ("sliced_wasserstein", "minimax")}) is None


def test_batch_normalisation_is_refused_under_wgan_div() -> None:
    networks = {"architecture": "dcgan", "critic_norm": "batch"}
    fault = "critic_norm must not be batch where loss is wgan_div: the penalty is on the gradient"
    with pytest.raises(ValidationError, match=fault):
        TrialConfig.model_validate({"networks": networks, "training": {"loss": "wgan_div"}})


@pytest.mark.parametrize("given", [{"loss": "hinge"}, {"loss": ["minimax"]}, {"constraint": "cut"}])
def test_an_unknown_method_is_refused(given: dict) -> None:
    with pytest.raises(ValidationError, match=r"Input should be .*"):
        TrainingConfig.model_validate(given)


def test_negative_noise_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        TrainingConfig(loss="minimax", instance_noise=-0.1)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: next(iter(method.values())))
def test_a_config_dumped_with_or_without_none_values_loads_unchanged(method: dict) -> None:
    training = TrainingConfig.model_validate(method)
    assert TrainingConfig.model_validate(training.model_dump()) == training
    assert TrainingConfig.model_validate(training.model_dump(exclude_none=True)) == training


def test_a_parent_that_is_unknown_rules_nothing_out() -> None:
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


# --- Networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_an_architecture_alone_gets_its_defaults_and_nothing_else(architecture: str) -> None:
    networks = NetworkConfig.model_validate({"architecture": architecture})
    has = networks.model_dump(exclude_none=True)
    expected = {"architecture": architecture, **ARCHITECTURES[architecture]}
    del expected["minibatch_dims"]  # minibatch discrimination is off
    del expected["critic_code_dim"]  # the loss decides whether there is a code
    assert has == expected


def test_a_custom_generator_leaves_the_critic_its_architecture() -> None:
    networks = NetworkConfig(generator="nets:Net", generator_args={"width": 3})
    assert networks.generator_width is networks.generator_activation is None
    assert (networks.architecture, networks.critic_width) == ("mlp", 128)


def test_two_custom_networks_have_no_architecture() -> None:
    networks = NetworkConfig(generator="nets:G", critic="nets:C")
    has = networks.model_dump(exclude_none=True)
    assert has == {"generator": "nets:G", "critic": "nets:C", "latent_dim": 32}
    with pytest.raises(
        ValidationError,
        match="architecture has no effect when generator is nets:G: leave architecture out, or "
        "leave generator out",
    ):
        NetworkConfig(generator="nets:G", critic="nets:C", architecture="mlp")


REFUSED_NETWORKS = [
    ({"generator": "nets"}, "must read package.module:Name, got 'nets'"),
    ({"generator": "my net:G"}, "must read package.module:Name, got 'my net:G'"),
    (
        {"generator": "nets:G", "generator_width": 8},
        "generator_width has no effect when generator is nets:G: leave generator_width out, or "
        "leave generator out",
    ),
    (
        {"generator_args": {"width": 8}},
        "generator_args has no effect when generator is not given: leave generator_args out, or "
        "give generator",
    ),
    (
        {"critic_norm": "layer"},
        "critic_norm has no effect when architecture is mlp: leave critic_norm out, or set "
        "architecture to dcgan or resnet",
    ),
    ({"generator": "a:b", "generator_args": {"f": object()}}, "must be a number, text, true or"),
]


@pytest.mark.parametrize(("given", "fault"), REFUSED_NETWORKS)
def test_an_impossible_network_is_refused(given: dict, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        NetworkConfig.model_validate(given)


def test_an_orthogonal_critic_has_no_activation_but_groupsort() -> None:
    possible = {"loss": ("wasserstein",), "constraint": ("orthogonal",), "critic": (None,)}
    assert why_no_effect("critic_activation", possible) == (
        "has no effect when constraint is orthogonal: leave critic_activation out, or set "
        "constraint to gradient_penalty or one_sided_penalty or clip or spectral_norm"
    )
    trial = TrialConfig(training=TrainingConfig(constraint="orthogonal"))
    assert "critic_activation" not in trial.applied()["networks"]
    assert TrialConfig().applied()["networks"]["critic_activation"] == "relu"


def test_under_a_gan_loss_no_constraint_rules_the_activation_out() -> None:
    """Some trials are GANs: they have the activation, and no constraint."""
    possible = {"loss": ("wasserstein", "minimax"), "constraint": ("orthogonal",)}
    assert may_be_absent("constraint", possible)
    both = possible | {"constraint": ("orthogonal", None)}
    assert why_no_effect("critic_activation", both) is None
    assert applies("critic_activation", {"loss": "minimax"})


# --- Combinations ------------------------------------------------------------------------------

WRONG = [
    ("dcgan", {"critic_norm": "batch"}, "gradient_penalty", "depend on the whole batch"),
    ("resnet", {"critic_norm": "batch"}, "one_sided_penalty", "depend on the whole batch"),
    ("dcgan", {"critic_norm": "layer"}, "spectral_norm", "undoes the bound on the layers"),
    ("dcgan", {"critic_norm": "instance"}, "orthogonal", "undoes the bound on the layers"),
    ("resnet", {}, "orthogonal", "its Lipschitz constant may be 2 for any weights"),
    (
        "mlp",
        {"minibatch_discrimination": 100},
        "gradient_penalty",
        "minibatch_discrimination must not be above 0 where constraint is gradient_penalty: the "
        "penalty is .* depend on the whole batch; change one of the two",
    ),
    ("mlp", {"minibatch_discrimination": 1}, "spectral_norm", "undoes the bound on the layers"),
]


@pytest.mark.parametrize(("architecture", "networks", "constraint", "fault"), WRONG)
def test_a_wrong_combination_is_refused_with_its_reason(
    architecture: str, networks: dict, constraint: str, fault: str
) -> None:
    given = {
        "networks": {"architecture": architecture, **networks},
        "training": {"constraint": constraint},
    }
    with pytest.raises(ValidationError, match=fault):
        TrialConfig.model_validate(given)


@pytest.mark.parametrize("norm", ["batch", "layer", "instance"])
def test_clipping_goes_with_every_normalisation(norm: str) -> None:
    networks = NetworkConfig.model_validate({"architecture": "dcgan", "critic_norm": norm})
    trial = TrialConfig(networks=networks, training=TrainingConfig(constraint="clip"))
    assert trial.networks.critic_norm == norm


@pytest.mark.parametrize(
    "training",
    [
        {"loss": "wgan_div"},
        {"loss": "minimax", "r1_weight": 1},
        {"loss": "f_gan", "r2_weight": 1},
        {"loss": "relativistic"},
        {"constraint": "one_sided_penalty"},
    ],
    ids=str,
)
def test_minibatch_discrimination_is_refused_under_every_gradient_penalty(training: dict) -> None:
    """A penalty is on the gradient of a score by its own sample, and R3GAN has two."""
    networks = {"minibatch_discrimination": 100}
    fault = "minibatch_discrimination must not be above 0 where .* depend on the whole batch"
    with pytest.raises(ValidationError, match=fault):
        TrialConfig.model_validate({"networks": networks, "training": training})
    off = TrialConfig.model_validate({"training": training})
    assert "minibatch_discrimination" not in off.applied()["networks"]


def test_consistency_needs_dropout_in_a_built_in_critic() -> None:
    on = TrainingConfig(critic_dropout=0.5, consistency_weight=2)
    assert (on.consistency_margin, TrainingConfig().consistency_margin) == (0, None)
    for dropout in ({}, {"critic_dropout": 0}):
        fault = (
            "consistency_weight has no effect when critic_dropout is .*: leave consistency_weight "
            "out, or set .*critic_dropout above 0"
        )
        with pytest.raises(ValidationError, match=fault):
            TrainingConfig.model_validate({"consistency_weight": 2, **dropout})
    fault = "critic_dropout must not be above 0 where critic is nets:C: a custom critic has layers"
    with pytest.raises(ValidationError, match=fault):
        TrialConfig(networks=NetworkConfig(critic="nets:C"), training=on)


@pytest.mark.parametrize(
    ("networks", "training", "fault"),
    [
        ({}, {"constraint": "spectral_norm"}, "undoes the bound on the layers"),
        (
            {},
            {"constraint": "clip", "cuda_graph": True},
            "cuda_graph must not be true where critic",
        ),
        (
            {"minibatch_discrimination": 9},
            {"loss": "minimax", "consistency_weight": 2},
            "minibatch_discrimination must not be above 0 where consistency_weight is above 0: the "
            "term compares two scores of each sample",
        ),
    ],
    ids=str,
)
def test_dropout_is_refused_where_it_cannot_be(networks: dict, training: dict, fault: str) -> None:
    training = {"critic_dropout": 0.5, **training}
    with pytest.raises(ValidationError, match=fault):
        TrialConfig.model_validate({"networks": networks, "training": training})


def test_minibatch_discrimination_has_the_dimensions_of_salimans_2016_where_it_is_on() -> None:
    on = NetworkConfig(minibatch_discrimination=100)
    assert (on.minibatch_dims, NetworkConfig().minibatch_dims) == (5, None)
    fault = (
        "minibatch_dims has no effect when minibatch_discrimination is .*: leave minibatch_dims "
    )
    with pytest.raises(ValidationError, match=f"{fault}out, or set minibatch_discrimination above"):
        NetworkConfig(minibatch_dims=5)
    with pytest.raises(ValidationError, match="minibatch_discrimination has no effect when critic"):
        NetworkConfig(critic="nets:C", minibatch_discrimination=100)


def test_a_search_without_a_method_for_minibatch_discrimination_says_why() -> None:
    possible = {"loss": ("wasserstein",), "constraint": ("spectral_norm",), "critic": (None,)}
    fault = why_no_effect("minibatch_discrimination", possible)
    assert "when constraint is spectral_norm, where it must be 0 (it sums over" in (fault or "")
    possible = {"loss": ("minimax",), "r1_weight": (0.5,), "critic": (None,)}
    fault = why_no_effect("minibatch_discrimination", possible)
    assert "when r1_weight is 0.5, where it must be 0 (the penalty is on" in (fault or "")
    assert (fault or "").endswith("leave minibatch_discrimination out, or set r1_weight to 0")


def test_values_that_no_trial_combines_are_not_refused() -> None:
    apart = {"critic_norm": ("none", "layer"), "constraint": ("gradient_penalty", "clip")}
    assert list(refused_together(apart)) == []
    assert [key for key, _ in refused_together(apart | {"critic_norm": ("batch",)})] == [
        "critic_norm"
    ]


def test_cuda_graph_is_refused_under_orthogonal() -> None:
    """In one trial, and in a search whose trials may have both."""
    fault = (
        "must not be true where constraint is orthogonal: its projection iterates until the "
        "weights are orthonormal, and a captured step cannot test whether they are; change one of "
        "the two"
    )
    with pytest.raises(ValidationError, match=f"cuda_graph {fault}"):
        TrialConfig(training=TrainingConfig(constraint="orthogonal", cuda_graph=True))
    searched = {"cuda_graph": (False, True), "constraint": ("clip", "orthogonal")}
    assert list(refused_together(searched)) == [("cuda_graph", fault)]
    assert list(refused_together(searched | {"cuda_graph": (False,)})) == []


def test_a_batch_that_cannot_be_packed_is_refused() -> None:
    fault = r"batch_size must be a multiple of pack \(3\), got 64"
    with pytest.raises(ValidationError, match=fault):
        TrialConfig(training=TrainingConfig(pack=3))


@pytest.mark.parametrize("key", ["r1_weight", "r2_weight"])
def test_batch_normalisation_is_refused_under_a_penalty_that_is_on(key: str) -> None:
    networks = {"architecture": "dcgan", "critic_norm": "batch"}

    def trial_of(weight: float) -> TrialConfig:
        training = {"loss": "non_saturating", key: weight}
        return TrialConfig.model_validate({"networks": networks, "training": training})

    assert trial_of(0).training.model_dump()[key] == 0
    fault = f"critic_norm must not be batch where {key} is above 0: the penalty is on the gradient"
    with pytest.raises(ValidationError, match=fault):
        trial_of(10)


def test_a_key_does_not_meet_a_value_under_which_it_is_not_proposed() -> None:
    """Normalised critics under a penalty and spectrally normalised ones stand in one search."""
    both = {
        "critic": (None,),
        "architecture": ("dcgan",),
        "constraint": ("gradient_penalty", "spectral_norm"),
        "critic_norm": ("none", "layer"),
    }
    assert list(refused_together(both, where_asked=True)) == []
    assert [key for key, _ in refused_together(both)] == ["critic_norm"]
    with_batch = both | {"critic_norm": ("none", "batch")}
    ((_, fault),) = refused_together(with_batch, where_asked=True)
    assert fault.startswith(
        "must not be batch where constraint is gradient_penalty: the penalty is"
    )


def test_a_key_that_never_applies_is_refused_with_the_reason() -> None:
    possible = {"critic": (None,), "architecture": ("dcgan",), "constraint": ("spectral_norm",)}
    assert why_no_effect("critic_norm", possible) == (
        "has no effect when constraint is spectral_norm, where it must be none (normalisation "
        "divides by a standard deviation, which undoes the bound on the layers): leave "
        "critic_norm out, or set constraint to gradient_penalty or one_sided_penalty or clip"
    )


# --- Data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_dataset_gets_its_defaults_and_nothing_else(dataset: str) -> None:
    given = {"dataset": dataset} | ({"path": "x"} if dataset == "image_folder" else {})
    has = DataConfig.model_validate(given).model_dump(exclude_none=True)
    assert has == {"split_seed": 0, **DATASETS[dataset], **given}


@pytest.mark.parametrize("dataset", ["image_folder", "array"])
def test_custom_data_need_a_path(dataset: str) -> None:
    with pytest.raises(ValidationError, match=f"path is required for {dataset}"):
        DataConfig.model_validate({"dataset": dataset})


def test_a_key_that_a_dataset_does_not_have_is_refused() -> None:
    with pytest.raises(ValidationError, match="path has no effect when dataset is digits"):
        DataConfig(dataset="digits", path="x")
