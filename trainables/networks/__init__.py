"""Build generators and critics. PyTorch's global RNG draws the weights: seed it before a call."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from trainables.config import (
    ARCHITECTURES,
    AUTOENCODING,
    CRITIC_FREE,
    DEFAULT_LOSS,
    Architecture,
    Constraint,
    Loss,
    NetworkConfig,
)
from trainables.networks import dcgan, mlp, resnet
from trainables.networks.autoencoder import Autoencoder, as_autoencoder
from trainables.networks.custom import Player, build_custom, build_extractor, build_metrics
from trainables.networks.errors import BadNetwork, CodeNotAllowed, in_one_line
from trainables.networks.layers import NUM_REFERENCES, Design, WithReferences

__all__ = [
    "Autoencoder",
    "BadNetwork",
    "CodeNotAllowed",
    "Player",
    "as_autoencoder",
    "build_critic",
    "build_custom",
    "build_extractor",
    "build_generator",
    "build_metrics",
    "in_one_line",
    "split_critic",
]

_ARCHITECTURES = {"mlp": mlp, "dcgan": dcgan, "resnet": resnet}


def build_generator(config: NetworkConfig, sample_shape: tuple[int, ...]) -> nn.Module:
    """Build a generator, which maps latents [batch, latent_dim] to samples [batch, *sample_shape].

    Images (a 3-d ``sample_shape``) lie in [-1, 1]; those of a custom generator may not.

    Args:
        config: The architecture and its sizes, or the import path of a custom generator.
        sample_shape: Shape of one sample: [channels, height, width], or [length] of a vector.

    Raises:
        BadNetwork: if the architecture does not fit the samples, or the custom generator cannot
            be built.
    """
    if config.generator is not None:
        shapes = {"latent_dim": config.latent_dim, "sample_shape": sample_shape}
        return _build_module("generator", config.generator, config.generator_args or {}, **shapes)
    architecture = _ARCHITECTURES[cast(Architecture, config.architecture)]
    design = Design(
        width=cast(int, config.generator_width),
        depth=cast(int, config.generator_depth),
        activation=config.generator_activation or "relu",
        norm=config.generator_norm or "none",
    )
    latent_dim = cast(int, config.latent_dim)
    generator = architecture.generator(latent_dim, sample_shape, design)
    if design.norm == "virtual":
        return WithReferences(generator, torch.randn(NUM_REFERENCES, latent_dim))
    return generator


def build_critic(
    config: NetworkConfig,
    sample_shape: tuple[int, ...],
    constraint: Constraint | None = None,
    loss: Loss = DEFAULT_LOSS,
    dropout: float | None = None,
) -> nn.Module:
    """Build a critic, which maps samples [batch, *sample_shape] to unbounded scores [batch].

    Under the constraint orthogonal its activation is GroupSort: with others, a critic of
    orthonormal weights loses gradient norm at every layer (Anil 2019). A custom critic is not
    changed.

    Args:
        config: The architecture and its sizes, or the import path of a custom critic.
        sample_shape: Shape of one sample: [channels, height, width], or [length] of a vector.
        constraint: The constraint under which the critic is trained.
        loss: The loss by which it is trained: ebgan and began need an autoencoder, as a custom
            critic must be, too. A loss that trains no critic gets a module without layers.
        dropout: Its dropout rate in training, if any; a custom critic has its own.

    Raises:
        BadNetwork: as for :func:`build_generator`.
    """
    if loss in CRITIC_FREE:
        return nn.Module()
    if config.critic is not None:
        custom = _build_module(
            "critic", config.critic, config.critic_args or {}, sample_shape=sample_shape
        )
        if loss in AUTOENCODING:
            return as_autoencoder(custom, config.critic, loss)
        return nn.Sequential(custom, _Scores(0))  # they may be [batch, 1]
    architecture = _ARCHITECTURES[cast(Architecture, config.architecture)]
    orthogonal = constraint == "orthogonal"
    design = Design(
        width=cast(int, config.critic_width),
        depth=cast(int, config.critic_depth),
        activation="group_sort" if orthogonal else config.critic_activation or "relu",
        norm=config.critic_norm or "none",
        minibatch_kernels=config.minibatch_discrimination or 0,
        minibatch_dims=config.minibatch_dims or 1,
        dropout=dropout or 0.0,
    )
    if loss in AUTOENCODING:
        # The section by itself does not know the loss, and so not that it has a code.
        default = ARCHITECTURES[cast(Architecture, config.architecture)]["critic_code_dim"]
        code_dim = config.critic_code_dim or default
        return Autoencoder(architecture.autoencoder(sample_shape, code_dim, design), loss)
    return architecture.critic(sample_shape, design)


def split_critic(critic: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """Split a critic into the layers before its last one, whose output are its features, and that.

    Args:
        critic: A critic of :func:`build_critic`.

    Raises:
        BadNetwork: if it is not an ``nn.Sequential`` that ends in a ``Linear`` layer.
    """
    layers = list(_in_sequence(critic))
    trained = [i for i, layer in enumerate(layers) if any(True for _ in layer.parameters())]
    last = trained[-1] if trained else 0
    if not isinstance(layers[last], nn.Linear):
        raise BadNetwork(
            "critic",
            "the critic must be an nn.Sequential that ends in a Linear layer, whose inputs are its "
            f"features, got {type(layers[last]).__name__}: make it one, or set "
            "feature_matching_weight to 0",
        )
    return nn.Sequential(*layers[:last]), nn.Sequential(*layers[last:])


def _in_sequence(network: nn.Module) -> Iterator[nn.Module]:
    """Give the layers that a network applies one after another; itself, where it does not say."""
    if isinstance(network, nn.Sequential) and type(network).forward is nn.Sequential.forward:
        for part in network:
            yield from _in_sequence(part)
    else:
        yield network


class _Scores(nn.Flatten):
    """Flattens the scores of a custom critic; of anything else it names the type."""

    def forward(self, scores: Any) -> Tensor:
        if not isinstance(scores, Tensor):
            kind = type(scores).__name__
            raise TypeError(f"the critic must return one tensor, got {kind}: return scores alone")
        return super().forward(scores)


def _build_module(player: Player, path: str, args: Mapping[str, Any], **shapes: Any) -> nn.Module:
    """Build a custom network that PyTorch's functions for modules can handle."""
    try:
        return build_custom(player, path, args, **shapes)
    except TypeError as error:  # raised by functions that collect the modules in a set
        raise BadNetwork(player, _unusable(path, error)) from error


def _unusable(path: str, error: TypeError) -> str:
    fault = f"{path} must work as a torch module, but raised {in_one_line(error)}"
    if "unhashable" in str(error):
        fault += ": if it is a dataclass, write @dataclass(eq=False), which keeps it hashable"
    return fault
