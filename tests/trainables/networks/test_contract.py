"""Laws of every architecture, besides the contracts of :mod:`trainables.contracts`."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from trainables.config import CONVOLUTIONAL, Activation, Architecture, NetworkConfig, Norm
from trainables.networks import build_critic, build_generator

SHAPE = (3, 16, 16)
LATENT_DIM = 5


def config_of(architecture: str, width: int = 4, depth: int = 1, **more: str) -> NetworkConfig:
    if architecture == "custom":
        players = {
            "generator": "custom_networks:CustomGenerator",
            "critic": "custom_networks:CustomCritic",
        }
        args = {"generator_args": {"width": width}, "critic_args": {"width": width}}
        return NetworkConfig.model_validate({"latent_dim": LATENT_DIM, **players, **args})
    sizes = {f"{p}_{k}": v for p in PLAYERS for k, v in (("width", width), ("depth", depth))}
    return NetworkConfig.model_validate(
        {"architecture": architecture, "latent_dim": LATENT_DIM, **sizes, **more}
    )


PLAYERS = ("generator", "critic")
BUILT_IN = get_args(Architecture)
#: Every kind of layer in every architecture, in both players at once.
DESIGNS = [
    ("custom", {}),
    *(
        (name, {f"{player}_activation": kind for player in PLAYERS})
        for name in BUILT_IN
        for kind in get_args(Activation)
    ),
    *(
        (name, {f"{player}_norm": kind for player in PLAYERS})
        for name in CONVOLUTIONAL
        for kind in get_args(Norm)
    ),
    *((name, {"minibatch_discrimination": 2}) for name in BUILT_IN),
]


@pytest.fixture(autouse=True)
def fixed_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize(("architecture", "kinds"), DESIGNS, ids=str)
def test_gradients_reach_every_parameter(architecture: str, kinds: dict[str, str]) -> None:
    """No parameter is dead by construction, as a bias before a norm would be.

    In float64, rounding leaves a dead one a gradient of 1e-15 of the largest.
    """
    config = config_of(architecture, width=6, depth=2, **kinds)
    generator = build_generator(config, SHAPE).double()
    critic = build_critic(config, SHAPE).double()
    samples = generator(torch.randn(8, LATENT_DIM, dtype=torch.float64))
    for network, output in ((generator, samples), (critic, critic(samples.detach()))):
        names, parameters = zip(*network.named_parameters(), strict=True)
        gradients = torch.autograd.grad((output * torch.randn_like(output)).sum(), parameters)
        sizes = torch.stack([gradient.abs().max() for gradient in gradients])
        dead = [name for name, size in zip(names, sizes, strict=True) if size < 1e-10 * sizes.max()]
        assert dead == []


@pytest.mark.parametrize("build", [build_generator, build_critic])
@pytest.mark.parametrize("architecture", BUILT_IN)
def test_a_network_grows_with_its_width_and_its_depth(architecture: str, build) -> None:
    def size(**sizes: int) -> int:
        return sum(p.numel() for p in build(config_of(architecture, **sizes), SHAPE).parameters())

    assert size(width=4, depth=1) < size(width=4, depth=2) < size(width=4, depth=3)
    assert size(width=4, depth=1) < size(width=5, depth=1) < size(width=8, depth=1)


@pytest.mark.parametrize("architecture", BUILT_IN)
def test_the_activation_of_an_orthogonal_critic_is_group_sort(architecture: str) -> None:
    """Its other layers are those under any other constraint."""
    config = config_of(architecture, critic_activation="tanh")
    kinds = {type(layer).__name__ for layer in build_critic(config, SHAPE, "orthogonal").modules()}
    assert "GroupSort" in kinds
    assert "Tanh" not in kinds
    usual = {type(layer).__name__ for layer in build_critic(config, SHAPE, "clip").modules()}
    assert usual - {"Tanh"} == kinds - {"GroupSort"}


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2,), r"needs images, \[channels, height, width\], got samples of shape \(2,\): use mlp"),
        ((1, 9, 9), r"height and width are even and at least 8, got samples of shape \(1, 9, 9\)"),
        ((1, 7, 7), r"at least 8, got samples of shape \(1, 7, 7\): use mlp, or images of"),
        ((3, 4, 6), r"at least 8, got samples of shape \(3, 4, 6\)"),
        ((3, 32, 15), r"are even and at least 8, got samples of shape \(3, 32, 15\)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("build", [build_generator, build_critic])
@pytest.mark.parametrize("architecture", CONVOLUTIONAL)
def test_convolutions_need_images_that_can_be_halved(
    architecture: str, build, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=f"architecture {architecture} .*{words}") as raised:
        build(config_of(architecture), shape)
    assert raised.value.key == "architecture"


def test_scores_in_a_column_are_flattened() -> None:
    config, samples = config_of("custom"), torch.randn(4, *SHAPE)
    critic = build_critic(config, SHAPE)
    column: Tensor = critic[0](samples)
    assert column.shape == (4, 1)
    assert torch.equal(critic(samples), column[:, 0])
