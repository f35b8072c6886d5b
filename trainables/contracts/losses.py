"""The contract of a pair of losses."""

from collections.abc import Callable

import torch
from torch import Tensor

from trainables.contracts.require import require

#: Scores at which a loss and its gradient must be finite.
_SCORES = (-1e4, -10.0, 0.0, 10.0, 1e4)


def check_loss(
    critic_loss: Callable[[Tensor, Tensor], Tensor],
    generator_loss: Callable[[Tensor], Tensor],
    divergence: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Check the losses of both networks.

    Each must be a scalar, the mean over its batch, and finite with a finite gradient at all scores
    from -1e4 to 1e4. A step down the critic's loss must raise the scores of real samples and lower
    those of generated ones; a step down the generator's must raise the latter.

    Args:
        critic_loss: Maps scores [batch] of real and of generated samples to the critic's loss.
        generator_loss: Maps scores [batch] of generated samples to the generator's loss.
        divergence: Maps the critic's loss to the logged estimate, which must be 0 for a critic
            whose scores are all 0, and larger for one that separates real from generated samples.

    Raises:
        AssertionError: if a loss breaks one of these rules.
    """
    for score in _SCORES:
        scores = torch.full((3,), score, requires_grad=True)
        _check_finite("critic's", critic_loss(scores, scores), scores)
        _check_finite("generator's", generator_loss(scores), scores)
    real, fake = torch.tensor([0.5, -0.2, 1.0]), torch.tensor([0.1, 0.4, -0.6])
    _check_mean("critic's", critic_loss(real, fake), critic_loss(real.repeat(2), fake.repeat(2)))
    _check_mean("generator's", generator_loss(fake), generator_loss(fake.repeat(2)))
    at = torch.full((1,), 0.3)
    require(
        _slope(lambda score: critic_loss(score, at)) < 0,
        "the critic's loss must decrease with the scores of real samples, but does not",
    )
    require(
        _slope(lambda score: critic_loss(at, score)) > 0,
        "the critic's loss must increase with the scores of generated samples, but does not",
    )
    require(
        _slope(generator_loss) < 0,
        "the generator's loss must decrease with the scores of its samples, but does not",
    )
    if divergence is not None:
        zeros, threes = torch.zeros(3), torch.full((3,), 3.0)
        blind = divergence(critic_loss(zeros, zeros))
        require(
            blind.abs() < 1e-5,
            f"the divergence must be 0 where all scores are 0, got {blind.item():.3g}",
        )
        require(
            divergence(critic_loss(threes, -threes)) > blind,
            "the divergence must increase as the critic separates real from generated samples, but "
            "does not",
        )


def _check_finite(whose: str, loss: Tensor, scores: Tensor) -> None:
    require(
        loss.shape == (), f"the {whose} loss must be a scalar, got a shape of {tuple(loss.shape)}"
    )
    (gradient,) = torch.autograd.grad(loss, scores)
    require(
        loss.isfinite() and gradient.isfinite().all(),
        f"the {whose} loss and its gradient must be finite, got {loss.item():.3g} and "
        f"{gradient[0].item():.3g} at scores of {scores[0].item():g}",
    )


def _check_mean(whose: str, once: Tensor, twice: Tensor) -> None:
    require(
        torch.allclose(once, twice, rtol=1e-4, atol=1e-6),
        f"the {whose} loss must be a mean over its batch, but a batch that is repeated changes it "
        f"from {once.item():.3g} to {twice.item():.3g}",
    )


def _slope(loss: Callable[[Tensor], Tensor]) -> float:
    score = torch.full((1,), 0.3, requires_grad=True)
    return torch.autograd.grad(loss(score), score)[0].item()
