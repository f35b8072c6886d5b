"""The layers of the architectures by name, and the resolutions of an image that is halved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from trainables.config import Activation, Architecture, GeneratorNorm
from trainables.networks.errors import BadNetwork

#: Samples of the reference batch of virtual batch normalisation.
NUM_REFERENCES = 64
_EPSILON = 1e-5  # of the variance, as in nn.BatchNorm2d
#: Smallest height and width, in pixels, of the maps of a convolutional network.
SMALLEST_SIDE = 4


@dataclass(frozen=True)
class Design:
    """The size and the layers of one network; what ``depth`` counts depends on the architecture."""

    width: int
    depth: int
    activation: Activation | Literal["group_sort"]
    norm: GeneratorNorm = "none"
    minibatch_kernels: int = 0
    minibatch_dims: int = 5
    dropout: float = 0.0

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


@final
class MinibatchDiscrimination(nn.Module):
    """Append to each sample's features its similarities to the batch (Salimans 2016, section 3.2).

    Kernel b maps the features of sample i to M_ib, and appends o_b = sum of exp(-|M_ib - M_jb|_1)
    over all other samples j. Real and generated samples must be in batches of their own. In
    evaluation mode each sample is by itself, so that there is nothing to sum, and o_b is 0.
    """

    def __init__(self, num_features: int, num_kernels: int, kernel_dims: int) -> None:
        """Draw the kernels.

        Args:
            num_features: Features of a sample.
            num_kernels: Kernels, each of which appends one number (B of the paper).
            kernel_dims: Dimensions in which a kernel compares (C of the paper).
        """
        super().__init__()
        self.kernels = nn.Parameter(torch.empty(num_features, num_kernels, kernel_dims))
        nn.init.normal_(self.kernels, std=num_features**-0.5)

    def forward(
        self, features: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch more_features"]:
        """Return the features, and behind them one number per kernel."""
        if not self.training:
            alone = features.new_zeros(len(features), self.kernels.shape[1])
            return torch.cat([features, alone], 1)
        mapped = torch.einsum("nf,fbc->bnc", features, self.kernels)
        distances = torch.cdist(mapped, mapped, p=1)
        itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
        similarities = torch.exp(-distances.masked_fill(itself, torch.inf))
        return torch.cat([features, similarities.sum(2).T], 1)


@final
class VirtualBatchNorm(nn.Module):
    """Normalise each sample by a reference batch and by itself (Salimans 2016, section 3.5).

    The reference batch are the first ``NUM_REFERENCES`` rows of every input, which
    :class:`WithReferences` puts there; it is normalised by itself alone. With n references the
    statistics of another sample are those of n + 1, of which it is one. So none depends on the
    others of its batch, in training or in evaluation mode.
    """

    def __init__(self, channels: int) -> None:
        """Start with the scale 1 and the bias 0 of each channel."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self, maps: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Normalise the references, and the samples behind them."""
        maps = maps.float()  # under autocast, too
        variance, mean = torch.var_mean(
            maps[:NUM_REFERENCES], (0, 2, 3), correction=0, keepdim=True
        )
        references = (maps[:NUM_REFERENCES] - mean) / (variance + _EPSILON).sqrt()
        samples = maps[NUM_REFERENCES:]
        own_variance, own_mean = torch.var_mean(samples, (2, 3), correction=0, keepdim=True)
        share = 1 / (NUM_REFERENCES + 1)
        joint_mean = torch.lerp(mean, own_mean, share)
        joint_variance = torch.lerp(
            variance + (mean - joint_mean).square(),
            own_variance + (own_mean - joint_mean).square(),
            share,
        )
        samples = (samples - joint_mean) / (joint_variance + _EPSILON).sqrt()
        scale, shift = (each.view(-1, 1, 1) for each in (self.weight, self.bias))
        return torch.cat([references, samples]) * scale + shift


@final
class WithReferences(nn.Module):
    """Pass a fixed reference batch through a network in front of every batch.

    The references are a buffer: they are saved and loaded with the weights.
    """

    references: Tensor

    def __init__(self, network: nn.Module, references: Float[Tensor, "references *input"]) -> None:
        """Wrap a network with layers of :class:`VirtualBatchNorm`.

        Args:
            network: The network.
            references: ``NUM_REFERENCES`` inputs.
        """
        super().__init__()
        self.network = network
        self.register_buffer("references", references)

    def forward(self, inputs: Float[Tensor, "batch *input"]) -> Float[Tensor, "batch *output"]:
        """Return the network's outputs for the inputs alone."""
        return self.network(torch.cat([self.references, inputs]))[NUM_REFERENCES:]


_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
    "softplus": ShiftedSoftplus,
    "group_sort": GroupSort,
}

_NORMS: Mapping[GeneratorNorm, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "batch": nn.BatchNorm2d,
    # One group of all channels: layer normalisation over [channels, height, width] of each
    # sample, but with one scale and bias per channel, independent of the image's size.
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "virtual": VirtualBatchNorm,
}


def activation(design: Design) -> nn.Module:
    """Make the design's activation; leaky_relu has slope 0.2 below 0 (Radford 2016, section 4)."""
    return _ACTIVATIONS[design.activation]()


def dropout(design: Design) -> list[nn.Module]:
    """Make the design's dropout, if it has any."""
    return [nn.Dropout(design.dropout)] if design.dropout else []


def norm(design: Design, channels: int) -> nn.Module:
    """Make the design's normalisation of maps [batch, channels, height, width]."""
    return _NORMS[design.norm](channels)


def last_layers(design: Design, num_features: int) -> tuple[list[nn.Module], nn.Linear]:
    """Make the last layer of a critic, and what comes before it: minibatch discrimination, if any.

    Args:
        design: The critic's design.
        num_features: Features of a sample.
    """
    last = nn.Linear(num_features + design.minibatch_kernels, 1)
    if not design.minibatch_kernels:
        return [], last
    sizes = (design.minibatch_kernels, design.minibatch_dims)
    return [MinibatchDiscrimination(num_features, *sizes)], last


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
