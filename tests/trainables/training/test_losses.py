"""Both losses against closed forms: values, derivatives, and the limits of the estimate."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.config import CRITIC_FREE, Loss, TrainingConfig
from trainables.training.losses import critic_loss, divergence, generator_loss, pulling_away

LOSSES = [loss for loss in get_args(Loss) if loss not in CRITIC_FREE]
#: Those whose critic classifies each sample by itself.
CLASSIFYING = ["minimax", "non_saturating"]
logits = st.floats(-30, 30)


def of(loss) -> TrainingConfig:
    return TrainingConfig(loss=loss)


def one(score: float) -> Tensor:
    return torch.tensor([score], dtype=torch.float64)


def slope(loss, score: float) -> float:
    """Differentiate the loss of one sample by its score."""
    at = one(score).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(at), at)
    return gradient.item()


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


@pytest.mark.parametrize("loss", CLASSIFYING)
def test_a_critic_of_zero_scores_has_a_loss_of_2_log_2_and_estimates_no_divergence(loss) -> None:
    """D = 1/2 everywhere: -(log 1/2 + log 1/2)."""
    lost = critic_loss(of(loss), torch.zeros(5), torch.zeros(5))
    assert lost.item() == pytest.approx(2 * math.log(2))
    assert divergence(of(loss), lost).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", CLASSIFYING)
def test_a_critic_that_is_certain_and_right_has_no_loss_and_estimates_log_2(loss) -> None:
    lost = critic_loss(of(loss), torch.full((5,), 1e4), torch.full((5,), -1e4))
    assert lost.item() == 0
    assert divergence(of(loss), lost).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", CLASSIFYING)
@given(shares=st.lists(st.floats(0.01, 0.99), min_size=2, max_size=2))
def test_the_optimal_critic_estimates_the_jensen_shannon_divergence(loss, shares) -> None:
    """Two coins: D* = p / (p + q) (Goodfellow 2014, proposition 1), and JS from its definition."""
    p, q = ([share, 1 - share] for share in shares)
    scores = [math.log(a / b) for a, b in zip(p, q, strict=True)]  # the logit of D*
    # A mean over all samples is a mean over sides of the coin, each by its share.
    of_real, of_fake = (
        sum(w * critic_loss(of(loss), one(s), one(-1e9)) for w, s in zip(p, scores, strict=True)),
        sum(w * critic_loss(of(loss), one(1e9), one(s)) for w, s in zip(q, scores, strict=True)),
    )
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    js = sum(
        0.5 * share * math.log(share / m)
        for side in (p, q)
        for share, m in zip(side, middle, strict=True)
    )
    assert divergence(of(loss), of_real + of_fake).item() == pytest.approx(js, abs=1e-9)


@given(real=logits, fake=logits)
def test_the_relativistic_losses_have_the_known_values_and_slopes(real: float, fake: float) -> None:
    """-log sigmoid of the difference, whose derivative is sigmoid - 1 (Huang 2024, eq. 2)."""
    config, difference = of("relativistic"), real - fake
    lost = critic_loss(config, one(real), one(fake))
    assert lost.item() == pytest.approx(math.log1p(math.exp(-difference)), abs=1e-8)
    assert divergence(config, lost).item() == pytest.approx(math.log(2) - lost.item())
    by_real = slope(lambda s: critic_loss(config, s, one(fake)), real)
    by_fake = slope(lambda s: critic_loss(config, one(real), s), fake)
    assert by_real == pytest.approx(-sigmoid(-difference))
    assert by_fake == -by_real
    of_generator = slope(lambda s: generator_loss(config, s, one(real)), fake)
    assert of_generator == pytest.approx(-sigmoid(difference))


def test_relativistic_losses_compare_pairs_and_not_means() -> None:
    """Pairs (3, 0) and (0, 3), whose means are equal: half of softplus(-3) + softplus(3)."""
    real, fake = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    expected = (math.log1p(math.exp(-3)) + math.log1p(math.exp(3))) / 2
    config = of("relativistic")
    assert critic_loss(config, real, fake).item() == pytest.approx(expected)
    assert generator_loss(config, fake, real).item() == pytest.approx(expected)


def test_a_relativistic_generator_needs_scores_of_real_samples() -> None:
    with pytest.raises(ValueError, match="relativistic needs the scores of real samples, got none"):
        generator_loss(of("relativistic"), one(0.0))


@pytest.mark.parametrize("loss", CRITIC_FREE)
def test_a_loss_without_a_critic_has_no_loss_of_scores(loss) -> None:
    for of_scores in (
        lambda: critic_loss(of(loss), one(0), one(0)),
        lambda: generator_loss(of(loss), one(0)),
        lambda: divergence(of(loss), torch.tensor(0.0)),
    ):
        with pytest.raises(ValueError, match=f"{loss} trains no critic, so it has no loss of sco"):
            of_scores()


@given(real=st.floats(-20, 0), fake=st.floats(-20, 0), margin=st.floats(0.1, 10))
def test_ebgans_losses_have_the_known_values_and_slopes(real, fake, margin) -> None:
    """D(x) + [m - D(G)]_+ of the errors D = -score, and D(G) (Zhao 2016, eq. 1 and 2)."""
    config = TrainingConfig(loss="ebgan", margin=margin)
    lost = critic_loss(config, one(real), one(fake))
    assert lost.item() == pytest.approx(-real + max(0, margin + fake))
    assert slope(lambda s: critic_loss(config, s, one(fake)), real) == -1
    if abs(margin + fake) > 1e-9:
        by_fake = slope(lambda s: critic_loss(config, one(real), s), fake)
        assert by_fake == (1 if -fake < margin else 0)
    assert generator_loss(config, one(fake)).item() == -fake
    assert slope(lambda s: generator_loss(config, s), fake) == -1


@given(real=st.floats(-20, 0), fake=st.floats(-20, 0))
def test_began_estimates_the_difference_of_the_mean_errors(real, fake) -> None:
    lost = critic_loss(of("began"), one(real), one(fake))
    assert divergence(of("began"), lost).item() == pytest.approx(real - fake)
    assert generator_loss(of("began"), one(fake)).item() == -fake


@given(shares=st.lists(st.floats(0.01, 0.99), min_size=2, max_size=2))
def test_ebgans_optimal_critic_estimates_the_total_variation(shares) -> None:
    """Two coins: the error is m where generated samples are denser (Zhao 2016, section 2.2)."""
    config = TrainingConfig(loss="ebgan", margin=3)
    p, q = ([share, 1 - share] for share in shares)
    scores = [0.0 if a >= b else -3.0 for a, b in zip(p, q, strict=True)]
    lost = sum(
        a * critic_loss(config, one(s), one(-9.0)) + b * critic_loss(config, one(0.0), one(s))
        for a, b, s in zip(p, q, scores, strict=True)
    )
    total_variation = sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2
    assert divergence(config, lost).item() == pytest.approx(total_variation, abs=1e-9)


def test_the_pulling_away_term_is_0_for_orthogonal_codes_and_1_for_equal_ones() -> None:
    """Of any length, as it is of directions."""
    orthogonal = torch.diag(torch.tensor([1.0, 5.0, 0.1]))
    assert pulling_away(orthogonal).item() == 0
    equal = torch.tensor([[3.0, 4.0]]) * torch.tensor([[1.0], [2.0], [0.1], [7.0]])
    assert pulling_away(equal).item() == pytest.approx(1)
    assert pulling_away(equal[:1]).item() == 0


def test_the_pulling_away_term_squares_each_cosine() -> None:
    """Codes that omit the square have 1/2 for 60 degrees, and -1 for opposite codes, as the best.

    Of three codes at 0, 60 and 180 degrees the squared cosines are 1/4, 1 and 1/4.
    """
    angles = torch.tensor([0.0, math.pi / 3, math.pi])
    codes = torch.stack([angles.cos(), angles.sin()], 1)
    assert pulling_away(codes[:2]).item() == pytest.approx(1 / 4)
    assert pulling_away(codes[[0, 2]]).item() == pytest.approx(1)
    assert pulling_away(codes).item() == pytest.approx((1 / 4 + 1 + 1 / 4) / 3)
    assert pulling_away(codes.view(3, 1, 2)).item() == pytest.approx(1 / 2)


def test_the_wasserstein_estimate_is_the_difference_of_the_means() -> None:
    lost = critic_loss(of("wasserstein"), torch.tensor([1.0, 2.0]), torch.tensor([0.0, -1.0]))
    assert lost.item() == -2
    assert divergence(of("wasserstein"), lost).item() == 2


@given(score=logits)
def test_the_slopes_of_the_generators_losses_are_the_known_ones(score: float) -> None:
    """d/dl log(1 - D) = -D and d/dl -log D = D - 1, where D = sigmoid(l)."""
    d = sigmoid(score)
    assert slope(lambda s: generator_loss(of("minimax"), s), score) == pytest.approx(-d)
    by_score = slope(lambda s: generator_loss(of("non_saturating"), s), score)
    assert by_score == pytest.approx(-sigmoid(-score))
    assert slope(lambda s: generator_loss(of("wasserstein"), s), score) == -1


@given(real=logits, fake=logits)
def test_the_slopes_of_the_critics_loss_are_the_known_ones(real: float, fake: float) -> None:
    for loss in CLASSIFYING:
        by_real = slope(lambda s, loss=loss: critic_loss(of(loss), s, one(fake)), real)
        by_fake = slope(lambda s, loss=loss: critic_loss(of(loss), one(real), s), fake)
        assert by_real == pytest.approx(-sigmoid(-real))
        assert by_fake == pytest.approx(sigmoid(fake))


def test_minimax_saturates_where_the_critic_is_certain_and_non_saturating_does_not() -> None:
    """The reason that Goodfellow 2014 gives for the second one, section 3."""
    assert abs(slope(lambda s: generator_loss(of("minimax"), s), -20.0)) < 1e-8
    assert slope(lambda s: generator_loss(of("non_saturating"), s), -20.0) == pytest.approx(-1)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("score", [-1e30, -1e4, 0.0, 1e4, 1e30])
def test_every_loss_and_slope_is_finite_at_any_score(loss, score: float) -> None:
    scores = torch.full((3,), score, requires_grad=True)
    for lost in (
        generator_loss(of(loss), scores, scores.detach() / 2),
        critic_loss(of(loss), scores, scores),
    ):
        (gradient,) = torch.autograd.grad(lost, scores)
        assert lost.isfinite()
        assert gradient.isfinite().all()
