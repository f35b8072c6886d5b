"""Generators and critics. Initial weights come from PyTorch's global RNG: seed it around a call."""

from typing import cast

from torch import nn

from trainables.config import Architecture, Constraint, NetworkConfig
from trainables.networks import dcgan, mlp, resnet
from trainables.networks.errors import BadNetwork, in_one_line
from trainables.networks.layers import Design
from trainables.networks.own import Player, build_own

__all__ = ["BadNetwork", "Player", "build_critic", "build_generator", "build_own", "in_one_line"]

_ARCHITECTURES = {"mlp": mlp, "dcgan": dcgan, "resnet": resnet}


def build_generator(config: NetworkConfig, sample_shape: tuple[int, ...]) -> nn.Module:
    """Build G: latents [batch, latent_dim] to samples [batch, *sample_shape].

    Images (a 3-d ``sample_shape``) lie in [-1, 1]; a generator of the user's own may differ.

    Raises:
        BadNetwork: where the architecture does not fit the samples, or the user's own generator
            cannot be made.
    """
    if config.generator is not None:
        given = {"latent_dim": config.latent_dim, "sample_shape": sample_shape}
        return build_own("generator", config.generator, config.generator_args or {}, **given)
    architecture = _ARCHITECTURES[cast(Architecture, config.architecture)]
    design = Design(
        width=cast(int, config.generator_width),
        depth=cast(int, config.generator_depth),
        activation=config.generator_activation or "relu",
        norm=config.generator_norm or "none",
    )
    return architecture.generator(cast(int, config.latent_dim), sample_shape, design)


def build_critic(
    config: NetworkConfig, sample_shape: tuple[int, ...], constraint: Constraint | None = None
) -> nn.Module:
    """Build f: samples [batch, *sample_shape] to scores [batch], unbounded.

    Under the constraint orthogonal its activation is GroupSort, without which a critic of
    orthonormal weights loses slope at every layer (Anil 2019). A user's own critic
    is taken as it is.

    Raises:
        BadNetwork: as for :func:`build_generator`.
    """
    if config.critic is not None:
        own = build_own(
            "critic", config.critic, config.critic_args or {}, sample_shape=sample_shape
        )
        return nn.Sequential(own, nn.Flatten(0))  # scores may be [batch, 1]
    architecture = _ARCHITECTURES[cast(Architecture, config.architecture)]
    orthogonal = constraint == "orthogonal"
    design = Design(
        width=cast(int, config.critic_width),
        depth=cast(int, config.critic_depth),
        activation="group_sort" if orthogonal else config.critic_activation or "relu",
        norm=config.critic_norm or "none",
    )
    return architecture.critic(sample_shape, design)
