import pytest
import torch
from torch import nn

from trainables.config import NetworkConfig
from trainables.networks import build_critic, build_generator

SHAPES = [(2,), (1, 8, 8), (3, 4, 6)]
CONFIG = NetworkConfig(
    latent_dim=5, generator_width=16, generator_depth=3, critic_width=12, critic_depth=2
)


@pytest.fixture(autouse=True)
def fixed_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def linear_shapes(network: nn.Module) -> list[tuple[int, int]]:
    return [
        (layer.in_features, layer.out_features)
        for layer in network.modules()
        if isinstance(layer, nn.Linear)
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_generator_maps_latents_to_samples(shape: tuple[int, ...]) -> None:
    assert build_generator(CONFIG, shape)(torch.randn(7, 5)).shape == (7, *shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch_size", [1, 7])
def test_a_critic_maps_samples_to_one_score_each(shape: tuple[int, ...], batch_size: int) -> None:
    assert build_critic(CONFIG, shape)(torch.randn(batch_size, *shape)).shape == (batch_size,)


def test_width_and_depth_are_those_of_the_hidden_layers() -> None:
    generator, critic = build_generator(CONFIG, (1, 8, 8)), build_critic(CONFIG, (1, 8, 8))
    assert linear_shapes(generator) == [(5, 16), (16, 16), (16, 16), (16, 64)]
    assert linear_shapes(critic) == [(64, 12), (12, 12), (12, 1)]


def test_generated_images_stay_inside_the_pixel_range_and_vectors_need_not() -> None:
    """tanh bounds an image by 1 whatever the latent; a vector's output layer is linear."""
    latents = 1e3 * torch.randn(64, 5)
    assert build_generator(CONFIG, (1, 8, 8))(latents).abs().max() <= 1
    assert build_generator(CONFIG, (2,))(latents).abs().max() > 10


@pytest.mark.parametrize("shape", SHAPES)
def test_a_score_depends_on_no_other_sample_of_the_batch(shape: tuple[int, ...]) -> None:
    """Batch normalisation in the critic would break this, and with it the penalty per sample."""
    critic, samples = build_critic(CONFIG, shape).train(), torch.randn(7, *shape)
    others = torch.cat([samples[:1], 5 + 3 * torch.randn(6, *shape)])
    torch.testing.assert_close(critic(samples)[0], critic(others)[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_critics_and_hidden_layers_are_not_linear(shape: tuple[int, ...]) -> None:
    """A linear map would have f(x) + f(-x) = 2 f(0)."""
    for network, width in (
        (build_critic(CONFIG, shape), shape),
        (build_generator(CONFIG, (2,)), (5,)),
    ):
        inputs = torch.randn(7, *width)
        even = network(inputs) + network(-inputs)
        assert not torch.allclose(even, 2 * network(torch.zeros_like(inputs)), atol=1e-3)
