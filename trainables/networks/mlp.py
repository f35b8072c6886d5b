"""Fully connected generators and critics, for vectors and small images."""

from collections import OrderedDict
from itertools import pairwise
from math import prod

from torch import nn

from trainables.networks.layers import Design, activation, dropout, last_layers


def generator(latent_dim: int, sample_shape: tuple[int, ...], design: Design) -> nn.Module:
    """Build a generator with ``depth`` hidden layers of ``width`` units.

    The output of images (a 3-d ``sample_shape``) is a tanh, as pixels lie in [-1, 1]. The output
    of vectors is linear, as they may lie somewhat outside.
    """
    layers = _stack(latent_dim, prod(sample_shape), design)
    if len(sample_shape) == 3:
        layers.append(nn.Tanh())
    return nn.Sequential(*layers, nn.Unflatten(1, sample_shape))


def critic(sample_shape: tuple[int, ...], design: Design) -> nn.Module:
    """Build a critic with ``depth`` hidden layers of ``width`` units."""
    hidden = _hidden(prod(sample_shape), design)
    discrimination, last = last_layers(design, design.width)
    return nn.Sequential(nn.Flatten(), *hidden, *discrimination, last, nn.Flatten(0))


def autoencoder(sample_shape: tuple[int, ...], code_dim: int, design: Design) -> nn.Sequential:
    """Build an encoder and a decoder, each with ``depth`` hidden layers of ``width`` units.

    Codes and reconstructions are linear: a critic must be able to be wrong by any amount.
    """
    size = prod(sample_shape)
    encoder = nn.Sequential(nn.Flatten(), *_stack(size, code_dim, design))
    decoder = nn.Sequential(*_stack(code_dim, size, design), nn.Unflatten(1, sample_shape))
    return nn.Sequential(OrderedDict(encoder=encoder, decoder=decoder))


def _stack(num_inputs: int, num_outputs: int, design: Design) -> list[nn.Module]:
    return [*_hidden(num_inputs, design), nn.Linear(design.width, num_outputs)]


def _hidden(num_inputs: int, design: Design) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise([num_inputs, *[design.width] * design.depth]):
        layers += [nn.Linear(width_in, width_out), activation(design), *dropout(design)]
    return layers
