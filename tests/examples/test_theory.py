"""The numbers of the notebook on theory, against closed forms and the claims of the papers."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from examples import theory

pytestmark = pytest.mark.usefixtures("one_thread")
THETAS = (0.3, 1.0, 2.5)


@pytest.mark.parametrize(
    ("source", "target"),
    [((3, 2, 1, 4), (1, 2, 4, 3)), ((1, 0, 0, 0, 2), (0, 0, 3, 0, 0)), ((1, 2, 3), (1, 2, 3))],
)
def test_a_plan_moves_one_histogram_into_the_other_at_the_cost_that_a_critic_proves(
    source, target
) -> None:
    plan = theory.transport_plan(source, target)
    assert plan.moved.sum(1) == pytest.approx(source)
    assert plan.moved.sum(0) == pytest.approx(target)
    at = range(len(source))
    assert plan.w1 == pytest.approx(wasserstein_distance(at, at, source, target) * sum(source))
    assert np.abs(np.diff(plan.potential)).max() <= 1 + 1e-12
    assert plan.dual == pytest.approx(plan.w1)


def test_the_piles_of_the_figure_take_five_units_of_work() -> None:
    """The running sums of the difference are 2, 2, -1, 0 (Weng 2019, arXiv 1904.08994)."""
    plan = theory.transport_plan((3, 2, 1, 4), (1, 2, 4, 3))
    assert plan.w1 == pytest.approx(5)
    assert (plan.moved[0, 2], plan.moved[3, 2]) == (2, 1)


def test_w1_between_parallel_lines_is_their_distance_and_js_is_log_2_however_near_they_are() -> (
    None
):
    """Arjovsky 2017, Example 1: a GAN's critic sees only whether the lines are the same."""
    found = theory.parallel_lines([-0.5, 0, 0.1], num_steps=150)
    assert found.exact_w1 == pytest.approx(np.abs(found.theta), abs=1e-6)
    assert found.w1 == pytest.approx(np.abs(found.theta), abs=0.02)
    assert found.jensen_shannon == pytest.approx([math.log(2), 0, math.log(2)], abs=0.03)


def test_an_estimate_of_an_infinite_divergence_grows_and_the_others_stop() -> None:
    found = theory.estimates_in_training(0.5, [50, 100, 200])
    assert (found["KL"][1:] > 2 * found["KL"][:-1]).all()
    assert found["JS"][1:] == pytest.approx(math.log(2), abs=0.01)
    assert found["W1"][-1] == pytest.approx(0.5, abs=0.05)


def test_a_trained_discriminator_is_near_the_optimal_one_where_there_are_samples() -> None:
    found = theory.optimal_discriminator(num_steps=200)
    assert found.optimal == pytest.approx(found.real / (found.real + found.fake))
    assert found.estimate == pytest.approx(found.exact, abs=0.01)
    where = found.real + found.fake > 0.05
    assert np.abs(found.trained - found.optimal)[where].max() < 0.1


def test_js_of_two_equal_densities_is_0_and_of_two_far_ones_log_2() -> None:
    assert theory.noisy_jensen_shannon(0, 0.3) == pytest.approx(0, abs=1e-9)
    assert theory.noisy_jensen_shannon(6, 0.3) == pytest.approx(math.log(2), abs=1e-9)
    assert theory.noisy_jensen_shannon(0.01, 0) == math.log(2)
    assert theory.noisy_jensen_shannon(0, 0) == 0


def slope_of_js(theta: float, std: float = 1.0) -> float:
    sides = [theory.noisy_jensen_shannon(theta + step, std) for step in (1e-4, -1e-4)]
    return (sides[0] - sides[1]) / 2e-4


@pytest.mark.parametrize("theta", THETAS)
def test_the_gradients_under_an_optimal_critic_are_those_of_known_divergences(theta) -> None:
    """2 JS; KL - 2 JS, where KL is theta^2 / 2 (Arjovsky & Bottou 2017, theorem 2.5); and W1."""
    of_2_js = 2 * slope_of_js(theta)
    assert theory.gradient_at_optimum("minimax", theta) == pytest.approx(of_2_js, rel=1e-5)
    non_saturating = theory.gradient_at_optimum("non_saturating", theta)
    assert non_saturating == pytest.approx(theta - of_2_js, rel=1e-5)
    assert theory.gradient_at_optimum("wasserstein", theta) == pytest.approx(1)


@pytest.mark.parametrize("theta", THETAS)
def test_the_gradient_of_pairs_is_that_of_the_mean_over_all_pairs(theta) -> None:
    """Theta E[sigmoid(f(real) - f(fake))], and f(real) - f(fake) is N(theta^2, 2 theta^2)."""
    half = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).double()
    z = torch.cat([half, -half])
    expected = theta * (theta**2 + math.sqrt(2) * theta * z).sigmoid().mean().item()
    assert theory.gradient_at_optimum("relativistic", theta) == pytest.approx(expected, rel=2e-3)


def test_far_away_the_minimax_gradient_is_gone_and_the_others_are_not() -> None:
    gradients = {loss: theory.gradient_at_optimum(loss, 10.0) for loss in theory.GENERATOR_LOSSES}
    assert 0 < gradients.pop("minimax") < 1e-5
    assert gradients == pytest.approx(
        {"non_saturating": 10, "relativistic": 10, "wasserstein": 1}, rel=1e-4
    )


def test_noise_makes_the_minimax_gradient_that_of_noisy_lines() -> None:
    for std in (0.1, 0.5):
        expected = 2 * slope_of_js(0.3, std)
        assert theory.gradient_at_optimum("minimax", 0.3, std) == pytest.approx(expected, rel=1e-4)


def test_a_critic_under_instance_noise_estimates_js_of_the_noisy_lines() -> None:
    for theta in (0.1, 0.5):
        exact = theory.noisy_jensen_shannon(theta, 0.25)
        assert theory.noisy_critic_estimate(theta, 0.25, num_steps=200) == pytest.approx(
            exact, abs=0.02
        )


def test_a_good_critic_silences_the_minimax_loss_and_makes_the_other_loud() -> None:
    """Arjovsky & Bottou 2017, Figures 2 and 3; a WGAN's critic may be trained on."""
    found = {
        loss: theory.gradient_in_training(loss, [50, 200])
        for loss in ("minimax", "non_saturating", "wasserstein")
    }
    ratios = {
        loss: gradient.mean_norm[1] / gradient.mean_norm[0] for loss, gradient in found.items()
    }
    assert ratios["minimax"] < 0.1
    assert ratios["non_saturating"] > 1
    assert ratios["wasserstein"] > 0.1
    spreads = {loss: gradient.std[1] for loss, gradient in found.items()}
    assert spreads["non_saturating"] > 3 * spreads["wasserstein"] > 3 * spreads["minimax"]


def test_the_gradient_of_log_d_under_noise_is_a_cauchy_variable_and_of_log_1_d_is_not() -> None:
    """Arjovsky & Bottou 2017, theorem 2.6: P(|X| > t) = 1 - 2 arctan(t) / pi, at scale 1."""
    heavy, light = (
        theory.gradients_of_a_noisy_critic(loss, 200_000) for loss in ("non_saturating", "minimax")
    )
    for t in (0.1, 1.0, 10.0, 100.0):
        expected = 1 - 2 * math.atan(t) / math.pi
        assert (np.abs(heavy) > t).mean() == pytest.approx(expected, abs=0.005, rel=0.1)
    assert heavy.var() > 30 * heavy[:1000].var()
    assert light.std() == pytest.approx(0.01, rel=0.02)


def test_clipped_weights_go_to_the_bounds_and_their_gradients_vanish_or_explode() -> None:
    """Gulrajani 2017, Figure 1 (b): by a constant factor a layer; with the penalty they do not."""
    small, large, penalised = (theory.deep_critic(clip, num_steps=60) for clip in (0.01, 0.1, None))
    assert np.abs(small.weights).max() <= 0.01 + 1e-9
    assert small.share_at_bounds > 0.7
    assert penalised.share_at_bounds < 0.01
    assert small.gradient_norms[0] < 1e-6 * small.gradient_norms[-1]
    assert large.gradient_norms[0] > 1e3 * large.gradient_norms[-1]
    assert 0.05 < penalised.gradient_norms[0] / penalised.gradient_norms[-1] < 20


def test_the_gradient_by_a_layer_is_the_product_of_the_weights_after_it() -> None:
    """Where every unit of a critic is active, the gradient does not depend on the points."""
    layers = [torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 3), torch.nn.ReLU()]
    critic = torch.nn.Sequential(*layers, torch.nn.Linear(3, 1), torch.nn.Flatten(0))
    with torch.no_grad():
        for layer in layers[::2]:
            layer.weight.abs_()
            layer.bias.fill_(5.0)
    last, middle = critic[4].weight.detach(), critic[2].weight.detach()
    expected = [(last @ middle).norm().item(), last.norm().item()]
    assert theory._layer_gradients(critic, torch.rand(7, 2)) == pytest.approx(expected, rel=1e-5)
