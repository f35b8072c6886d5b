"""What a user might write: a generator and a critic that pass the same suite as the built-in."""

from math import prod

from torch import nn


class OwnGenerator(nn.Module):
    def __init__(self, latent_dim: int, sample_shape: tuple[int, ...], width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, prod(sample_shape)), nn.Tanh()
        )
        self.sample_shape = sample_shape

    def forward(self, latents):
        return self.layers(latents).unflatten(1, self.sample_shape)


def own_critic(sample_shape: tuple[int, ...], width: int = 8) -> nn.Module:
    """A function that gives scores of shape [batch, 1]: either is allowed."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(prod(sample_shape), width), nn.Tanh(), nn.Linear(width, 1)
    )
