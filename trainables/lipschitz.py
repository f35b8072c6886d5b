"""What keeps a critic Lipschitz: weight clipping and gradient penalties, as pure functions.

A critic maps samples [batch, *sample] to scores [batch], each score by its own sample alone.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Critic = Callable[[Tensor], Tensor]

# Without it the square root's derivative at a zero gradient is infinite, and the weights NaN.
_INSIDE_ROOT = 1e-12


def clip_weights_(critic: nn.Module, clip_value: float) -> None:
    """Clamp every parameter to [-clip_value, clip_value], in place (Arjovsky 2017, Algorithm 1).

    Belongs after the optimiser's step: before it, the step would leave the box again.
    """
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-clip_value, clip_value)


def gradient_penalty(
    critic: Critic,
    real: Float[Tensor, "batch *sample"],
    fake: Float[Tensor, "batch *sample"],
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """Mean of (|grad f| - 1)^2 between real and fake: two-sided (Gulrajani 2017, eq. 3).

    Without its weight lambda; differentiable by the critic's parameters, constant in the samples.
    ``rng`` lives on the samples' device and gives one coefficient a sample.
    """
    return (_norms_between(critic, real, fake, rng) - 1).square().mean()


def one_sided_penalty(
    critic: Critic,
    real: Float[Tensor, "batch *sample"],
    fake: Float[Tensor, "batch *sample"],
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """Mean of max(0, |grad f| - 1)^2 between real and fake: WGAN-LP (Petzka 2018, eq. 8).

    Arguments and derivatives are those of ``gradient_penalty``.
    """
    return (_norms_between(critic, real, fake, rng) - 1).relu().square().mean()


def gradient_norms(
    critic: Critic, samples: Float[Tensor, "batch *sample"]
) -> Float[Tensor, " batch"]:
    """L2 norm of each score's gradient by its whole sample, for logging: not differentiable."""
    return _gradient_norms(critic, samples, create_graph=False)


def interpolate(
    real: Float[Tensor, "batch *sample"],
    fake: Float[Tensor, "batch *sample"],
    coefficients: Float[Tensor, " batch"],
) -> Float[Tensor, "batch *sample"]:
    """Go a fraction of the straight way from each real to its fake sample: 0 is real, 1 fake."""
    return torch.lerp(real, fake, coefficients.view(-1, *[1] * (real.ndim - 1)))


def _norms_between(
    critic: Critic, real: Tensor, fake: Tensor, rng: torch.Generator
) -> Float[Tensor, " batch"]:
    coefficients = torch.rand(len(real), generator=rng, dtype=real.dtype, device=real.device)
    return _gradient_norms(critic, interpolate(real, fake, coefficients), create_graph=True)


def _gradient_norms(critic: Critic, samples: Tensor, *, create_graph: bool) -> Tensor:
    samples = samples.detach().requires_grad_()
    # The sum's gradient is every score's own, for a score depends on no sample but its own.
    (gradients,) = torch.autograd.grad(critic(samples).sum(), samples, create_graph=create_graph)
    return (gradients.flatten(1).square().sum(1) + _INSIDE_ROOT).sqrt()
