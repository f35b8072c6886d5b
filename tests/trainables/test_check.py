"""A network that cannot be trained is refused with a clear message, before any trial starts."""

import re
from math import prod
from typing import get_args

import pytest
import torch
from torch import nn

from trainables import check
from trainables.check import check_networks
from trainables.config import (
    AUTOENCODING,
    CONVOLUTIONAL,
    PUBLISHED,
    Architecture,
    Constraint,
    TrialConfig,
)
from trainables.networks import BadNetwork
from trainables.networks.layers import MinibatchDiscrimination

SHAPE = (2,)
IMAGE = (1, 8, 8)
CONSTRAINTS = get_args(Constraint)


class Net(nn.Module):
    """A linear layer, followed by a function of its outputs."""

    def __init__(self, size_in: int, size_out: int, function) -> None:
        super().__init__()
        self.layer = nn.Linear(size_in, size_out)
        self.function = function

    def forward(self, inputs):
        return self.function(self.layer(inputs))


def generator_of(function):
    class Generator(Net):
        def __init__(self, latent_dim, sample_shape) -> None:
            super().__init__(latent_dim, prod(sample_shape), function)

    return Generator


def critic_of(function):
    class Critic(Net):
        def __init__(self, sample_shape) -> None:
            super().__init__(prod(sample_shape), 1, function)

    return Critic


def explode(outputs):
    raise KeyError("no such\nlayer")


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs):
        ctx.save_for_backward(inputs)
        return inputs.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * gradient * ctx.saved_tensors[0]


class _Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs):
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("no backward here")


good = generator_of(torch.tanh)
wide = generator_of(lambda y: y.repeat(1, 2))
double = generator_of(torch.Tensor.double)
infinite = generator_of(lambda y: y / 0)
pair = generator_of(lambda y: (y, y))
raising = generator_of(explode)
detached = generator_of(torch.Tensor.detach)
broken = generator_of(_Broken.apply)
constant = generator_of(lambda y: torch.zeros_like(y).requires_grad_())

good_critic = critic_of(torch.tanh)
two_scores = critic_of(lambda y: y.repeat(1, 3))
one_score = critic_of(torch.mean)
pair_critic = critic_of(lambda y: (y, y))
half = critic_of(torch.Tensor.half)
nan = critic_of(lambda y: y * torch.nan)
raising_critic = critic_of(explode)
detached_critic = critic_of(torch.Tensor.detach)
dropping = critic_of(nn.Dropout())
once = critic_of(lambda y: _Once.apply(y).tanh())

BIAS = nn.Parameter(torch.ones(1))
#: Its scores depend on its weights, but not on the samples.
blind_critic = critic_of(lambda y: y.detach() * 0 + BIAS)


sigmoid_critic = critic_of(torch.sigmoid)
scaled_critic = critic_of(lambda outputs: 2 * torch.sigmoid(outputs))


class Idle(Net):
    """Five of its parameters are never used."""

    def __init__(self, latent_dim: int, sample_shape) -> None:
        super().__init__(latent_dim, prod(sample_shape), torch.tanh)
        self.unused = nn.ParameterList(torch.zeros(1) for _ in range(5))


class Frozen(good):
    def __init__(self, latent_dim: int, sample_shape) -> None:
        super().__init__(latent_dim, sample_shape)
        self.layer.bias.requires_grad_(False)


class FrozenCritic(nn.Sequential):
    """A frozen first layer, whose output the second one scores."""

    def __init__(self, sample_shape) -> None:
        first, second = nn.Linear(prod(sample_shape), 4), nn.Linear(4, 1)
        super().__init__(first.requires_grad_(False), nn.ReLU(), second)


class IdleCritic(nn.Module):
    """Its scores depend on the samples, but not on its weights."""

    def __init__(self, sample_shape) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, samples):
        return samples.flatten(1).sum(1)


class Coder(nn.Module):
    def __init__(self, sample_shape) -> None:
        super().__init__()
        size = prod(sample_shape)
        self.encoder, self.decoder = nn.Linear(size, 3), nn.Linear(3, size)


class FrozenCoder(Coder):
    def __init__(self, sample_shape) -> None:
        super().__init__(sample_shape)
        self.encoder.requires_grad_(False)


class IdleCoder(Coder):
    """Has a part that is neither its encoder nor its decoder."""

    def __init__(self, sample_shape) -> None:
        super().__init__(sample_shape)
        self.head = nn.Linear(3, 1)


class NarrowCoder(Coder):
    def __init__(self, sample_shape) -> None:
        super().__init__(sample_shape)
        self.decoder = nn.Linear(3, 1)  # would broadcast


class PairCoder(Coder):
    def __init__(self, sample_shape) -> None:
        super().__init__(sample_shape)
        self.encoder = Net(2, 3, lambda codes: (codes, codes))


class ListCoder(Coder):
    def __init__(self, sample_shape) -> None:
        super().__init__(sample_shape)
        self.decoder = Net(3, 2, lambda samples: [samples])


CODERS = [
    ("good_critic", "test_check:good_critic must have the modules encoder and decoder where loss "
     "is {loss}, but lacks encoder and decoder: set self.encoder and self.decoder, or change"),
    ("NarrowCoder", "the critic's decoder must return samples of the shape of its critic's inputs, "
     "(2, 2), got (2, 1)"),
    ("ListCoder", "of its critic's inputs, (2, 2), got list"),
    ("PairCoder", "the critic's encoder must return one tensor of codes, got tuple"),
    ("IdleCoder", "the critic's scores must depend on all its parameters, also "
     "network.head.weight, network.head.bias"),
]  # fmt: skip


@pytest.mark.parametrize("loss", AUTOENCODING)
@pytest.mark.parametrize(("custom", "words"), CODERS)
def test_a_custom_critic_that_is_no_autoencoder_is_refused(custom: str, words: str, loss) -> None:
    with pytest.raises(BadNetwork, match=re.escape(words.format(loss=loss))) as raised:
        check_networks(trial("critic", custom, loss=loss), SHAPE)
    assert raised.value.key == "critic"


def normalised(kind: str):
    layers = {
        "batch": lambda: nn.BatchNorm1d(4),
        "layer": lambda: nn.LayerNorm(4),
        "group": lambda: nn.GroupNorm(2, 4),
        "instance": lambda: nn.Sequential(
            nn.Unflatten(1, (2, 2)), nn.InstanceNorm1d(2), nn.Flatten()
        ),
    }

    class Normalised(nn.Sequential):
        def __init__(self, sample_shape) -> None:
            super().__init__(nn.Linear(prod(sample_shape), 4), layers[kind](), nn.Linear(4, 1))

    return Normalised


batch, layer, group, instance = map(normalised, ("batch", "layer", "group", "instance"))


def trial(player: str = "", name: str = "", **training) -> TrialConfig:
    networks = {player: f"{__name__}:{name}"} if player else {}
    sizes = {f"{p}_width": 4 for p in ("generator", "critic") if p != player}
    return TrialConfig.model_validate({"networks": networks | sizes, "training": training})


def method(name: str) -> dict[str, str]:
    return {"constraint" if name in CONSTRAINTS else "loss": name}


BUILT_IN = [
    (architecture, name)
    for architecture in get_args(Architecture)
    for name in PUBLISHED
    if (architecture, name) != ("resnet", "orthogonal")  # refused with the search space
]


@pytest.mark.parametrize(("architecture", "name"), BUILT_IN)
def test_every_built_in_network_can_be_trained(architecture: str, name: str) -> None:
    networks = {"architecture": architecture, "generator_width": 4, "critic_width": 4}
    shape = IMAGE if architecture in CONVOLUTIONAL else SHAPE
    check_networks(
        TrialConfig.model_validate({"networks": networks, "training": method(name)}), shape
    )


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(("player", "custom"), [("generator", "good"), ("critic", "good_critic")])
def test_a_sound_custom_network_passes(player: str, custom: str, name: str) -> None:
    if player == "critic" and name in AUTOENCODING:
        custom = "Coder"
    check_networks(trial(player, custom, **method(name)), SHAPE)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(
    ("player", "custom"), [("generator", "Frozen"), ("critic", "FrozenCritic")]
)
def test_a_network_may_have_frozen_parameters(player: str, custom: str, name: str) -> None:
    if player == "critic" and name in AUTOENCODING:
        custom = "FrozenCoder"
    check_networks(trial(player, custom, **method(name)), SHAPE)


def test_the_global_rng_is_not_changed() -> None:
    """Also if a custom network draws from it, and if the network is refused."""
    before = torch.get_rng_state()
    check_networks(trial("critic", "dropping"), SHAPE)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(BadNetwork, match="no such"):
        check_networks(trial("generator", "raising"), SHAPE)
    assert torch.equal(torch.get_rng_state(), before)


FAULTS = [
    ("generator", "wide", "the generator must map latents of shape (2, 32) to samples of shape "
     "(2, 2), got (2, 4)"),
    ("generator", "double", "the generator must return torch.float32, got torch.float64"),
    ("generator", "infinite", "the generator must return finite numbers with its initial weights"),
    ("generator", "pair", "the generator must return one tensor, got tuple: return the "
     "samples alone"),
    ("generator", "raising", "the generator must accept inputs of shape (2, 32), but raised "
     "KeyError: 'no such\\nlayer'"),
    ("generator", "detached", "the generator's samples must depend on its parameters, but no "
     "gradient arrives"),
    ("generator", "constant", "the generator's samples must depend on all its parameters, "
     "also layer.weight, layer.bias, but no gradient arrives"),
    ("generator", "Idle", "the generator's samples must depend on all its parameters, also "
     "unused.0, unused.1, unused.2 and 2 more, but no gradient arrives: remove what cuts it off "
     "(detach, no_grad, a conversion to numbers); freeze parameters that are not to be trained "
     "(requires_grad = False)"),
    ("generator", "broken", "the generator must be differentiable, but raised RuntimeError: no "
     "backward here"),
    ("critic", "two_scores", "the critic must return one score per sample, of shape [batch] or "
     "[batch, 1], got 6 numbers for 2 samples"),
    ("critic", "pair_critic", "the critic must return one tensor, got tuple: return scores alone"),
    ("critic", "one_score", "got 1 numbers for 2 samples"),
    ("critic", "half", "the critic must return torch.float32, got torch.float16"),
    ("critic", "nan", "the critic must return finite numbers with its initial weights, got nan or "
     "inf for inputs of shape (2, 2)"),
    ("critic", "raising_critic", "the critic must accept inputs of shape (2, 2), but raised "
     "KeyError: "),
    ("critic", "detached_critic", "the critic's scores must depend on the samples, but no gradient "
     "arrives"),
    ("critic", "blind_critic", "the critic's scores must depend on the samples"),
    ("critic", "IdleCritic", "the critic's scores must depend on all its parameters, "
     "also 0.layer.weight, 0.layer.bias, but no gradient"),
    ("critic", "once", "the critic must be differentiable twice where constraint is "
     "gradient_penalty, but raised RuntimeError: trying to differentiate twice"),
    ("generator", "good_critic", "good_critic must accept latent_dim"),
]  # fmt: skip


@pytest.mark.parametrize(("player", "custom", "words"), FAULTS)
def test_a_network_that_cannot_be_trained_is_refused(player: str, custom: str, words: str) -> None:
    with pytest.raises(BadNetwork, match=re.escape(words)) as raised:
        check_networks(trial(player, custom), SHAPE)
    assert raised.value.key == player
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("custom", "words"),
    [
        ("sigmoid_critic", "ends in a sigmoid, so that its scores lie in (0, 1): the Wasserstein"),
        ("good_critic", "ends in a tanh, so that its scores lie in (-1, 1)"),
    ],
)
def test_a_critic_with_bounded_scores_is_noted(custom: str, words: str) -> None:
    """But not where the loss is that of a classifier."""
    assert words in (check_networks(trial("critic", custom), SHAPE) or "")
    assert check_networks(trial("critic", custom, loss="minimax"), SHAPE) is None


@pytest.mark.parametrize("custom", ["dropping", "scaled_critic"])
def test_a_critic_without_such_an_end_is_not_noted(custom: str) -> None:
    assert check_networks(trial("critic", custom), SHAPE) is None


def test_a_critic_need_not_be_differentiable_twice_without_a_penalty() -> None:
    check_networks(trial("critic", "once", constraint="clip"), SHAPE)


class Rigid(Net):
    """A critic that ignores the shape of its samples."""

    def __init__(self, sample_shape) -> None:
        super().__init__(2, 1, lambda outputs: outputs)


class BatchedCritic(nn.Sequential):
    def __init__(self, sample_shape) -> None:
        super().__init__(
            nn.Linear(prod(sample_shape), 4), MinibatchDiscrimination(4, 3, 2), nn.Linear(7, 1)
        )


def test_a_custom_critic_with_minibatch_discrimination_is_refused_under_a_penalty() -> None:
    fault = r"must not have MinibatchDiscrimination \(0.1\) where constraint is gradient_penalty: "
    with pytest.raises(BadNetwork, match=fault):
        check_networks(trial("critic", "BatchedCritic"), SHAPE)
    check_networks(trial("critic", "BatchedCritic", constraint="clip"), SHAPE)


def test_feature_matching_needs_a_critic_in_sequence() -> None:
    check_networks(trial("critic", "good_critic"), SHAPE)
    fault = "ends in a Linear layer, whose inputs are its features, got Critic: make it one, or set"
    with pytest.raises(BadNetwork, match=fault):
        check_networks(trial("critic", "good_critic", feature_matching_weight=1), SHAPE)


def test_a_custom_critic_must_accept_packed_samples() -> None:
    check_networks(trial("critic", "Rigid"), SHAPE)
    check_networks(trial("critic", "dropping", pack=2), SHAPE)
    with pytest.raises(
        BadNetwork, match=r"critic must accept inputs of shape \(2, 4\), but raised"
    ):
        check_networks(trial("critic", "Rigid", pack=2), SHAPE)


def test_r1_needs_a_critic_that_is_differentiable_twice_and_without_batch_normalisation() -> None:
    check_networks(trial("critic", "once", loss="minimax"), SHAPE)
    for custom, words in (
        ("once", "differentiable twice where r1_weight is above 0, but raised"),
        ("batch", r"must not have BatchNorm1d.* where r1_weight is 10.0: .*change r1_weight"),
    ):
        with pytest.raises(BadNetwork, match=words):
            check_networks(trial("critic", custom, loss="minimax", r1_weight=10), SHAPE)


def test_an_architecture_that_does_not_fit_the_samples_is_refused() -> None:
    config = TrialConfig.model_validate({"networks": {"architecture": "dcgan"}})
    with pytest.raises(BadNetwork, match=r"dcgan needs images, .* shape \(2,\): use mlp"):
        check_networks(config, SHAPE)


class Layerless(nn.Module):
    def __init__(self, sample_shape) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(sample_shape))

    def forward(self, samples):
        return (self.slope * samples).sum(1)


@pytest.mark.parametrize("constraint", ["spectral_norm", "orthogonal"])
def test_a_critic_that_the_constraint_cannot_bound_is_refused(constraint: str) -> None:
    with pytest.raises(BadNetwork, match=f"{constraint} must have Linear or Conv") as raised:
        check_networks(trial("critic", "Layerless", constraint=constraint), SHAPE)
    assert raised.value.key == "critic"


NORMS = {"batch": "BatchNorm1d", "layer": "LayerNorm", "group": "GroupNorm", "instance": "Instance"}
REASONS = {
    "gradient_penalty": "makes a score depend on the whole batch",
    "one_sided_penalty": "makes a score depend on the whole batch",
    "spectral_norm": "divides by a standard deviation, which undoes the bound",
    "orthogonal": "divides by a standard deviation, which undoes the bound",
}


@pytest.mark.parametrize("constraint", [*REASONS, "clip"])
@pytest.mark.parametrize("kind", NORMS)
def test_a_custom_critic_may_have_the_same_norms_as_a_built_in_one(
    kind: str, constraint: str
) -> None:
    config = trial("critic", kind, constraint=constraint)
    if constraint == "clip" or (kind != "batch" and "penalty" in constraint):
        check_networks(config, SHAPE)
        return
    words = (
        rf"must not have {NORMS[kind]}.* where constraint is {constraint}: .*{REASONS[constraint]}"
    )
    with pytest.raises(BadNetwork, match=words) as raised:
        check_networks(config, SHAPE)
    assert raised.value.key == "critic"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("player", ["generator", "critic"])
@pytest.mark.parametrize(
    ("architecture", "shape"), [("mlp", (2,)), ("dcgan", (3, 32, 32)), ("resnet", (3, 32, 32))]
)
def test_networks_larger_than_the_machine_are_refused_before_they_are_built(
    player: str, architecture: str, shape: tuple[int, ...]
) -> None:
    """The largest that a search space allows would take hundreds of gigabytes."""
    networks = {"architecture": architecture, f"{player}_width": 16384, f"{player}_depth": 32}
    match = rf"the {player} has [\d,]+ parameters, which take [\d,.]+ GB in training"
    with pytest.raises(BadNetwork, match=match) as raised:
        check_networks(TrialConfig.model_validate({"networks": networks}), shape)
    assert raised.value.key == f"{player}_width"


def test_the_size_counts_every_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2 -> 8 -> 8 -> 1: 24 + 72 + 9 weights and biases, 16 bytes each."""
    networks = {"critic_width": 8, "generator_width": 1, "generator_depth": 1, "latent_dim": 1}
    config = TrialConfig.model_validate({"networks": networks})
    monkeypatch.setattr(check, "_memory_bytes", lambda: 105 * 16)
    check_networks(config, (2,))
    monkeypatch.setattr(check, "_memory_bytes", lambda: 105 * 16 - 1)
    with pytest.raises(BadNetwork, match="the critic has 105 parameters"):
        check_networks(config, (2,))


def test_a_generator_that_cannot_be_copied_can_be_averaged() -> None:
    networks = {"generator": "custom_networks:WeightNormGenerator"}
    config = {"networks": networks, "training": {"ema_decay": 0.9}}
    check_networks(TrialConfig.model_validate(config), (2,))


def test_a_dataclass_without_a_hash_is_refused_with_the_way_out() -> None:
    networks = {"critic": "custom_networks:DataclassCritic"}
    with pytest.raises(BadNetwork, match=r"write @dataclass\(eq=False\)") as raised:
        check_networks(TrialConfig.model_validate({"networks": networks}), (2,))
    assert raised.value.key == "critic"
