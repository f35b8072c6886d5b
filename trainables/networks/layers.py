"""The layers of the architectures by name, and the resolutions of an image that is halved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from trainables.config import Activation, Architecture, Norm
from trainables.networks.errors import BadNetwork

#: Smallest height and width, in pixels, of the maps of a convolutional network.
SMALLEST_SIDE = 4


@dataclass(frozen=True)
class Design:
    """The size and the layers of one network; what ``depth`` counts depends on the architecture."""

    width: int
    depth: int
    activation: Activation | Literal["group_sort"]
    norm: Norm = "none"

    @property
    def bias(self) -> bool:
        """Tell whether a layer before the norm has a bias: every norm has its own."""
        return self.norm == "none"


@final
class ShiftedSoftplus(nn.Module):
    """Compute softplus(2x + 2) / 2 - 1 (Gulrajani 2017, Table 1), from -1 to a slope of 1."""

    def forward(self, inputs: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Apply the function to each element."""
        return softplus(2 * inputs + 2) / 2 - 1


@final
class GroupSort(nn.Module):
    """Sort each pair of neighbouring channels: GroupSort of groups of two, MaxMin (Anil 2019).

    It permutes its inputs and so keeps the norm of every gradient, which ReLU reduces. The last of
    an odd number of channels passes unchanged.
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
    # sample, but with one scale and bias per channel, independent of the image's size.
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
}


def activation(design: Design) -> nn.Module:
    """Make the design's activation; leaky_relu has slope 0.2 below 0 (Radford 2016, section 4)."""
    return _ACTIVATIONS[design.activation]()


def norm(design: Design, channels: int) -> nn.Module:
    """Make the design's normalisation of maps [batch, channels, height, width]."""
    return _NORMS[design.norm](channels)


def halved_sides(
    architecture: Architecture, sample_shape: tuple[int, ...]
) -> list[tuple[int, int]]:
    """Compute the height and width of an image after each halving, the largest first.

    It is halved while both are even and their halves at least 4: 8, 32, 64 and 128 pixels end
    at 4, 28 at 7.

    Args:
        architecture: The architecture that an error names.
        sample_shape: Shape of one sample, [channels, height, width].

    Raises:
        BadNetwork: if the samples are not images, or cannot be halved once.
    """
    if len(sample_shape) != 3:
        raise BadNetwork(
            "architecture",
            f"architecture {architecture} needs images, [channels, height, width], got samples of "
            f"shape {sample_shape}: use mlp",
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
            f"least {2 * SMALLEST_SIDE}, got samples of shape {sample_shape}: use mlp, or images "
            "of another size",
        )
    return sides
