"""Each of the bugs that public WGAN-GP codes share fails one test here, named by the law."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainables.lipschitz import (
    clip_weights_,
    gradient_norms,
    gradient_penalty,
    interpolate,
    one_sided_penalty,
)

PENALTIES = [gradient_penalty, one_sided_penalty]
SHAPES = [(3,), (1, 4, 4), (3, 5, 2)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batches(shape: tuple[int, ...], batch_size: int = 6) -> tuple[Tensor, Tensor]:
    rng = seeded(1)
    return tuple(torch.randn((batch_size, *shape), generator=rng) for _ in range(2))


class LinearCritic(nn.Module):
    """f(x) = slope * <u, x> with |u| = 1: a gradient of norm ``slope`` everywhere."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, samples: Tensor) -> Tensor:
        flat = samples.flatten(1)
        return self.slope * flat.sum(1) / flat.shape[1] ** 0.5


class Recorder:
    """A critic that remembers the samples it was asked about."""

    def __call__(self, samples: Tensor) -> Tensor:
        self.samples = samples
        return samples.flatten(1).sum(1)


def half_square(samples: Tensor) -> Tensor:
    """f(x) = |x|^2 / 2, whose gradient is x itself."""
    return samples.flatten(1).square().sum(1) / 2


@pytest.mark.parametrize("shape", SHAPES)
@given(slope=st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_two_sided_penalty_of_a_linear_critic_is_slope_minus_one_squared(shape, slope) -> None:
    """Fails for a norm per pixel (slope / sqrt(pixels)) and for one over the whole batch."""
    penalty = gradient_penalty(LinearCritic(slope), *batches(shape), seeded())
    assert penalty.item() == pytest.approx((slope - 1) ** 2, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@given(slope=st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_one_sided_penalty_of_a_linear_critic_is_its_excess_over_one_squared(shape, slope) -> None:
    """Fails if the sign inside the maximum is flipped: a flat critic would pay, a steep one not."""
    penalty = one_sided_penalty(LinearCritic(slope), *batches(shape), seeded())
    assert penalty.item() == pytest.approx(max(0, slope - 1) ** 2, rel=1e-3, abs=1e-5)


def test_the_penalty_is_the_mean_of_each_samples_own_excess() -> None:
    """Samples of norm 3 and 0.5 cost 4 and 0.25 apart; their mean norm, 1.75, would cost 0.5625."""
    samples = torch.tensor([[3.0, 0.0], [0.3, 0.4]])
    args = (half_square, samples, samples, seeded())
    assert gradient_penalty(*args).item() == pytest.approx((4 + 0.25) / 2)
    assert one_sided_penalty(*args).item() == pytest.approx((4 + 0) / 2)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_sample_has_one_interpolation_coefficient_of_its_own(penalty, shape) -> None:
    """From 0 to 1 the interpolates are the coefficients: constant in a sample, all different."""
    critic = Recorder()
    penalty(critic, torch.zeros(256, *shape), torch.ones(256, *shape), seeded())
    points = critic.samples.detach().flatten(1)
    coefficients = points[:, 0]
    assert torch.equal(points, coefficients[:, None].expand_as(points))
    assert len(coefficients.unique()) == 256
    assert 0 <= coefficients.min() < 0.05 < 0.95 < coefficients.max() <= 1
    assert coefficients.mean().item() == pytest.approx(0.5, abs=0.06)


def test_interpolates_lie_between_the_real_and_the_fake_of_the_same_row() -> None:
    real, fake = torch.tensor([[0.0, 0.0], [10.0, 20.0]]), torch.tensor([[4.0, 8.0], [10.0, 0.0]])
    points = interpolate(real, fake, torch.tensor([0.25, 1.0]))
    assert points.tolist() == [[1.0, 2.0], [10.0, 0.0]]


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_penalty_is_differentiable_by_the_critics_weights(penalty) -> None:
    """d/dk (k-1)^2 = 2(k-1). Without create_graph there is no gradient, or none from the norm."""
    critic = LinearCritic(3.0)
    penalty(critic, *batches((1, 4, 4)), seeded()).backward()
    assert critic.slope.grad.item() == pytest.approx(4, rel=1e-4)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_penalty_is_constant_in_the_samples(penalty) -> None:
    """A generator whose samples come with a graph gets no gradient from the critic's penalty."""
    real, fake = batches((3,))
    fake.requires_grad_()
    critic = LinearCritic(3.0)
    (penalty(critic, real, fake, seeded()) + 0 * fake.sum()).backward()
    assert critic.slope.grad.item() != 0
    assert torch.count_nonzero(fake.grad) == 0


def test_a_flat_critic_costs_one_and_has_finite_gradients() -> None:
    """At a zero gradient the square root's derivative is infinite unless it is kept off zero."""
    critic = LinearCritic(0.0)
    penalty = gradient_penalty(critic, *batches((3,)), seeded())
    penalty.backward()
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    assert critic.slope.grad.isfinite()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_coefficients_come_from_the_given_rng_alone(penalty) -> None:
    args, before = (half_square, *(2 * batch for batch in batches((3,)))), torch.get_rng_state()
    first = penalty(*args, seeded(5))
    assert torch.equal(first, penalty(*args, seeded(5)))
    assert not torch.equal(first, penalty(*args, seeded(6)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_norms_are_those_of_each_whole_sample(shape) -> None:
    """The gradient of |x|^2 / 2 is x, so the norms are the samples' own."""
    samples, _ = batches(shape)
    norms = gradient_norms(half_square, samples)
    torch.testing.assert_close(norms, samples.flatten(1).norm(dim=1))


def test_gradient_norms_leave_no_trace_on_critic_or_samples() -> None:
    critic, samples = LinearCritic(2.0), torch.ones(4, 3)
    assert not gradient_norms(critic, samples).requires_grad
    assert critic.slope.grad is None
    assert not samples.requires_grad


@given(clip_value=st.floats(1e-3, 10))
@settings(max_examples=30, deadline=None)
def test_clipping_moves_each_parameter_to_the_nearest_point_of_the_box(clip_value) -> None:
    critic = nn.Linear(3, 2)
    weights = torch.tensor([[-20.0, -0.5, 0.0], [1e-4, 0.5, 20.0]])
    critic.load_state_dict({"weight": weights, "bias": torch.tensor([-3.0, 0.02])})
    clip_weights_(critic, clip_value)
    for parameter, old in zip(critic.parameters(), (weights, [-3.0, 0.02]), strict=True):
        expected = torch.as_tensor(old).clamp(-clip_value, clip_value)
        assert torch.equal(parameter, expected)
        assert parameter.requires_grad
