"""A custom generator and critic, which pass the same contract as the built-in ones."""

import warnings
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from trainables.networks.layers import GroupSort


class CustomGenerator(nn.Module):
    def __init__(self, latent_dim: int, sample_shape: tuple[int, ...], width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, prod(sample_shape)), nn.Tanh()
        )
        self.sample_shape = sample_shape

    def forward(self, latents):
        return self.layers(latents).unflatten(1, self.sample_shape)


class CustomCritic(nn.Sequential):
    """A critic with scores of shape [batch, 1], which is allowed as well as [batch]."""

    def __init__(self, sample_shape: tuple[int, ...], width: int = 8) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(prod(sample_shape), width), nn.Tanh(), nn.Linear(width, 1)
        )


class PartedCritic(nn.Module):
    """A critic whose layers lie in a part of it, next to a plain parameter."""

    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.body = nn.ModuleDict(
            {"first": nn.Linear(prod(sample_shape), 16), "second": nn.Linear(16, 16)}
        )
        self.last = nn.Linear(16, 1)
        self.shift = nn.Parameter(torch.zeros(()))
        self.sort = GroupSort()

    def forward(self, samples: Tensor) -> Tensor:
        hidden = self.sort(self.body["first"](samples.flatten(1)))
        return self.last(self.sort(self.body["second"](hidden))).squeeze(1) + self.shift


class Scaling(nn.Module):
    """An autoencoder of one parameter, which reconstructs that share of each sample."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Identity(), _Scale(share)


class _Scale(nn.Module):
    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(share))

    def forward(self, codes: Tensor) -> Tensor:
        return self.share * codes


class CustomAutoencoder(nn.Module):
    """A critic for the losses that need an encoder and a decoder."""

    def __init__(self, sample_shape: tuple[int, ...], width: int = 8) -> None:
        super().__init__()
        size = prod(sample_shape)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.Tanh())
        self.decoder = nn.Sequential(nn.Linear(width, size), nn.Unflatten(1, sample_shape))


class NoisyGenerator(CustomGenerator):
    """A generator that draws from PyTorch's global generator, also in evaluation mode."""

    def forward(self, latents: Tensor) -> Tensor:
        samples = super().forward(latents)
        return samples + 0.01 * torch.randn_like(samples)


class DropoutCritic(nn.Sequential):
    """A critic that draws from PyTorch's global generator in training."""

    def __init__(self, sample_shape: tuple[int, ...], width: int = 8) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(prod(sample_shape), width),
            nn.Dropout(0.5),
            nn.ReLU(),
            nn.Linear(width, 1),
        )


class WeightNormGenerator(CustomGenerator):
    """A generator that cannot be copied once it has run: its weight is computed."""

    def __init__(self, latent_dim: int, sample_shape: tuple[int, ...]) -> None:
        super().__init__(latent_dim, sample_shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.layers[0] = nn.utils.weight_norm(self.layers[0])


@dataclass
class DataclassCritic(nn.Module):
    """A critic without a hash, as ``@dataclass`` makes it."""

    sample_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        nn.Module.__init__(self)
        self.body = PartedCritic(self.sample_shape)

    def forward(self, samples: Tensor) -> Tensor:
        return self.body(samples)
