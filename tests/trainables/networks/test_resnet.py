from math import sqrt

import pytest
import torch
from torch import nn

from trainables.config import NetworkConfig
from trainables.networks import build_critic, build_generator
from trainables.networks.resnet import Residual


def config_of(width: int, **more: int | str) -> NetworkConfig:
    values = {"generator_width": width, "critic_width": width} | more
    return NetworkConfig.model_validate({"architecture": "resnet"} | values)


def blocks(network: nn.Module) -> list[Residual]:
    return [layer for layer in network if isinstance(layer, Residual)]


def sides_after(critic: nn.Module, side: int) -> list[int]:
    maps, sides = torch.randn(1, 3, side, side), []
    for block in blocks(critic):
        maps = block(maps)
        sides.append(maps.shape[-1])
    return sides


@pytest.mark.parametrize(
    ("side", "sides"),
    [
        (8, [4, 4, 4]), (16, [8, 8, 8]), (28, [14, 14, 14]), (32, [16, 8, 8, 8]),
        (64, [32, 16, 8, 8, 8]), (128, [64, 32, 16, 8, 8, 8]),
    ],
)  # fmt: skip
def test_a_critic_ends_where_the_papers_does(side: int, sides: list[int]) -> None:
    """32 -> 16 -> 8 and two blocks more; other images halve once less than the generator."""
    assert sides_after(build_critic(config_of(4), (3, side, side)), side) == sides


def test_the_published_networks_are_gulrajanis() -> None:
    """Seven convolutions' worth and more: counted from the paper's table, without dead biases."""
    generator, critic = (
        build(config_of(128), (3, 32, 32)) for build in (build_generator, build_critic)
    )
    conv, shortcut, scale = 128 * 128 * 9, 128 * 128, 2 * 128
    up = 2 * conv + shortcut + 2 * scale
    last = 128 * 3 * 9 + 3
    assert count(generator) == 128 * 2048 + 2048 + 3 * up + scale + last
    first = (3 * 128 * 9 + 128) + (conv + 128) + (3 * 128 + 128)
    down = 2 * (conv + 128) + (shortcut + 128)
    assert count(critic) == first + down + 2 * 2 * (conv + 128) + 128 + 1


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("depth", [1, 2])
def test_a_generator_doubles_the_side_once_a_halving(depth: int) -> None:
    generator = build_generator(config_of(4, generator_depth=depth), (3, 28, 28))
    assert len(blocks(generator)) == 2 * depth
    assert sum(isinstance(layer, nn.Upsample) for layer in generator.modules()) == 2


def test_a_block_whose_last_convolution_is_nought_is_its_shortcut() -> None:
    *_, plain = blocks(build_critic(config_of(4, critic_norm="none"), (1, 8, 8)))
    maps = torch.randn(2, 4, 5, 5)
    assert not torch.allclose(plain(maps), maps)
    *_, last = (layer for layer in plain.modules() if isinstance(layer, nn.Conv2d))
    nn.init.zeros_(last.weight)
    assert torch.equal(plain(maps), maps)


def test_a_shortcut_may_be_convolved_before_or_after_it_resamples() -> None:
    """What lets both do it where there are fewer pixels."""
    down, up = (
        [*block.shortcut]
        for block in (
            blocks(build_critic(config_of(4), (1, 32, 32)))[1],
            blocks(build_generator(config_of(4), (1, 8, 8)))[0],
        )
    )
    maps = torch.randn(2, 4, 6, 6)
    for one, other in (down, up):
        torch.testing.assert_close(other(one(maps)), one(other(maps)))


@pytest.mark.parametrize(("size", "gain"), [(3, sqrt(2)), (1, 1.0)])
def test_initial_weights_are_hes_in_blocks_and_glorots_in_shortcuts(size: int, gain: float) -> None:
    """Variance 2 gain^2 / (fan in + fan out); of n uniform draws it is known to 0.9 / sqrt(n)."""
    *_, block = (b for b in blocks(build_generator(config_of(32), (1, 16, 16))) if len(b.shortcut))
    kernels = [p for p in block.parameters() if p.ndim == 4 and p.shape[-1] == size]
    assert kernels
    for kernel in kernels:
        expected = 2 * gain**2 / (2 * 32 * size**2)
        error = 5 * 0.9 / kernel.numel() ** 0.5
        assert kernel.square().mean().item() == pytest.approx(expected, rel=error)


def test_the_critics_block_at_the_image_has_no_norm() -> None:
    """It would hide the image's own mean and contrast; the later blocks have two each."""
    critic = build_critic(config_of(4, critic_norm="layer"), (1, 32, 32))
    norms = [sum(isinstance(m, nn.GroupNorm) for m in block.modules()) for block in blocks(critic)]
    assert norms == [0, 2, 2, 2]
