"""Whether a trial's networks can be trained: found out in a moment, before any trial starts."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from trainables.config import REFUSED, TrialConfig
from trainables.networks import BadNetwork, Player, in_one_line
from trainables.training import PENALTIES, TrainState

NUM_SAMPLES = 2

#: What a norm's name stands for in a network that somebody else wrote.
_NORMS: dict[str, tuple[type[nn.Module], ...]] = {
    "batch": (_BatchNorm,),
    "layer": (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    "instance": (_InstanceNorm,),
}


def check(config: TrialConfig, sample_shape: tuple[int, ...]) -> None:
    """Build a trial's players, pass two samples through both, and a gradient back, on the CPU.

    The global RNG stays where it is.

    Args:
        config: The trial; its seed makes the networks, as in training.
        sample_shape: Of one sample: [channels, height, width], or the length of a vector.

    Raises:
        BadNetwork: where a network does not give what training needs.
    """
    with torch.random.fork_rng(devices=[]):
        state = _created(config, sample_shape)
        _refuse_norms(config, state.critic)
        latents = torch.randn(NUM_SAMPLES, state.latent_dim, generator=state.rng)
        samples = _output("generator", state.generator, latents)
        if samples.shape != (NUM_SAMPLES, *sample_shape):
            raise BadNetwork(
                "generator",
                f"the generator must map latents of shape {tuple(latents.shape)} to samples of "
                f"shape {(NUM_SAMPLES, *sample_shape)}, got {tuple(samples.shape)}",
            )
        scores = _output("critic", state.critic, samples)
        if scores.shape != (NUM_SAMPLES,):
            raise BadNetwork(
                "critic",
                "the critic must give one score a sample, of shape [batch] or [batch, 1], got "
                f"{scores.numel()} numbers for {NUM_SAMPLES} samples",
            )
        _refuse_gradients(state, samples, scores)
        _refuse_penalty(config, state, samples.detach())


def _created(config: TrialConfig, sample_shape: tuple[int, ...]) -> TrainState:
    try:
        return TrainState.create(config, sample_shape, torch.device("cpu"))
    except BadNetwork:
        raise
    except ValueError as error:  # the constraint's, which cannot bound the critic
        raise BadNetwork("critic", str(error)) from error


def _refuse_norms(config: TrialConfig, critic: nn.Module) -> None:
    """What ``critic_norm`` may not be, a critic of the user's own must not have either."""
    constraint = config.training.constraint
    for rule in REFUSED:
        if rule.key != "critic_norm" or constraint not in rule.other_values:
            continue
        kinds = tuple(kind for name in rule.values for kind in _NORMS[name])
        found = [
            f"{type(layer).__name__} ({name})"
            for name, layer in critic.named_modules()
            if isinstance(layer, kinds)
        ]
        if found:
            raise BadNetwork(
                "critic",
                f"the critic must not have {', '.join(found)} where constraint is {constraint}: "
                f"{rule.reason}; take it out, or change constraint",
            )


def _output(player: Player, network: nn.Module, inputs: Float[Tensor, "batch *input"]) -> Tensor:
    shape = tuple(inputs.shape)
    try:
        output = network.train()(inputs)
    except Exception as error:
        raise BadNetwork(
            player,
            f"the {player} must accept inputs of shape {shape}, but raised {in_one_line(error)}",
        ) from error
    if not isinstance(output, Tensor):
        raise BadNetwork(player, f"the {player} must give one tensor, got {type(output).__name__}")
    if output.dtype != torch.float32:
        raise BadNetwork(player, f"the {player} must give torch.float32, got {output.dtype}")
    if not output.isfinite().all():
        raise BadNetwork(
            player,
            f"the {player} must give finite numbers with its initial weights, got nan or inf for "
            f"inputs of shape {shape}",
        )
    return output


def _refuse_gradients(
    state: TrainState, samples: Float[Tensor, "batch *sample"], scores: Float[Tensor, " batch"]
) -> None:
    """Pass the mean score's gradient back to the critic's parameters, and on to the generator's."""
    if not samples.requires_grad:
        raise BadNetwork("generator", _cut_off("generator's samples", "its parameters"))
    inputs = [samples, *state.critic.parameters()]
    of_samples, *of_critic = _gradients("critic", scores.mean(), inputs)
    if of_samples is None:
        raise BadNetwork("critic", _cut_off("critic's scores", "the samples"))
    _refuse_unused("critic", state.critic, of_critic)
    of_generator = _gradients("generator", samples, [*state.generator.parameters()], of_samples)
    _refuse_unused("generator", state.generator, of_generator)


def _gradients(
    player: Player, output: Tensor, inputs: Sequence[Tensor], of_output: Tensor | None = None
) -> Sequence[Tensor | None]:
    """The output's gradient by each input; ``None`` where no path leads from one to the other."""
    if not output.requires_grad:
        return [None] * len(inputs)
    tracked = [tensor for tensor in inputs if tensor.requires_grad]
    try:
        gradients = iter(torch.autograd.grad(output, tracked, of_output, allow_unused=True))
    except RuntimeError as error:
        raise BadNetwork(
            player, f"the {player} must have gradients, but raised {in_one_line(error)}"
        ) from error
    return [next(gradients) if tensor.requires_grad else None for tensor in inputs]


def _refuse_unused(player: Player, network: nn.Module, gradients: Sequence[Tensor | None]) -> None:
    """A step of training takes the gradient by every parameter of a player."""
    names = [name for name, _ in network.named_parameters()]
    unused = [name for name, of in zip(names, gradients, strict=True) if of is None]
    if unused:
        of = "generator's samples" if player == "generator" else "critic's scores"
        shown = ", ".join(unused[:3]) + (f" and {len(unused) - 3} more" if unused[3:] else "")
        raise BadNetwork(
            player,
            f"{_cut_off(of, f'all its parameters, {shown} too')}; what is not to be trained is a "
            "buffer",
        )


def _cut_off(output: str, inputs: str) -> str:
    return (
        f"the {output} must depend on {inputs}, but no gradient gets there: take out what cuts it "
        "off (detach, no_grad, a tensor made anew)"
    )


def _refuse_penalty(
    config: TrialConfig, state: TrainState, samples: Float[Tensor, "batch *sample"]
) -> None:
    """A penalty is of a gradient, and has one itself: some operations have no second one."""
    constraint = config.training.constraint
    if constraint not in PENALTIES:
        return
    try:
        PENALTIES[constraint](state.critic, samples, samples, state.rng).backward()
    except RuntimeError as error:
        raise BadNetwork(
            "critic",
            f"the critic must be differentiable twice where constraint is {constraint}, but raised "
            f"{in_one_line(error)}; change the one or the other",
        ) from error
