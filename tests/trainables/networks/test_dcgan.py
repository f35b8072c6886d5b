import pytest
import torch
from torch import nn

from trainables.config import NetworkConfig
from trainables.networks import build_critic, build_generator


def config_of(width: int, **more: int | str) -> NetworkConfig:
    values = {"generator_width": width, "critic_width": width} | more
    return NetworkConfig.model_validate({"architecture": "dcgan"} | values)


def kernels(network: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in network.parameters() if p.ndim == 4]


def test_the_published_generator_is_radfords() -> None:
    """Its 64 x 64 generator of 100 latents has 3,576,704 weights; the last bias is of 3 colours."""
    generator = build_generator(config_of(64), (3, 64, 64))
    assert sum(p.numel() for p in generator.parameters()) == 3_576_704 + 3
    assert kernels(generator) == [
        (512, 256, 4, 4),
        (256, 128, 4, 4),
        (128, 64, 4, 4),
        (64, 3, 4, 4),
    ]


def test_channels_double_at_each_halving_up_to_eightfold() -> None:
    assert kernels(build_critic(config_of(2), (1, 128, 128))) == [
        (2, 1, 4, 4), (4, 2, 4, 4), (8, 4, 4, 4), (16, 8, 4, 4), (16, 16, 4, 4),
    ]  # fmt: skip


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("side", [8, 28, 64])
def test_the_generator_mirrors_the_critic(side: int, depth: int) -> None:
    """The same kernels the other way round: ConvTranspose2d keeps its kernel transposed."""
    config = config_of(4, generator_depth=depth, critic_depth=depth)
    generator, critic = (
        build(config, (3, side, side)) for build in (build_generator, build_critic)
    )
    assert kernels(generator) == kernels(critic)[::-1]


def test_norms_follow_all_hidden_layers_but_the_critics_first() -> None:
    config = config_of(4, critic_norm="layer")
    generator, critic = (build(config, (1, 32, 32)) for build in (build_generator, build_critic))
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in generator) == 3
    assert sum(isinstance(layer, nn.GroupNorm) for layer in critic) == 2
    assert isinstance(critic[1], nn.LeakyReLU)


@pytest.mark.parametrize("build", [build_generator, build_critic])
def test_initial_weights_have_radfords_spread(build) -> None:
    """N(0, 0.02^2), biases 0; of n draws the spread is known to 0.02 / sqrt(2n)."""
    for name, values in build(config_of(32, generator_norm="none"), (1, 32, 32)).named_parameters():
        if name.endswith("bias"):
            assert not values.any()
        else:
            error = 5 * 0.02 / (2 * values.numel()) ** 0.5
            assert values.square().mean().sqrt().item() == pytest.approx(0.02, abs=error)


def test_scales_start_at_1() -> None:
    generator = build_generator(config_of(4), (1, 8, 8))
    scales = [layer.weight for layer in generator if isinstance(layer, nn.BatchNorm2d)]
    assert all(torch.equal(scale, torch.ones_like(scale)) for scale in scales)
    assert scales
