"""Each of the bugs that public WGAN-GP codes share fails one test here, named by the law."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainables.training.lipschitz import (
    clip_weights_,
    gradient_norms,
    gradient_penalty,
    interpolate,
    one_sided_penalty,
    orthonormalise_,
    power_penalty,
    prepare_,
    zero_centred_penalty,
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
    """A critic that keeps the samples that it scored last."""

    def __call__(self, samples: Tensor) -> Tensor:
        self.samples = samples
        return samples.flatten(1).sum(1)


def half_square(samples: Tensor) -> Tensor:
    """f(x) = |x|^2 / 2, whose gradient is x itself."""
    return samples.flatten(1).square().sum(1) / 2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("slope", [0.0, 0.5, 7.0])
def test_r1_of_a_linear_critic_is_half_its_squared_slope(shape, slope) -> None:
    """Of the whole sample, without an epsilon, and with the derivative of the square."""
    critic = LinearCritic(slope).double()
    penalty = zero_centred_penalty(critic, batches(shape)[0].double())
    assert penalty.item() == pytest.approx(slope**2 / 2, rel=1e-12, abs=0)
    (gradient,) = torch.autograd.grad(penalty, critic.slope)
    assert gradient.item() == pytest.approx(slope, rel=1e-12, abs=0)


@pytest.mark.parametrize("slope", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("power", [2.0, 3.0, 6.0])
def test_the_penalty_of_wgan_div_is_the_slope_to_its_power(slope, power) -> None:
    critic = LinearCritic(slope).double()
    real, fake = (batch.double() for batch in batches((1, 4, 4)))
    penalty = power_penalty(critic, real, fake, seeded(), power)
    assert penalty.item() == pytest.approx(slope**power, rel=1e-12, abs=0)
    (gradient,) = torch.autograd.grad(penalty, critic.slope)
    assert gradient.item() == pytest.approx(power * slope ** (power - 1), rel=1e-12, abs=0)


def test_the_penalty_of_wgan_div_is_the_mean_of_powers_and_not_the_power_of_a_mean() -> None:
    """The gradient of |x|^2 / 2 is x; between equal samples there are no others."""
    samples = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    penalty = power_penalty(half_square, samples, samples, seeded(), 3.0)
    assert penalty.item() == pytest.approx((5**3 + 1) / 2)


def test_r1_is_the_mean_over_samples_of_the_squared_norm() -> None:
    """The gradient of |x|^2 / 2 is x."""
    samples = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert zero_centred_penalty(half_square, samples).item() == pytest.approx((25 + 1) / 2 / 2)


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


def test_the_penalty_is_the_mean_over_samples() -> None:
    """Samples of norm 3 and 0.5 cost 4 and 0.25 apart; their mean norm, 1.75, would cost 0.5625."""
    samples = torch.tensor([[3.0, 0.0], [0.3, 0.4]])
    args = (half_square, samples, samples, seeded())
    assert gradient_penalty(*args).item() == pytest.approx((4 + 0.25) / 2)
    assert one_sided_penalty(*args).item() == pytest.approx((4 + 0) / 2)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_sample_has_its_own_interpolation_coefficient(penalty, shape) -> None:
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
    """The gradient of |x|^2 / 2 is x, so that the norms are those of the samples."""
    samples, _ = batches(shape)
    norms = gradient_norms(half_square, samples)
    torch.testing.assert_close(norms, samples.flatten(1).norm(dim=1))


def test_gradient_norms_change_neither_critic_nor_samples() -> None:
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


# --- constraints on the layers


LAYERS = {
    "wide": lambda: nn.Linear(9, 5),
    "tall": lambda: nn.Linear(5, 9),
    "square": lambda: nn.Linear(32, 32),
    "row": lambda: nn.Linear(7, 1),
    "conv": lambda: nn.Conv2d(2, 3, 3),
    "wide conv": lambda: nn.Conv2d(1, 12, 2, stride=2),
    "transposed conv": lambda: nn.ConvTranspose2d(3, 2, 4, stride=2),
}


def made(build) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


def singular_values(layer: nn.Module) -> Tensor:
    return torch.linalg.svdvals(layer.weight.detach().flatten(1))


def patches(layer: nn.Module) -> int:
    """Of the square kernels above, whose stride divides them or is 1."""
    return 1 if isinstance(layer, nn.Linear) else (layer.kernel_size[0] // layer.stride[0]) ** 2


@pytest.mark.parametrize("kind", LAYERS)
@given(size=st.floats(-8, 30))
@settings(max_examples=20, deadline=None)
def test_projected_weights_are_orthonormal_after_a_step_of_any_size(kind, size) -> None:
    """Of 10^size in each weight; a convolution's singular values are 1 over its patches' root."""
    layer = made(LAYERS[kind])
    orthonormalise_(layer)
    with torch.no_grad():
        layer.weight += 10**size * torch.randn(layer.weight.shape, generator=seeded())
    orthonormalise_(layer)
    values = singular_values(layer) * patches(layer) ** 0.5
    assert (values - 1).abs().max().item() <= 1e-3


@pytest.mark.parametrize("kind", LAYERS)
def test_a_new_layers_weight_becomes_the_nearest_orthonormal_one(kind) -> None:
    """U V^T of its U S V^T (Fan & Hoffman 1955); an orthonormal one does not change."""
    layer = made(LAYERS[kind])
    u, _, vh = torch.linalg.svd(layer.weight.detach().flatten(1), full_matrices=False)
    orthonormalise_(layer)
    nearest = layer.weight.detach().flatten(1) * patches(layer) ** 0.5
    torch.testing.assert_close(nearest, u @ vh, atol=1e-3, rtol=0)
    once = layer.weight.detach().clone()
    orthonormalise_(layer)
    torch.testing.assert_close(layer.weight.detach(), once, atol=1e-6, rtol=0)


@pytest.mark.parametrize("weight", [torch.zeros(4, 6), torch.ones(4, 6), 1e-20 * torch.ones(4, 6)])
def test_a_singular_weight_becomes_orthonormal_too(weight) -> None:
    layer = nn.Linear(6, 4)
    layer.load_state_dict({"weight": weight, "bias": torch.ones(4)})
    orthonormalise_(layer)
    torch.testing.assert_close(singular_values(layer), torch.ones(4), atol=1e-3, rtol=0)
    assert torch.equal(layer.bias.detach(), torch.ones(4))


@pytest.mark.parametrize("lost", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_stay_so_that_the_trial_counts_as_diverged(lost) -> None:
    layer = made(LAYERS["wide"])
    with torch.no_grad():
        layer.weight[0, 0] = lost
    orthonormalise_(layer)
    assert not layer.weight.isfinite().all()


def operator_norm(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """Of the whole linear map from images to images, written out as a matrix."""
    nn.init.zeros_(layer.bias)
    basis = torch.eye(torch.Size(shape).numel()).view(-1, *shape)
    with torch.no_grad():
        return torch.linalg.matrix_norm(layer(basis).flatten(1), 2).item()


@pytest.mark.parametrize("transposed", [False, True])
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    padding=st.integers(0, 2),
    groups=st.sampled_from([1, 2]),
)
@settings(max_examples=40, deadline=None)
def test_an_orthogonal_convolution_is_1_lipschitz_as_an_operator(
    transposed, kernel, stride, dilation, padding, groups
) -> None:
    build = nn.ConvTranspose2d if transposed else nn.Conv2d
    padding = min(padding, dilation * (kernel - 1) // 2)
    layer = made(lambda: build(2, 4, kernel, stride, padding, dilation=dilation, groups=groups))
    orthonormalise_(layer)
    assert operator_norm(layer, (2, 10, 10)) <= 1.001


@pytest.mark.parametrize("kernel", [1, 2, 4])
def test_a_convolution_without_overlap_has_norm_1(kernel) -> None:
    layer = made(lambda: nn.Conv2d(2, 3, kernel, stride=kernel))
    orthonormalise_(layer)
    assert operator_norm(layer, (2, 8, 8)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_spectral_norm_converges_to_1_in_training_and_is_fixed_in_evaluation(kind) -> None:
    """Each forward pass in training is one power iteration; the original weight is unchanged."""
    layer = made(LAYERS[kind])
    before = layer.weight.detach().clone()
    is_linear = isinstance(layer, nn.Linear)
    shape = (layer.in_features,) if is_linear else (layer.in_channels, 8, 8)
    inputs = torch.ones(2, *shape)
    made(lambda: prepare_(layer, "spectral_norm"))
    for _ in range(200):
        layer(inputs)
    rows = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    matrix = layer.weight.detach().movedim(rows, 0).flatten(1)
    assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1, abs=1e-3)
    assert torch.equal(layer.parametrizations.weight.original.detach(), before)
    buffers = [buffer.clone() for buffer in layer.buffers()]
    layer.eval()(inputs)
    assert all(map(torch.equal, buffers, layer.buffers()))


def test_the_vectors_of_the_power_iteration_are_saved_and_follow_from_the_seed() -> None:
    one, same = (made(lambda: _prepared("spectral_norm")) for _ in range(2))
    assert "0.parametrizations.weight.0._u" in one.state_dict()
    assert all(map(torch.equal, one.state_dict().values(), same.state_dict().values()))


def _prepared(constraint) -> nn.Module:
    critic = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1))
    prepare_(critic, constraint)
    return critic


@pytest.mark.parametrize("constraint", [None, "clip", "gradient_penalty", "one_sided_penalty"])
def test_only_layerwise_constraints_change_a_new_critic(constraint) -> None:
    plain, prepared = made(lambda: _prepared(None)), made(lambda: _prepared(constraint))
    assert list(prepared.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert all(map(torch.equal, plain.state_dict().values(), prepared.state_dict().values()))


@pytest.mark.parametrize("constraint", ["spectral_norm", "orthogonal"])
@pytest.mark.parametrize(
    ("critic", "message"),
    [
        (LinearCritic(1.0), "have Linear or Conv layers to act on, got LinearCritic without"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "padding_mode reflect, which"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 1)), "got a .*Linear whose weight is"),
    ],
)
def test_a_critic_that_cannot_be_bounded_is_refused(constraint, critic, message) -> None:
    with pytest.raises(ValueError, match=rf"^constraint {constraint} must .*{message}"):
        prepare_(critic, constraint)


def test_gradient_norms_use_evaluation_mode_and_restore_the_mode_of_every_part() -> None:
    """In training mode this critic's scores depend on their batch, and their sum on nothing."""
    critic = nn.Sequential(nn.BatchNorm1d(1, affine=False, eps=0), nn.Flatten(0), nn.Dropout(0.5))
    critic[2].eval()
    norms = gradient_norms(critic, torch.tensor([[-1.0], [1.0], [3.0]]))
    torch.testing.assert_close(norms, torch.ones(3))
    assert [critic.training, critic[0].training, critic[2].training] == [True, True, False]
    assert torch.equal(critic[0].running_mean, torch.zeros(1))
