"""DCGAN (Radford 2016) for images of any size that can be halved.

The critic halves the image by 4x4 convolutions of stride 2 as often as possible; the generator is
its mirror image. The layer next to the image has ``width`` channels, and each halving doubles them,
up to eightfold. ``depth`` - 1 further 3x3 convolutions follow at each resolution.

With ``generator_norm`` none it is close to the "DCGAN without batch normalisation" of Arjovsky 2017
(section 4.3), which has the same number of channels at every resolution.
"""

from collections import OrderedDict
from itertools import pairwise
from math import prod

from torch import nn

from trainables.networks.layers import (
    Design,
    activation,
    dropout,
    halved_sides,
    last_layers,
    norm,
)

_MAX_DOUBLINGS = 3


def generator(latent_dim: int, sample_shape: tuple[int, ...], design: Design) -> nn.Module:
    """Build a generator: a linear layer, transposed convolutions that double the side, tanh.

    Raises:
        BadNetwork: if the samples are not images, or cannot be halved once.
    """
    return _initialise(nn.Sequential(*_up(latent_dim, sample_shape, design), nn.Tanh()))


def critic(sample_shape: tuple[int, ...], design: Design) -> nn.Module:
    """Build a critic: convolutions that halve the side, and a linear layer.

    The first convolution has no norm, which would remove the image's mean and contrast.

    Raises:
        BadNetwork: if the samples are not images, or cannot be halved once.
    """
    layers, num_features = _down(sample_shape, design)
    discrimination, last = last_layers(design, num_features)
    return _initialise(nn.Sequential(*layers, *discrimination, last, nn.Flatten(0)))


def autoencoder(sample_shape: tuple[int, ...], code_dim: int, design: Design) -> nn.Module:
    """Build an encoder like the critic, and a decoder like the generator, but without its tanh.

    Raises:
        BadNetwork: if the samples are not images, or cannot be halved once.
    """
    layers, num_features = _down(sample_shape, design)
    encoder = nn.Sequential(*layers, nn.Linear(num_features, code_dim))
    decoder = nn.Sequential(*_up(code_dim, sample_shape, design))
    return _initialise(nn.Sequential(OrderedDict(encoder=encoder, decoder=decoder)))


def _up(latent_dim: int, sample_shape: tuple[int, ...], design: Design) -> list[nn.Module]:
    sides = halved_sides("dcgan", sample_shape)
    channels = _channels(len(sides), design)
    first = nn.Linear(latent_dim, channels[-1] * prod(sides[-1]), bias=design.bias)
    layers: list[nn.Module] = [
        first,
        nn.Unflatten(1, (channels[-1], *sides[-1])),
        *_hidden(channels[-1], design),
        *_more_convolutions(channels[-1], design),
    ]
    for wide, narrow in pairwise(reversed(channels)):
        up = nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=design.bias)
        layers += [up, *_hidden(narrow, design), *_more_convolutions(narrow, design)]
    last = nn.ConvTranspose2d(channels[0], sample_shape[0], 4, stride=2, padding=1)
    return [*layers, last]


def _down(sample_shape: tuple[int, ...], design: Design) -> tuple[list[nn.Module], int]:
    """Build the convolutions of a critic; return also the number of features that they make."""
    sides = halved_sides("dcgan", sample_shape)
    channels = _channels(len(sides), design)
    first = nn.Conv2d(sample_shape[0], channels[0], 4, stride=2, padding=1)
    layers = [
        first,
        activation(design),
        *dropout(design),
        *_more_convolutions(channels[0], design),
    ]
    for narrow, wide in pairwise(channels):
        down = nn.Conv2d(narrow, wide, 4, stride=2, padding=1, bias=design.bias)
        layers += [down, *_hidden(wide, design), *_more_convolutions(wide, design)]
    return [*layers, nn.Flatten()], channels[-1] * prod(sides[-1])


def _channels(num_sides: int, design: Design) -> list[int]:
    return [design.width << min(doublings, _MAX_DOUBLINGS) for doublings in range(num_sides)]


def _hidden(channels: int, design: Design) -> list[nn.Module]:
    return [norm(design, channels), activation(design), *dropout(design)]


def _more_convolutions(channels: int, design: Design) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(design.depth - 1):
        same = nn.Conv2d(channels, channels, 3, padding=1, bias=design.bias)
        layers += [same, *_hidden(channels, design)]
    return layers


def _initialise(network: nn.Module) -> nn.Module:
    """Draw all weights from N(0, 0.02^2) (Radford 2016, section 4), and set the biases to 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network
