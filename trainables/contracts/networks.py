"""The contracts of generators and critics."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from trainables.config import AUTOENCODING, DEFAULT_CONSTRAINT, DEFAULT_LOSS, Constraint, Loss
from trainables.contracts.laws import (
    build,
    check_batch,
    check_evaluation,
    check_gradients,
    check_weights,
    draw,
    output,
)
from trainables.contracts.require import require
from trainables.networks import BadNetwork, as_autoencoder, in_one_line
from trainables.training import PENALTIES, prepare_

Make = Callable[..., nn.Module]

_BATCH_SIZE = 4
#: Latents so large that an output without a bound would leave the range of pixels.
_LARGE_LATENTS = 1e3


def check_generator(
    make: Make, *, latent_dim: int, sample_shape: tuple[int, ...], **args: Any
) -> None:
    """Check a generator, built as ``make(latent_dim=..., sample_shape=..., **args)``.

    It must map latents [batch, latent_dim] to finite float32 samples [batch, *sample_shape], which
    depend on every latent coordinate and, for images, lie in [-1, 1]. Gradients must arrive at
    every parameter that is not frozen. Its weights must follow from the global seed, and all that
    it computes from its ``state_dict``. It must be possible to copy it, for ``ema_decay``. In
    evaluation mode a sample must follow from its own latent alone.

    Args:
        make: The class or function.
        latent_dim: Length of a latent vector.
        sample_shape: Shape of one sample: [channels, height, width], or [length] of a vector.
        args: The keyword arguments of ``generator_args``.

    Raises:
        AssertionError: if the generator breaks one of these rules.
    """
    shapes = {"latent_dim": latent_dim, "sample_shape": sample_shape}

    def make_under(seed: int) -> nn.Module:
        return build("generator", make, seed, shapes | args)

    generator, latents = make_under(0), draw(_BATCH_SIZE, latent_dim).requires_grad_()
    samples = output("generator", generator, latents)
    expected = (_BATCH_SIZE, *sample_shape)
    require(
        samples.shape == expected,
        f"the generator must map latents of shape {tuple(latents.shape)} to samples of shape "
        f"{expected}, got {tuple(samples.shape)}",
    )
    if len(sample_shape) == 3:
        bound = output("generator", generator, _LARGE_LATENTS * latents.detach()).abs().max()
        require(
            bound <= 1 + 1e-5,
            "the generator must return images in [-1, 1] for all latents, got a pixel of absolute "
            f"value {bound:.3g}: end it with a tanh",
        )
    check_gradients("generator", generator, samples, latents)
    check_weights("generator", make_under, latents.detach())
    check_evaluation("generator", generator, latents.detach())
    _check_copy(generator, latents.detach())


def check_critic(
    make: Make,
    *,
    sample_shape: tuple[int, ...],
    constraint: Constraint | None = DEFAULT_CONSTRAINT,
    loss: Loss = DEFAULT_LOSS,
    **args: Any,
) -> None:
    """Check a critic, built as ``make(sample_shape=..., **args)``.

    It must map samples [batch, *sample_shape] to finite float32 scores [batch] or [batch, 1], which
    depend on the samples. Gradients must arrive at every parameter that is not frozen. Its weights
    must follow from the global seed, and all that it computes from its ``state_dict``. In
    evaluation mode a score must follow from its own sample alone; under a gradient penalty also in
    training mode, and it must be differentiable twice (Gulrajani 2017, section 4).

    Under a loss whose critic is an autoencoder, it must have the modules ``encoder`` and
    ``decoder``, and all this holds for the scores that are made of its reconstructions.

    Args:
        make: The class or function.
        sample_shape: Shape of one sample: [channels, height, width], or [length] of a vector.
        constraint: The constraint under which it is to be trained. Only under wasserstein.
        loss: The loss by which it is to be trained.
        args: The keyword arguments of ``critic_args``.

    Raises:
        AssertionError: if the critic breaks one of these rules.
    """

    constraint = constraint if loss == "wasserstein" else None

    def make_under(seed: int) -> nn.Module:
        critic = build("critic", make, seed, {"sample_shape": sample_shape} | args)
        if loss in AUTOENCODING:
            try:
                critic = as_autoencoder(critic, "the critic", loss)
            except BadNetwork as error:
                raise AssertionError(str(error)) from error
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            try:
                prepare_(critic, constraint)
            except ValueError as error:
                raise AssertionError(f"the critic must fit its constraint: {error}") from error
        return critic

    critic, samples = make_under(0), draw(_BATCH_SIZE, *sample_shape).requires_grad_()
    scores = output("critic", critic, samples)
    require(
        scores.shape in ((_BATCH_SIZE,), (_BATCH_SIZE, 1)),
        f"the critic must return one score per sample, of shape {(_BATCH_SIZE,)} or "
        f"{(_BATCH_SIZE, 1)}, got {tuple(scores.shape)}",
    )
    check_gradients("critic", critic, scores, samples)
    check_weights("critic", make_under, samples.detach())
    check_evaluation("critic", critic, samples.detach())
    if constraint in PENALTIES:
        critic.train()
        check_batch("critic", critic, samples.detach(), f"under {constraint}")
        _check_second_derivative(nn.Sequential(critic, nn.Flatten(0)), constraint, samples.detach())


def _check_second_derivative(
    critic: nn.Module, constraint: Constraint | None, real: Tensor
) -> None:
    rng = torch.Generator().manual_seed(0)
    try:
        # Not autograd.grad, which skips functions that refuse to be differentiated twice.
        PENALTIES[constraint](critic, real, -real, rng).backward()
    except RuntimeError as error:
        raise AssertionError(
            f"the critic must be differentiable twice under {constraint}, but raised "
            f"{in_one_line(error)}"
        ) from error
    require(
        all(p.grad.isfinite().all() for p in critic.parameters() if p.grad is not None),
        f"the critic's second derivatives must be finite under {constraint}, got nan or inf",
    )


def _check_copy(generator: nn.Module, latents: Tensor) -> None:
    before = output("generator", generator, latents)
    try:
        copy = deepcopy(generator)
    except Exception as error:
        raise AssertionError(
            "the generator must be copyable by copy.deepcopy, which ema_decay needs, but raised "
            f"{in_one_line(error)}"
        ) from error
    require(
        torch.equal(output("generator", copy, latents), before),
        "a copy of the generator must compute the same samples, but they differ",
    )
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.add_(1)
    require(
        torch.equal(output("generator", generator, latents), before),
        "a copy of the generator must have its own weights, but changing them changes the original",
    )
