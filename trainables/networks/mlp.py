"""Fully connected generators and critics, for vectors and small images."""

from itertools import pairwise
from math import prod

from torch import nn

from trainables.networks.layers import Design, activation, dropout, last_layers


def generator(latent_dim: int, sample_shape: tuple[int, ...], design: Design) -> nn.Module:
    """Build a generator with ``depth`` hidden layers of ``width`` units.

    The output of images (a 3-d ``sample_shape``) is a tanh, as pixels lie in [-1, 1]. The output
    of vectors is linear, as they may lie somewhat outside.
    """
    layers = [*_hidden(latent_dim, design), nn.Linear(design.width, prod(sample_shape))]
    if len(sample_shape) == 3:
        layers.append(nn.Tanh())
    return nn.Sequential(*layers, nn.Unflatten(1, sample_shape))


def critic(sample_shape: tuple[int, ...], design: Design) -> nn.Module:
    """Build a critic with ``depth`` hidden layers of ``width`` units."""
    hidden = _hidden(prod(sample_shape), design)
    discrimination, last = last_layers(design, design.width)
    return nn.Sequential(nn.Flatten(), *hidden, *discrimination, last, nn.Flatten(0))


def _hidden(num_inputs: int, design: Design) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise([num_inputs, *[design.width] * design.depth]):
        layers += [nn.Linear(width_in, width_out), activation(design), *dropout(design)]
    return layers
