"""The closed-form gradients are those of autograd, for every critic that they support."""

import pytest
import torch
from small_trials import create, run, trial, weights_of
from torch import Tensor, nn

from trainables.config import NetworkConfig, TrainingConfig
from trainables.networks import build_critic
from trainables.training.closed_form import closed_form_gradients
from trainables.training.lipschitz import (
    PENALTIES,
    coefficients_between,
    gradient_norms,
    interpolate,
    prepare_,
)
from trainables.training.losses import critic_loss

CRITICS = {
    "mlp": {"critic_depth": 3},
    "leaky mlp": {"critic_activation": "leaky_relu"},
    "linear": {"critic_depth": 1},
    "dcgan": {"architecture": "dcgan"},
    "deep dcgan": {"architecture": "dcgan", "critic_depth": 2, "critic_activation": "relu"},
}
CONSTRAINTS = ["clip", "gradient_penalty", "one_sided_penalty"]
SHAPE = (2, 16, 24)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def critic_of(networks: dict, constraint: str | None = None) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = NetworkConfig.model_validate({"critic_width": 16, **networks})
        built = build_critic(config, SHAPE, constraint)
        prepare_(built, constraint)
        return built


def batches() -> Tensor:
    return torch.randn((2, 5, *SHAPE), generator=seeded()).double()


def around_slope_1(critic: nn.Module, real: Tensor, fake: Tensor) -> nn.Module:
    """In float64, with a mean gradient norm above 1, so that neither penalty is zero."""
    between = interpolate(real, fake, coefficients_between(real, seeded()))
    slopes = gradient_norms(critic.double(), between)
    *_, last_weight, _ = critic.parameters()
    with torch.no_grad():
        last_weight *= 1.1 / slopes.mean()
    return critic


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("networks", CRITICS.values(), ids=CRITICS)
def test_losses_and_gradients_are_those_of_autograd(networks, constraint) -> None:
    real, fake = batches()
    critic = around_slope_1(critic_of(networks), real, fake)
    config = TrainingConfig(constraint=constraint)
    unpenalised = loss = critic_loss(config, critic(real), critic(fake))
    coefficients = None
    if config.gp_weight is not None:
        coefficients = coefficients_between(real, seeded())
        penalty = PENALTIES[config.constraint](critic, real, fake, seeded())
        assert penalty.item() > 1e-8
        loss = loss + config.gp_weight * penalty
    gradients = torch.autograd.grad(loss, list(critic.parameters()))
    computed = closed_form_gradients(critic, config)(real, fake, coefficients)
    torch.testing.assert_close(
        computed, (unpenalised, loss, list(gradients)), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("slope", [0.5, 1.5])
def test_the_step_of_a_linear_critic_worked_by_hand(slope) -> None:
    """f = k x, real at 2, fake at 0: loss -2 k + 10 (k - 1)^2, derivative -2 + 20 (k - 1)."""
    critic = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.Flatten(0))
    nn.init.constant_(critic[1].weight, slope)
    gradients = closed_form_gradients(critic, TrainingConfig(constraint="gradient_penalty"))
    unpenalised, loss, (by_weight, by_bias) = gradients(
        torch.full((4, 1), 2.0), torch.zeros(4, 1), torch.rand(4, generator=seeded())
    )
    assert unpenalised.item() == pytest.approx(-2 * slope)
    assert loss.item() == pytest.approx(-2 * slope + 10 * (slope - 1) ** 2)
    assert by_weight.item() == pytest.approx(-2 + 20 * (slope - 1), rel=1e-5)
    assert by_bias.item() == pytest.approx(0, abs=1e-6)


def test_a_critic_without_any_slope_has_finite_gradients() -> None:
    critic = critic_of({}).double()
    for parameter in critic.parameters():
        nn.init.zeros_(parameter)
    config = TrainingConfig(constraint="gradient_penalty")
    _, loss, gradients = closed_form_gradients(critic, config)(
        *batches(), torch.full((5,), 0.5).double()
    )
    assert loss.item() == pytest.approx(10, rel=1e-5)
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    ("networks", "training"),
    [
        ({"critic_activation": "tanh"}, {}),
        ({"critic_activation": "softplus"}, {}),
        ({"architecture": "dcgan", "critic_norm": "layer"}, {}),
        ({"architecture": "resnet"}, {}),
        ({}, {"constraint": "spectral_norm"}),
        ({}, {"constraint": "orthogonal"}),
        ({}, {"loss": "minimax"}),
        ({}, {"precision": "bfloat16"}),
    ],
)
def test_other_critics_and_losses_are_left_to_autograd(networks, training) -> None:
    config = TrainingConfig.model_validate(training)
    assert closed_form_gradients(critic_of(networks, config.constraint), config) is None
    assert closed_form_gradients(critic_of({}), TrainingConfig()) is not None


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_a_trial_ends_where_it_does_by_autograd(constraint) -> None:
    """To a share of the way: where a gradient is zero, Adam makes whole steps of its rounding."""
    config = trial(constraint)
    closed_form, by_autograd = create(config), create(config)
    start = weights_of(by_autograd.critic)
    assert closed_form.closed_form is not None
    by_autograd.closed_form = None
    (measured,), (expected,) = (run(config, [20], state) for state in (closed_form, by_autograd))
    end = weights_of(by_autograd.critic)
    assert (weights_of(closed_form.critic) - end).norm() < 0.01 * (end - start).norm()
    assert measured.critic_estimate == pytest.approx(expected.critic_estimate, rel=0.01, abs=1e-4)
    assert measured.critic_loss == pytest.approx(expected.critic_loss, rel=0.01, abs=1e-4)


def test_a_critic_with_frozen_parameters_is_left_to_autograd() -> None:
    critic = critic_of({})
    next(critic.parameters()).requires_grad_(False)
    assert closed_form_gradients(critic, TrainingConfig()) is None
