"""Every built-in network keeps the contracts, and each broken one fails with the right sentence."""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, get_args

import pytest
import torch
from custom_networks import CustomAutoencoder, CustomCritic, CustomGenerator
from torch import Tensor, nn

from trainables.config import (
    AUTOENCODING,
    CONVOLUTIONAL,
    LAYERWISE,
    Activation,
    Architecture,
    Loss,
    NetworkConfig,
    Norm,
)
from trainables.contracts import check_critic, check_generator
from trainables.networks import build_critic, build_generator

SIDES = (8, 16, 28, 32, 64, 128)
SQUARES = [(channels, side, side) for side in SIDES for channels in (1, 3)]
IMAGES = [*SQUARES, (1, 8, 12), (3, 32, 16)]
SHAPE = (3, 16, 16)
POINT = (2,)
#: Every kind of layer in every architecture.
KINDS = [
    *(
        (name, {"activation": kind})
        for name in get_args(Architecture)
        for kind in get_args(Activation)
    ),
    *((name, {"norm": kind}) for name in CONVOLUTIONAL for kind in get_args(Norm)),
]
BATCHED = {"minibatch_discrimination": 3}


def config_of(player: str, architecture: str, latent_dim: int, kinds: dict) -> NetworkConfig:
    kinds = {"width": 6, "depth": 1, **kinds}
    sizes = {key if key in BATCHED else f"{player}_{key}": kinds[key] for key in kinds}
    return NetworkConfig.model_validate(
        {"architecture": architecture, "latent_dim": latent_dim, **sizes}
    )


def built_in_generator(latent_dim: int, sample_shape: tuple, architecture: str, **kinds: str):
    return build_generator(config_of("generator", architecture, latent_dim, kinds), sample_shape)


def built_in_critic(sample_shape: tuple, architecture: str, **kinds: str):
    return build_critic(config_of("critic", architecture, 1, kinds), sample_shape)


@pytest.mark.parametrize("shape", IMAGES, ids=str)
@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_built_in_networks_keep_the_contracts_for_images_of_any_size(architecture, shape) -> None:
    options = {"sample_shape": shape, "architecture": architecture}
    check_generator(built_in_generator, latent_dim=5, **options)
    check_critic(built_in_critic, **options)


@pytest.mark.parametrize(("architecture", "kinds"), KINDS, ids=str)
def test_built_in_networks_keep_the_contracts_with_all_layers(architecture, kinds) -> None:
    options = {"sample_shape": SHAPE, "architecture": architecture, **kinds}
    check_generator(built_in_generator, latent_dim=5, **options)
    check_critic(built_in_critic, constraint="clip", **options)
    if kinds == {"norm": "batch"}:
        with pytest.raises(AssertionError, match="scores must depend on its own input alone under"):
            check_critic(built_in_critic, **options)
    else:
        check_critic(built_in_critic, **options)


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_critics_with_minibatch_discrimination_keep_the_contract_without_a_penalty(
    architecture,
) -> None:
    options = {"sample_shape": SHAPE, "architecture": architecture, **BATCHED}
    check_critic(built_in_critic, constraint="clip", **options)
    with pytest.raises(AssertionError, match="scores must depend on its own input alone under"):
        check_critic(built_in_critic, **options)


@pytest.mark.parametrize("architecture", CONVOLUTIONAL)
def test_generators_with_virtual_batch_norm_keep_the_contract(architecture) -> None:
    options = {"architecture": architecture, "norm": "virtual"}
    check_generator(built_in_generator, latent_dim=5, sample_shape=(1, 8, 8), **options)


@pytest.mark.parametrize("constraint", LAYERWISE)
@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_built_in_critics_keep_the_contract_under_constraints_on_layers(
    architecture, constraint
) -> None:
    check_critic(
        built_in_critic, sample_shape=SHAPE, architecture=architecture, constraint=constraint
    )


def built_in_autoencoder(sample_shape: tuple, architecture: str, loss: Loss, **kinds: str):
    config = config_of("critic", architecture, 1, {"code_dim": 5, **kinds})
    return build_critic(config, sample_shape, loss=loss).network


@pytest.mark.parametrize("loss", AUTOENCODING)
@pytest.mark.parametrize(
    ("architecture", "kinds"),
    [(name, {}) for name in get_args(Architecture)] + [("dcgan", {"norm": "batch"})],
    ids=str,
)
def test_built_in_autoencoders_keep_the_contract(architecture, kinds, loss: Loss) -> None:
    make = partial(built_in_autoencoder, architecture=architecture, loss=loss, **kinds)
    check_critic(make, sample_shape=SHAPE, loss=loss)
    if architecture == "mlp":
        check_critic(make, sample_shape=POINT, loss=loss)


@pytest.mark.parametrize("loss", AUTOENCODING)
def test_custom_autoencoders_keep_the_contract(loss: Loss) -> None:
    check_critic(CustomAutoencoder, sample_shape=SHAPE, width=3, loss=loss)
    with pytest.raises(AssertionError, match=f"modules encoder and decoder where loss is {loss}"):
        check_critic(CustomCritic, sample_shape=SHAPE, loss=loss)


@pytest.mark.parametrize("shape", [POINT, SHAPE], ids=str)
def test_custom_networks_keep_the_contracts(shape) -> None:
    """Their keyword arguments are passed on; vectors need not lie in [-1, 1]."""
    check_generator(CustomGenerator, latent_dim=5, sample_shape=shape, width=3)
    check_critic(CustomCritic, sample_shape=shape, width=3)
    check_generator(built_in_generator, latent_dim=5, sample_shape=POINT, architecture="mlp")


def test_the_global_rng_is_not_changed() -> None:
    before = torch.get_rng_state()
    check_generator(CustomGenerator, latent_dim=5, sample_shape=POINT)
    check_critic(CustomCritic, sample_shape=POINT)
    assert torch.equal(before, torch.get_rng_state())


# --- broken networks


class Net(nn.Module):
    """A linear layer, followed by a function of its outputs."""

    def __init__(self, size_in: int, shape_out: tuple[int, ...], function: Callable) -> None:
        super().__init__()
        self.layer = nn.Linear(size_in, prod(shape_out))
        self.shape_out, self.function = shape_out, function

    def forward(self, inputs: Tensor) -> Any:
        return self.function(self.layer(inputs.flatten(1)).unflatten(1, self.shape_out))


def generator_of(function: Callable, network: type[Net] = Net) -> Callable[..., nn.Module]:
    return lambda latent_dim, sample_shape: network(latent_dim, sample_shape, function)


def critic_of(function: Callable, network: type[Net] = Net) -> Callable[..., nn.Module]:
    return lambda sample_shape: network(prod(sample_shape), (1,), function)


class Unused(Net):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.idle = nn.Parameter(torch.zeros(1))


class Frozen(Unused):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.idle.requires_grad_(False)


class Unseeded(Net):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        rng = torch.Generator()
        rng.seed()
        nn.init.normal_(self.layer.weight, generator=rng)


class Hidden(Net):
    """A random tensor that is neither a parameter nor a buffer."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.scale = 1 + torch.rand(())

    def forward(self, inputs: Tensor) -> Any:
        return super().forward(inputs * self.scale)


class Renamed(Net):
    """A parameter whose name follows from the weights."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        name = f"scale_{abs(self.layer.weight.sum().item()):.6f}".replace(".", "_")
        self.register_buffer(name, torch.ones(()))


class Narrow(Net):
    """Ignores the last latent coordinate."""

    def __init__(self, size_in: int, *args: Any) -> None:
        super().__init__(size_in - 1, *args)

    def forward(self, inputs: Tensor) -> Any:
        return super().forward(inputs[:, :-1])


class Uncopyable(Net):
    def __deepcopy__(self, memo: dict) -> nn.Module:
        raise RuntimeError("no copies")


class Shared(Net):
    def __deepcopy__(self, memo: dict) -> nn.Module:
        return self


class Forgetful(Net):
    def __deepcopy__(self, memo: dict) -> nn.Module:
        return Net(self.layer.in_features, self.shape_out, self.function)


class Steep(torch.autograd.Function):
    """The identity, with an infinite gradient."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient / 0


class Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise RuntimeError("no backward here")


class Once(torch.autograd.Function):
    """The square, which can be differentiated only once."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        return inputs.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient * ctx.saved_tensors[0]


def noisy(outputs: Tensor) -> Tensor:
    return (outputs + 0.1 * torch.randn_like(outputs)).tanh()


def centred(outputs: Tensor) -> Tensor:
    return (outputs - outputs.mean(0)).tanh()


def fails(**_: Any) -> nn.Module:
    raise KeyError("no such\nlayer")


GENERATORS = {
    "raises": (fails, r"callable with \(latent_dim=3, sample_shape=\(1, 4, 4\)\), but raised KeyE"),
    "number": (lambda **_: 3, "the generator must be a torch.nn.Module, got int"),
    "frozen": (lambda **_: nn.ReLU(), "must have trainable parameters, got none"),
    "shape": (generator_of(lambda y: y[:, :, 1:]), r"to samples of shape .*, got \(4, 1, 3, 4\)"),
    "input": (
        generator_of(lambda y: y @ torch.ones(9)),
        r"must accept inputs of shape \(4, 3\), b",
    ),
    "tuple": (generator_of(lambda y: (y, y)), "must return one tensor of float32, got tuple"),
    "double": (generator_of(Tensor.double), "one tensor of float32, got torch.float64"),
    "nan": (generator_of(lambda y: y * torch.nan), "must return finite numbers with its initial"),
    "range": (generator_of(lambda y: y), r"must return images in \[-1, 1\] for all latents, got"),
    "detached": (generator_of(lambda y: y.tanh().detach()), "samples must have a gradient, got no"),
    "unused": (generator_of(torch.tanh, Unused), "no gradient arrives at idle$"),
    "steep": (
        generator_of(lambda y: Steep.apply(y).tanh()),
        "must be finite, got nan or inf at la",
    ),
    "broken": (
        generator_of(lambda y: Broken.apply(y).tanh()),
        "must be differentiable, but raised RuntimeError: no backward here",
    ),
    "constant": (
        generator_of(lambda y: y.detach().tanh() + 0 * y),
        "must depend on its inputs, bu",
    ),
    "coordinate": (generator_of(torch.tanh, Narrow), "latent coordinate, but do not on number 2$"),
    "unseeded": (generator_of(torch.tanh, Unseeded), "must follow from PyTorch's global seed, but"),
    "hidden": (generator_of(torch.tanh, Hidden), "register fixed tensors as buffers"),
    "renamed": (generator_of(torch.tanh, Renamed), "must load into a new generator, but raised Ru"),
    "noisy": (generator_of(noisy), "must not be random in evaluation mode"),
    "batch": (generator_of(centred), "must depend on its own input alone in evaluation mode, but"),
    "uncopyable": (generator_of(torch.tanh, Uncopyable), "copy.deepcopy, which ema_decay needs"),
    "forgetful": (
        generator_of(torch.tanh, Forgetful),
        "a copy of the generator must compute the s",
    ),
    "shared": (generator_of(torch.tanh, Shared), "a copy of the generator must have its own weigh"),
}


@pytest.mark.parametrize(("make", "sentence"), GENERATORS.values(), ids=GENERATORS)
def test_a_broken_generator_fails_with_a_sentence(make, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_generator(make, latent_dim=3, sample_shape=(1, 4, 4))


CRITICS = {
    "two scores": (
        critic_of(lambda y: y.repeat(1, 2)),
        {},
        r"one score per sample, .*got \(4, 2\)",
    ),
    "one score": (critic_of(torch.mean), {}, r"one score per sample, .*got \(\)"),
    "blind": (critic_of(lambda y: y.detach() + 0 * y), {}, "scores must depend on its inputs, but"),
    "unused": (
        critic_of(torch.tanh, Unused),
        {},
        "critic's scores .* no gradient arrives at idle$",
    ),
    "unseeded": (critic_of(torch.tanh, Unseeded), {}, "must follow from PyTorch's global seed"),
    "noisy": (critic_of(noisy), {}, "must not be random in evaluation mode"),
    "batch": (critic_of(centred), {"constraint": "clip"}, "own input alone in evaluation mode"),
    "once": (
        critic_of(lambda y: Once.apply(y).tanh()),
        {},
        "twice under gradient_penalty, but rai",
    ),
    "curved": (
        critic_of(lambda y: y + (0 * y).pow(1.5)),
        {},
        "second derivatives must be finite under gradient_penalty, got nan",
    ),
    "layers": (
        lambda sample_shape: Layerless(sample_shape),
        {"constraint": "orthogonal"},
        "the critic must fit its constraint: .* must have Linear or Conv layers",
    ),
}


class Layerless(nn.Module):
    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(sample_shape))

    def forward(self, samples: Tensor) -> Tensor:
        return (self.slope * samples).flatten(1).sum(1)


@pytest.mark.parametrize(("make", "options", "sentence"), CRITICS.values(), ids=CRITICS)
def test_a_broken_critic_fails_with_a_sentence(make, options: dict, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_critic(make, sample_shape=POINT, **options)


def test_frozen_parameters_are_allowed() -> None:
    check_generator(generator_of(torch.tanh, Frozen), latent_dim=3, sample_shape=(1, 4, 4))
    check_critic(critic_of(torch.tanh, Frozen), sample_shape=POINT)


def test_a_network_that_breaks_a_rule_only_where_it_does_not_matter_passes() -> None:
    """Scores may be differentiable only once without a penalty, and dropout is for training."""
    check_critic(critic_of(lambda y: Once.apply(y).tanh()), sample_shape=POINT, constraint="clip")
    check_critic(lambda sample_shape: nn.Sequential(nn.Linear(2, 8), nn.Dropout(), nn.Linear(8, 1)),
                 sample_shape=POINT)  # fmt: skip
