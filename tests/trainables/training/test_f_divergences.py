"""The bounds of f-GAN against the divergences that they bound, from their definitions."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from trainables.config import Divergence, TrainingConfig
from trainables.training.f_divergences import ACTIVATION, CONJUGATE
from trainables.training.losses import critic_loss, divergence, generator_loss

DIVERGENCES = get_args(Divergence)
POINTS = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
P, Q = (Normal(torch.tensor(mean).double(), std) for mean, std in ((0.0, 1.0), (0.5, 0.9)))

#: The f of each divergence (Nowozin 2016, table 1), of the ratio u = p / q.
F = {
    "kl": lambda u: u * u.log(),
    "reverse_kl": lambda u: -u.log(),
    "pearson": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (1 - u) ** 2 / u,
    "squared_hellinger": lambda u: (u.sqrt() - 1) ** 2,
    "jensen_shannon": lambda u: u * u.log() - (u + 1) * ((1 + u) / 2).log(),
    "total_variation": lambda u: (u - 1).abs() / 2,
}
#: The optimal score of each, where g(v) = f'(u).
BEST = {
    "kl": lambda u: 1 + u.log(),
    "reverse_kl": torch.log,
    "pearson": lambda u: 2 * (u - 1),
    "neyman": lambda u: 2 * u.log(),
    "squared_hellinger": lambda u: u.log() / 2,
    "jensen_shannon": torch.log,
    "total_variation": lambda u: 50 * (u - 1).sign(),
}
#: The slopes at the score 1 of f*(g(v)) and of g(v), worked by hand.
SLOPES = {
    "kl": (1, 1),
    "reverse_kl": (1, math.exp(-1)),
    "pearson": (1.5, 1),
    "neyman": (math.exp(-0.5), math.exp(-1)),
    "squared_hellinger": (math.e, math.exp(-1)),
    "jensen_shannon": (1 / (1 + math.exp(-1)), 1 / (1 + math.e)),
    "total_variation": ((1 - math.tanh(1) ** 2) / 2,) * 2,
}


def config_of(name: str, kind: str = "alternative") -> TrainingConfig:
    given = {"loss": "f_gan", "divergence": name, "generator_loss": kind}
    return TrainingConfig.model_validate(given)


def mean(density: Normal, values: Tensor) -> float:
    return torch.trapezoid(density.log_prob(POINTS).exp() * values, POINTS).item()


def bound(name: str, scores: Tensor) -> float:
    return mean(P, ACTIVATION[name](scores)) - mean(Q, CONJUGATE[name](scores))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_bound_of_two_gaussians_is_tight_at_the_optimal_critic_and_below_it_elsewhere(
    name,
) -> None:
    ratio = (P.log_prob(POINTS) - Q.log_prob(POINTS)).exp()
    exact, best = mean(Q, F[name](ratio)), BEST[name](ratio)
    assert exact > 0.05
    assert bound(name, best) == pytest.approx(exact, rel=1e-3)
    for other in (0.5 * best, best + 0.3, best + 0.3 * POINTS.sin()):
        assert bound(name, other) < exact + 1e-6


def test_the_directions_of_kl_are_the_known_ones() -> None:
    """KL(N(0, 1) | N(0.5, 0.9^2)) = log 0.9 + (1 + 0.25) / (2 * 0.81) - 1/2, and the reverse."""
    log_ratio = P.log_prob(POINTS) - Q.log_prob(POINTS)
    forward = math.log(0.9) + 1.25 / (2 * 0.81) - 0.5
    reverse = -math.log(0.9) + (0.81 + 0.25) / 2 - 0.5
    assert bound("kl", 1 + log_ratio) == pytest.approx(forward, rel=1e-4)
    assert bound("reverse_kl", log_ratio) == pytest.approx(reverse, rel=1e-4)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_activation_increases_with_the_score(name) -> None:
    assert (ACTIVATION[name](torch.linspace(-15, 15, 301).double()).diff() > 0).all()


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_losses_are_the_bound_and_the_two_losses_of_the_generator(name) -> None:
    real, fake = torch.tensor([0.5, -1.0]), torch.tensor([0.25, 2.0])
    config = config_of(name)
    lost = critic_loss(config, real, fake)
    expected = ACTIVATION[name](real).mean() - CONJUGATE[name](fake).mean()
    assert divergence(config, lost).item() == -lost.item() == pytest.approx(expected.item())
    for kind, known in zip(("saturating", "alternative"), SLOPES[name], strict=True):
        score = torch.ones(1, dtype=torch.float64, requires_grad=True)
        generator_loss(config_of(name, kind), score).backward()
        assert score.grad is not None
        assert score.grad.item() == pytest.approx(-known)


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("score", [-1e30, -1e5, -20.0, 20.0, 1e5, 1e30])
def test_every_term_and_its_slope_are_finite_at_any_score(name, score: float) -> None:
    scores = torch.tensor([score], requires_grad=True)
    for term in (ACTIVATION[name], CONJUGATE[name]):
        (slope,) = torch.autograd.grad(term(scores).sum(), scores)
        assert term(scores).isfinite().all()
        assert slope.isfinite().all()
