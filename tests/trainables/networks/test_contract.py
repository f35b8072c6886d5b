"""What every generator and critic keeps to, whatever its architecture, a user's own included."""

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from trainables.config import CONVOLUTIONAL, Activation, Architecture, NetworkConfig, Norm
from trainables.networks import build_critic, build_generator

SIDES = (8, 16, 28, 32, 64, 128)
SQUARES = [(channels, side, side) for side in SIDES for channels in (1, 3)]
IMAGES = [*SQUARES, (1, 8, 12), (3, 32, 16)]
SHAPE = (3, 16, 16)
LATENT_DIM = 5


def config_of(architecture: str, width: int = 4, depth: int = 1, **more: str) -> NetworkConfig:
    if architecture == "custom":
        players = {
            "generator": "custom_networks:CustomGenerator",
            "critic": "custom_networks:custom_critic",
        }
        args = {"generator_args": {"width": width}, "critic_args": {"width": width}}
        return NetworkConfig.model_validate({"latent_dim": LATENT_DIM, **players, **args})
    sizes = {f"{p}_{k}": v for p in PLAYERS for k, v in (("width", width), ("depth", depth))}
    return NetworkConfig.model_validate(
        {"architecture": architecture, "latent_dim": LATENT_DIM, **sizes, **more}
    )


PLAYERS = ("generator", "critic")
BUILT_IN = get_args(Architecture)
ALL = [*BUILT_IN, "custom"]
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
]


@pytest.fixture(autouse=True)
def fixed_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def seeded(build, config: NetworkConfig, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build(config, SHAPE)


def identical(network: nn.Module, another: nn.Module) -> bool:
    one, other = network.state_dict(), another.state_dict()
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("shape", IMAGES, ids=str)
@pytest.mark.parametrize("architecture", ALL)
def test_images_of_any_size_are_made_and_scored(architecture: str, shape: tuple[int, ...]) -> None:
    """Pixels lie in [-1, 1] whatever the latent; a score is one number a sample."""
    config = config_of(architecture)
    samples = build_generator(config, shape)(1e3 * torch.randn(2, LATENT_DIM))
    assert samples.shape == (2, *shape)
    assert samples.abs().max() <= 1
    assert build_critic(config, shape)(samples).shape == (2,)


@pytest.mark.parametrize(("architecture", "kinds"), DESIGNS, ids=str)
def test_a_score_depends_on_its_own_sample_alone_but_under_batch_normalisation(
    architecture: str, kinds: dict[str, str]
) -> None:
    """The penalties are on the gradient of each score by its own sample."""
    critic = build_critic(config_of(architecture, **kinds), SHAPE).train()
    samples = torch.randn(5, *SHAPE)
    others = torch.cat([samples[:1], 5 + 3 * torch.randn(4, *SHAPE)])
    alone = torch.allclose(critic(samples)[0], critic(others)[0], rtol=1e-4, atol=1e-7)
    assert alone == (kinds.get("critic_norm") != "batch")


@pytest.mark.parametrize("build", [build_generator, build_critic])
@pytest.mark.parametrize("architecture", ALL)
def test_the_seed_alone_sets_the_weights(architecture: str, build) -> None:
    config = config_of(architecture)
    assert identical(seeded(build, config, 1), seeded(build, config, 1))
    assert not identical(seeded(build, config, 1), seeded(build, config, 2))


@pytest.mark.parametrize("build", [build_generator, build_critic])
@pytest.mark.parametrize(("architecture", "kinds"), DESIGNS, ids=str)
def test_a_state_dict_is_the_whole_network(architecture: str, kinds: dict[str, str], build) -> None:
    """Loaded into a network of another seed, it gives the same outputs, running means included."""
    config = config_of(architecture, **kinds)
    one, other = seeded(build, config, 1), seeded(build, config, 2)
    inputs = torch.randn(4, *((LATENT_DIM,) if build is build_generator else SHAPE))
    one(inputs)  # moves the running means
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.eval()(inputs), other.eval()(inputs))


@pytest.mark.parametrize(("architecture", "kinds"), DESIGNS, ids=str)
def test_gradients_reach_every_parameter(architecture: str, kinds: dict[str, str]) -> None:
    """None is dead by construction: a bias that a norm takes away again would be.

    In float64, rounding leaves such a one a gradient 1e-15 of the largest.
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


@pytest.mark.parametrize(("architecture", "kinds"), DESIGNS, ids=str)
def test_samples_depend_on_every_latent_coordinate(
    architecture: str, kinds: dict[str, str]
) -> None:
    generator = build_generator(config_of(architecture, width=6, **kinds), SHAPE)
    latents = torch.randn(8, LATENT_DIM, requires_grad=True)
    samples = generator(latents)
    (slopes,) = torch.autograd.grad((samples * torch.randn_like(samples)).sum(), latents)
    assert (slopes.abs().amax(0) > 1e-3 * slopes.abs().max()).all()


@pytest.mark.parametrize("build", [build_generator, build_critic])
@pytest.mark.parametrize("architecture", BUILT_IN)
def test_a_network_grows_with_its_width_and_its_depth(architecture: str, build) -> None:
    def size(**sizes: int) -> int:
        return sum(p.numel() for p in build(config_of(architecture, **sizes), SHAPE).parameters())

    assert size(width=4, depth=1) < size(width=4, depth=2) < size(width=4, depth=3)
    assert size(width=4, depth=1) < size(width=5, depth=1) < size(width=8, depth=1)


@pytest.mark.parametrize("architecture", BUILT_IN)
def test_an_orthogonal_critic_sorts_whatever_its_activation(architecture: str) -> None:
    """And is otherwise made of the same layers as under any other constraint."""
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


def test_a_critic_of_scores_in_a_column_gives_them_in_a_row() -> None:
    config, samples = config_of("custom"), torch.randn(4, *SHAPE)
    critic = build_critic(config, SHAPE)
    column: Tensor = critic[0](samples)
    assert column.shape == (4, 1)
    assert torch.equal(critic(samples), column[:, 0])
