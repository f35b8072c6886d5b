"""The residual networks of Gulrajani 2017 (appendix F, CIFAR-10), for images that can be halved.

All layers have ``width`` channels. A block is the sum of a shortcut and a residual, which is twice
norm, activation and 3x3 convolution. The critic's block next to the image has no norm, and begins
with a convolution.
"""

from collections import OrderedDict
from dataclasses import replace
from math import prod, sqrt
from typing import TypeVar, final

from jaxtyping import Float
from torch import Tensor, nn

from trainables.networks.layers import (
    Design,
    activation,
    dropout,
    halved_sides,
    last_layers,
    norm,
)

_Layer = TypeVar("_Layer", nn.Conv2d, nn.Linear)


@final
class Residual(nn.Module):
    """Add a block's residual to its shortcut."""

    def __init__(self, shortcut: list[nn.Module], residual: list[nn.Module]) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(*shortcut)
        self.residual = nn.Sequential(*residual)

    def forward(
        self, inputs: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch new_channels new_height new_width"]:
        """Apply both parts; a block that resamples changes the height and the width."""
        return self.shortcut(inputs) + self.residual(inputs)


def generator(latent_dim: int, sample_shape: tuple[int, ...], design: Design) -> nn.Module:
    """Build a generator: a linear layer, ``depth`` blocks per doubling, a convolution, tanh.

    The first block of a doubling upsamples by the nearest neighbour; the others keep the side.

    Raises:
        BadNetwork: if the samples are not images, or cannot be halved once.
    """
    return nn.Sequential(*_upsampling(latent_dim, sample_shape, design), nn.Tanh())


def _upsampling(latent_dim: int, sample_shape: tuple[int, ...], design: Design) -> list[nn.Module]:
    sides, width = halved_sides("resnet", sample_shape), design.width
    blocks: list[nn.Module] = []
    for _ in sides:
        blocks += [_up(design), *(_plain(design) for _ in range(design.depth - 1))]
    return [
        _initialise(nn.Linear(latent_dim, width * prod(sides[-1]))),
        nn.Unflatten(1, (width, *sides[-1])),
        *blocks,
        *_norm_and_activation(design),
        _initialise(nn.Conv2d(width, sample_shape[0], 3, padding=1)),
    ]


def critic(sample_shape: tuple[int, ...], design: Design) -> nn.Module:
    """Build a critic: blocks that halve the side, ``depth`` that keep it, a mean, a linear layer.

    It halves the side one time less than the generator doubles it, but at least once: from 32 to
    8, as in the paper.

    Raises:
        BadNetwork: if the samples are not images, or cannot be halved once.
    """
    trunk, _ = _downsampling(sample_shape, design)
    discrimination, last = last_layers(design, design.width)
    return nn.Sequential(
        *trunk,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        *discrimination,
        _initialise(last),
        nn.Flatten(0),
    )


def autoencoder(sample_shape: tuple[int, ...], code_dim: int, design: Design) -> nn.Module:
    """Build an encoder like the critic, and a decoder like the generator, but without its tanh.

    The encoder has a linear layer of its last maps in place of their mean, which has no places.

    Raises:
        BadNetwork: if the samples are not images, or cannot be halved once.
    """
    trunk, sides = _downsampling(sample_shape, design)
    last = _initialise(nn.Linear(design.width * prod(sides), code_dim))
    encoder = nn.Sequential(*trunk, nn.Flatten(), last)
    decoder = nn.Sequential(*_upsampling(code_dim, sample_shape, design))
    return nn.Sequential(OrderedDict(encoder=encoder, decoder=decoder))


def _downsampling(
    sample_shape: tuple[int, ...], design: Design
) -> tuple[list[nn.Module], tuple[int, int]]:
    """Build the blocks of a critic; return also the height and width of their maps."""
    sides = halved_sides("resnet", sample_shape)
    num_halvings = max(1, len(sides) - 1)
    blocks: list[nn.Module] = [_first(sample_shape[0], replace(design, norm="none"))]
    for block in (
        *(_down(design) for _ in range(num_halvings - 1)),
        *(_plain(design) for _ in range(design.depth)),
    ):
        blocks += [block, *dropout(design)]
    return [*blocks, activation(design)], sides[num_halvings - 1]


# A 1x1 convolution commutes with average pooling and with nearest-neighbour upsampling: the
# shortcuts apply it at the lower resolution, at a quarter of the cost.


def _up(design: Design) -> Residual:
    double, width = nn.Upsample(scale_factor=2), design.width
    return Residual(
        [_shortcut(width, design), double],
        [
            *_norm_and_activation(design),
            double,
            _conv(width, design),
            *_norm_and_activation(design),
            _conv(width, design),
        ],
    )


def _down(design: Design) -> Residual:
    halve, width = nn.AvgPool2d(2), design.width
    return Residual(
        [halve, _shortcut(width, design)],
        [
            *_norm_and_activation(design),
            _conv(width, design),
            *_norm_and_activation(design),
            _conv(width, design),
            halve,
        ],
    )


def _first(channels: int, design: Design) -> Residual:
    halve, width = nn.AvgPool2d(2), design.width
    return Residual(
        [halve, _shortcut(channels, design)],
        [_conv(channels, design), activation(design), _conv(width, design), halve],
    )


def _plain(design: Design) -> Residual:
    width = design.width
    return Residual(
        [],
        [
            *_norm_and_activation(design),
            _conv(width, design),
            *_norm_and_activation(design),
            _conv(width, design),
        ],
    )


def _norm_and_activation(design: Design) -> list[nn.Module]:
    return [norm(design, design.width), activation(design)]


def _conv(channels: int, design: Design) -> nn.Conv2d:
    # The gain makes up for the activation, which halves the variance (He 2015, eq. 10).
    layer = nn.Conv2d(channels, design.width, 3, padding=1, bias=design.bias)
    return _initialise(layer, gain=sqrt(2))


def _shortcut(channels: int, design: Design) -> nn.Conv2d:
    return _initialise(nn.Conv2d(channels, design.width, 1, bias=design.bias))


def _initialise(layer: _Layer, gain: float = 1.0) -> _Layer:
    """Draw uniform weights of variance 2 gain^2 / (fan in + fan out), as the authors' code does.

    This is Glorot 2010, eq. 16; with a gain of sqrt(2) it is He 2015 for the mean of both fans.
    """
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
