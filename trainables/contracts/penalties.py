"""The contract of a gradient penalty."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainables.contracts.require import require

Critic = Callable[[Tensor], Tensor]
#: Called as penalty(critic, real, fake, rng); returns the term without its weight.
Penalty = Callable[[Critic, Tensor, Tensor, torch.Generator], Tensor]

_SHAPES = ((1, 4, 4), (3, 8, 8))


def check_penalty(penalty: Penalty) -> None:
    """Check a gradient penalty, as those in ``training/lipschitz.py``.

    It must be a scalar mean of a function of the gradient norm of each whole sample: 0 at a norm
    of 1, larger the larger the norm is, and differentiable by the critic's parameters, also at a
    zero gradient. It must be constant in the samples, and draw only from its generator.

    Args:
        penalty: Called as ``penalty(critic, real, fake, rng)``; returns the term without its
            weight.

    Raises:
        AssertionError: if the penalty breaks one of these rules.
    """
    _check_values(penalty)
    _check_gradients(penalty)
    _check_rng(penalty)


def _check_values(penalty: Penalty) -> None:
    at_1, at_3, at_5 = (_cost(penalty, slope, (3,))[0] for slope in (1.0, 3.0, 5.0))
    require(abs(at_1) < 1e-3, f"the penalty must be 0 at a gradient norm of 1, got {at_1:.3g}")
    require(
        0 < at_3 < at_5,
        f"the penalty must increase with gradient norms above 1, got {at_3:.3g} at 3 and "
        f"{at_5:.3g} at 5",
    )
    for shape in _SHAPES:
        cost, _ = _cost(penalty, 3.0, shape)
        require(
            math.isclose(cost, at_3, rel_tol=1e-3),
            "the penalty must depend on the gradient norm of each whole sample alone, but at 3 it "
            f"is {at_3:.3g} for samples of shape (3,) and {cost:.3g} for {shape}",
        )


def _check_gradients(penalty: Penalty) -> None:
    for slope in (0.0, 3.0):
        _, gradient = _cost(penalty, slope, (3,))
        require(
            math.isfinite(gradient),
            "the penalty must have a finite gradient by the critic's parameters, got "
            f"{gradient} at a gradient norm of {slope:g}",
        )
    require(
        _cost(penalty, 3.0, (3,))[1] != 0,
        "the penalty must have a gradient by the critic's parameters, got 0 at a gradient norm of "
        "3: build the graph of the norm (create_graph=True)",
    )
    real, fake = _batches((3,))
    fake.requires_grad_()
    total = penalty(_half_square, real, fake, _rng()) + 0 * fake.sum()
    (by_fake,) = torch.autograd.grad(total, fake)
    require(not by_fake.any(), "the penalty must be constant in the samples, but has a gradient")


def _check_rng(penalty: Penalty) -> None:
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        real, fake = _batches((3,))
        one, same = (penalty(_half_square, real, fake, _rng()) for _ in range(2))
        require(
            torch.equal(one, same) and torch.equal(before, torch.get_rng_state()),
            "the penalty must draw only from the generator that it is given",
        )


class _Linear(nn.Module):
    """f(x) = slope * <u, x> with |u| = 1, whose gradient norm is ``slope`` everywhere."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, samples: Tensor) -> Tensor:
        flat = samples.flatten(1)
        return self.slope * flat.sum(1) / flat.shape[1] ** 0.5


def _half_square(samples: Tensor) -> Tensor:
    """Score x by |x|^2 / 2, of gradient x."""
    return samples.flatten(1).square().sum(1) / 2


def _rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _batches(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    rng = _rng()
    return torch.randn((6, *shape), generator=rng), torch.randn((6, *shape), generator=rng)


def _cost(penalty: Penalty, slope: float, shape: tuple[int, ...]) -> tuple[float, float]:
    """Compute the penalty of a linear critic, and its gradient by the slope; 0 for none."""
    critic = _Linear(slope)
    cost = penalty(critic, *_batches(shape), _rng())
    require(cost.shape == (), f"the penalty must be a scalar, got a shape of {tuple(cost.shape)}")
    if not cost.requires_grad:
        return cost.item(), 0.0
    (gradient,) = torch.autograd.grad(cost, critic.slope, allow_unused=True)
    return cost.item(), 0.0 if gradient is None else gradient.item()
