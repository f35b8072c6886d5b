"""Generators and critics. Initial weights come from PyTorch's global RNG: seed it around a call."""

from itertools import pairwise
from math import prod

from torch import nn

from trainables.config import NetworkConfig


def build_generator(config: NetworkConfig, sample_shape: tuple[int, ...]) -> nn.Module:
    """Build G: latents [batch, latent_dim] to samples [batch, *sample_shape].

    Images (a 3-d ``sample_shape``) end in tanh, since pixels fill [-1, 1] exactly; vectors stay
    linear, since their data only lie about there.
    """
    hidden = [config.generator_width] * config.generator_depth
    layers = _mlp([config.latent_dim, *hidden, prod(sample_shape)])
    if len(sample_shape) == 3:
        layers.append(nn.Tanh())
    return nn.Sequential(*layers, nn.Unflatten(1, sample_shape))


def build_critic(config: NetworkConfig, sample_shape: tuple[int, ...]) -> nn.Module:
    """Build f: samples [batch, *sample_shape] to scores [batch], unbounded.

    No batch normalisation: the penalties constrain the gradient of each score by its own sample,
    which normalisation would make a function of the whole batch (Gulrajani 2017, section 4).
    """
    hidden = [config.critic_width] * config.critic_depth
    return nn.Sequential(nn.Flatten(), *_mlp([prod(sample_shape), *hidden, 1]), nn.Flatten(0))


def _mlp(widths: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return layers[:-1]  # the last layer is linear
