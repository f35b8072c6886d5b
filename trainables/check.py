"""Check that a trial's networks can be trained, in a moment, before any trial starts."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from trainables.config import ABOVE_ZERO, CRITIC_FREE, REFUSED, TrialConfig
from trainables.networks import (
    BadNetwork,
    Player,
    build_critic,
    build_generator,
    in_one_line,
    split_critic,
)
from trainables.networks.layers import MinibatchDiscrimination
from trainables.training import (
    PENALTIES,
    TrainState,
    packed,
    packed_shape,
    power_penalty,
    seeded,
    zero_centred_penalty,
)

#: Of float32: the weight, its gradient and Adam's two moments.
BYTES_PER_PARAMETER = 16
#: Inputs of the critic in the batch that is passed through the networks.
NUM_SAMPLES = 2

#: The layers of a custom critic that count as a value of a key.
_LAYERS: dict[str, dict[str, tuple[type[nn.Module], ...]]] = {
    "critic_norm": {
        "batch": (_BatchNorm,),
        "layer": (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
        "instance": (_InstanceNorm,),
    },
    "minibatch_discrimination": {"above 0": (MinibatchDiscrimination,)},
}
#: Autograd's names for what only changes a shape.
_RESHAPES = ("View", "Squeeze", "Unsqueeze", "Reshape", "Select", "UnsafeView", "Alias")
#: Autograd's names for functions with bounded values, and the values.
_BOUNDS = {"Sigmoid": "(0, 1)", "Tanh": "(-1, 1)", "Softmax": "(0, 1)"}


#: How errors begin that critics raise about themselves.
_TELLING = ("the critic must return", "the critic's encoder must", "the critic's decoder must")


def check_networks(config: TrialConfig, sample_shape: tuple[int, ...]) -> str | None:
    """Build both networks of a trial, and pass two samples forward and backward, on the CPU.

    Built-in networks that this machine cannot hold are refused before they are built. The global
    RNG is not changed.

    Args:
        config: The trial; the networks are built from its seed, as in training.
        sample_shape: Shape of one sample: [channels, height, width], or [length] of a vector.

    Returns:
        What is probably not meant, in one line; ``None`` for nothing.

    Raises:
        BadNetwork: if a network cannot be trained.
    """
    with seeded(config.seed):
        _refuse_size(config, sample_shape)
        state = _create(config, sample_shape)
        _refuse_layers(config, state.critic)
        if config.training.feature_matching_weight:
            split_critic(state.critic)
        pack = config.training.pack
        num_samples = NUM_SAMPLES * pack
        latents = torch.randn(num_samples, state.latent_dim, generator=state.rng)
        samples = _output("generator", state.generator, latents)
        if samples.shape != (num_samples, *sample_shape):
            raise BadNetwork(
                "generator",
                f"the generator must map latents of shape {tuple(latents.shape)} to samples of "
                f"shape {(num_samples, *sample_shape)}, got {tuple(samples.shape)}",
            )
        if config.training.loss in CRITIC_FREE:
            _refuse_gradients(state, samples)
            return None
        scores = _output("critic", state.critic, packed(samples, pack))
        if scores.shape != (NUM_SAMPLES,):
            raise BadNetwork(
                "critic",
                "the critic must return one score per sample, of shape [batch] or [batch, 1], got "
                f"{scores.numel()} numbers for {NUM_SAMPLES} samples",
            )
        _refuse_gradients(state, samples, scores)
        _refuse_penalty(config, state, packed(samples, pack).detach())
    return _bounded_note(config, scores)


def _bounded_note(config: TrialConfig, scores: Float[Tensor, " batch"]) -> str | None:
    """Describe a critic whose scores are bounded, where the loss is the distance of Wasserstein."""
    node = scores.grad_fn
    while node is not None and node.name().startswith(_RESHAPES):
        node = node.next_functions[0][0]
    last = None if node is None else node.name().removesuffix("0").removesuffix("Backward")
    if config.training.loss not in ("wasserstein", "wgan_div") or last not in _BOUNDS:
        return None
    return (
        f"the critic ends in a {last.lower()}, so that its scores lie in {_BOUNDS[last]}: the "
        "Wasserstein loss needs scores without bounds; take it out"
    )


def _refuse_size(config: TrialConfig, sample_shape: tuple[int, ...]) -> None:
    """Count the parameters of built-in networks on the meta device, which allocates none."""
    networks = config.networks
    critic_shape = packed_shape(sample_shape, config.training.pack)
    builders: dict[Player, Callable[[], nn.Module]] = {
        "generator": lambda: build_generator(networks, sample_shape),
        "critic": lambda: build_critic(
            networks, critic_shape, config.training.constraint, loss=config.training.loss
        ),
    }
    most = _memory_bytes()
    for player, build in builders.items():
        if getattr(networks, player) is not None:
            continue  # a custom network may read values while it is built, of which meta has none
        with torch.device("meta"):
            num_parameters = sum(parameter.numel() for parameter in build().parameters())
        needed = num_parameters * BYTES_PER_PARAMETER
        if needed > most:
            raise BadNetwork(
                f"{player}_width",
                f"must be smaller, or {player}_depth: the {player} has {num_parameters:,} "
                f"parameters, which take {needed / 1e9:,.1f} GB in training, and this machine has "
                f"{most / 1e9:,.1f} GB",
            )


def _memory_bytes() -> int:
    """Return the memory of this machine, or of the container that limits it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else ""
    return min(total, int(text)) if text.isdigit() else total


def _create(config: TrialConfig, sample_shape: tuple[int, ...]) -> TrainState:
    try:
        return TrainState.create(config, sample_shape, torch.device("cpu"))
    except BadNetwork:
        raise
    except ValueError as error:  # the constraint cannot bound the critic
        raise BadNetwork("critic", str(error)) from error


def _refuse_layers(config: TrialConfig, critic: nn.Module) -> None:
    """Refuse the layers of a custom critic that the keys of a built-in one may not have either."""
    possible = {key: (value,) for key, value in config.training}
    for rule in REFUSED:
        others = rule.others(possible)
        if rule.key not in _LAYERS or not others:
            continue
        named = _LAYERS[rule.key]
        names = named if rule.values is ABOVE_ZERO else rule.values
        kinds = tuple(kind for name in names for kind in named[name])
        refused = [
            f"{type(layer).__name__} ({name})"
            for name, layer in critic.named_modules()
            if isinstance(layer, kinds)
        ]
        if refused:
            raise BadNetwork(
                "critic",
                f"the critic must not have {', '.join(refused)} where {rule.other} is {others[0]}: "
                f"{rule.reason}; take it out, or change {rule.other}",
            )


def _output(player: Player, network: nn.Module, inputs: Float[Tensor, "batch *input"]) -> Tensor:
    shape = tuple(inputs.shape)
    try:
        output = network.train()(inputs)
    except Exception as error:
        if isinstance(error, TypeError) and str(error).startswith(_TELLING):
            raise BadNetwork(player, str(error)) from error
        raise BadNetwork(
            player,
            f"the {player} must accept inputs of shape {shape}, but raised {in_one_line(error)}",
        ) from error
    if not isinstance(output, Tensor):
        raise BadNetwork(
            player,
            f"the {player} must return one tensor, got {type(output).__name__}: return the "
            f"{'samples' if player == 'generator' else 'scores'} alone",
        )
    if output.dtype != torch.float32:
        raise BadNetwork(player, f"the {player} must return torch.float32, got {output.dtype}")
    if not output.isfinite().all():
        raise BadNetwork(
            player,
            f"the {player} must return finite numbers with its initial weights, got nan or inf for "
            f"inputs of shape {shape}",
        )
    return output


def _refuse_gradients(
    state: TrainState,
    samples: Float[Tensor, "batch *sample"],
    scores: Float[Tensor, " packs"] | None = None,
) -> None:
    """Check that the gradient of the mean score reaches the parameters of both networks.

    Without scores, that of the samples must reach the generator's.
    """
    if not samples.requires_grad:
        raise BadNetwork("generator", _cut_off("generator's samples", "its parameters"))
    sample_grads = torch.ones_like(samples)
    if scores is not None:
        trained = _trained(state.critic)
        inputs = [samples, *trained.values()]
        sample_grads, *critic_grads = _gradients("critic", scores.mean(), inputs)
        if sample_grads is None:
            raise BadNetwork("critic", _cut_off("critic's scores", "the samples"))
        _refuse_unused("critic", trained, critic_grads)
    trained = _trained(state.generator)
    generator_grads = _gradients("generator", samples, [*trained.values()], sample_grads)
    _refuse_unused("generator", trained, generator_grads)


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def _gradients(
    player: Player, output: Tensor, inputs: Sequence[Tensor], output_grads: Tensor | None = None
) -> Sequence[Tensor | None]:
    """Compute the gradient by each input; ``None`` if the output does not depend on it."""
    if not output.requires_grad:
        return [None] * len(inputs)
    try:
        return torch.autograd.grad(output, inputs, output_grads, allow_unused=True)
    except RuntimeError as error:
        raise BadNetwork(
            player, f"the {player} must be differentiable, but raised {in_one_line(error)}"
        ) from error


def _refuse_unused(
    player: Player, trained: Mapping[str, nn.Parameter], gradients: Sequence[Tensor | None]
) -> None:
    """Refuse parameters without a gradient, which a training step could not change."""
    unused = [name for name, grad in zip(trained, gradients, strict=True) if grad is None]
    if unused:
        output = "generator's samples" if player == "generator" else "critic's scores"
        shown = ", ".join(unused[:3]) + (f" and {len(unused) - 3} more" if unused[3:] else "")
        raise BadNetwork(
            player,
            f"{_cut_off(output, f'all its parameters, also {shown}')}; freeze parameters that are "
            "not to be trained (requires_grad = False)",
        )


def _cut_off(output: str, inputs: str) -> str:
    return (
        f"the {output} must depend on {inputs}, but no gradient arrives: remove what cuts it off "
        "(detach, no_grad, a conversion to numbers)"
    )


def _refuse_penalty(
    config: TrialConfig, state: TrainState, samples: Float[Tensor, "batch *sample"]
) -> None:
    """Check that the critic can be differentiated twice, where a penalty needs it."""
    training = config.training
    if training.constraint in PENALTIES:
        penalised_by = f"constraint is {training.constraint}"
        penalty = partial(PENALTIES[training.constraint], fake=samples, rng=state.rng)
    elif training.div_power is not None:
        penalised_by = f"loss is {training.loss}"
        penalty = partial(power_penalty, fake=samples, rng=state.rng, power=training.div_power)
    elif training.r1_weight or training.r2_weight:
        key = "r1_weight" if training.r1_weight else "r2_weight"
        penalised_by, penalty = f"{key} is above 0", zero_centred_penalty
    else:
        return
    try:
        penalty(state.critic, samples).backward()
    except RuntimeError as error:
        raise BadNetwork(
            "critic",
            f"the critic must be differentiable twice where {penalised_by}, but raised "
            f"{in_one_line(error)}; change one of the two",
        ) from error
