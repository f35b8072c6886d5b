"""Build generators and critics. PyTorch's global RNG draws the weights: seed it before a call."""

from collections.abc import Mapping
from typing import Any, cast

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
from trainables.networks.layers import Design

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
    return architecture.generator(cast(int, config.latent_dim), sample_shape, design)


def build_critic(
    config: NetworkConfig,
    sample_shape: tuple[int, ...],
    constraint: Constraint | None = None,
    loss: Loss = DEFAULT_LOSS,
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
    )
    if loss in AUTOENCODING:
        # The section by itself does not know the loss, and so not that it has a code.
        default = ARCHITECTURES[cast(Architecture, config.architecture)]["critic_code_dim"]
        code_dim = config.critic_code_dim or default
        return Autoencoder(architecture.autoencoder(sample_shape, code_dim, design), loss)
    return architecture.critic(sample_shape, design)


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
