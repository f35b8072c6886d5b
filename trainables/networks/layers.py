"""What the architectures are made of: kinds of layers by name, and how far an image is halved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from trainables.config import Activation, Architecture, Norm
from trainables.networks.errors import BadNetwork

SMALLEST_SIDE = 4


@dataclass(frozen=True)
class Design:
    """One player's size and kinds of layers; its architecture says what ``depth`` counts."""

    width: int
    depth: int
    activation: Activation | Literal["group_sort"]
    norm: Norm = "none"

    @property
    def bias(self) -> bool:
        """Whether a layer before the norm has a bias: every norm here brings its own."""
        return self.norm == "none"


@final
class ShiftedSoftplus(nn.Module):
    """softplus(2x + 2) / 2 - 1 (Gulrajani 2017, Table 1): a smooth step from -1 to slope 1."""

    def forward(self, inputs: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Apply it to each number."""
        return softplus(2 * inputs + 2) / 2 - 1


@final
class GroupSort(nn.Module):
    """Sort each pair of neighbouring channels: GroupSort of groups of two, MaxMin (Anil 2019).

    It permutes its inputs, so that it keeps the norm of every gradient, where ReLU loses what it
    cuts off. An odd last channel has no partner and passes unchanged.
    """

    def forward(
        self, inputs: Float[Tensor, "batch channels *side"]
    ) -> Float[Tensor, "batch channels *side"]:
        """Put the smaller of two channels first."""
        paired = inputs.shape[1] // 2 * 2
        one, other = inputs[:, 0:paired:2], inputs[:, 1:paired:2]
        pairs = torch.stack([torch.minimum(one, other), torch.maximum(one, other)], 2)
        return torch.cat([pairs.flatten(1, 2), inputs[:, paired:]], 1)


_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
    "softplus": ShiftedSoftplus,
    "group_sort": GroupSort,
}

_NORMS: Mapping[Norm, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "batch": nn.BatchNorm2d,
    # One group of all channels: layer normalisation over [channels, height, width] of each
    # sample, with a scale and a bias a channel, whatever the image's size.
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
}


def activation(design: Design) -> nn.Module:
    """The design's activation; leaky_relu has slope 0.2 below zero (Radford 2016, section 4)."""
    return _ACTIVATIONS[design.activation]()


def norm(design: Design, channels: int) -> nn.Module:
    """The design's normalisation of maps [batch, channels, height, width]."""
    return _NORMS[design.norm](channels)


def halved_sides(
    architecture: Architecture, sample_shape: tuple[int, ...]
) -> list[tuple[int, int]]:
    """Height and width of an image after each halving, the largest first.

    It is halved while both are even and their halves at least 4: 8, 32, 64 and 128 pixels end
    at 4, 28 at 7.

    Raises:
        BadNetwork: where the samples are no images, or cannot be halved once.
    """
    if len(sample_shape) != 3:
        raise BadNetwork(
            "architecture",
            f"architecture {architecture} needs images, [channels, height, width], got samples of "
            f"shape {sample_shape}: take mlp",
        )
    _, height, width = sample_shape
    sides = []
    while all(side % 2 == 0 and side >= 2 * SMALLEST_SIDE for side in (height, width)):
        height, width = height // 2, width // 2
        sides.append((height, width))
    if not sides:
        raise BadNetwork(
            "architecture",
            f"architecture {architecture} needs images whose height and width are even and at "
            f"least {2 * SMALLEST_SIDE}, got samples of shape {sample_shape}: take mlp, or images "
            "of another size",
        )
    return sides
