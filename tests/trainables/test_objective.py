"""Laws of the independent critic: known distances, orders that must hold, and repeatability."""

import math
import statistics
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from trainables import objective
from trainables.config import CriticBudget, ObjectiveConfig
from trainables.data import as_floats
from trainables.objective import Score, _blocks, _Critics, score
from trainables.training.lipschitz import interpolate

BUDGET = ObjectiveConfig().rung
NUM_MODES = 8


def normal(num_samples: int, dim: int, seed: int) -> Tensor:
    return torch.randn(num_samples, dim, generator=torch.Generator().manual_seed(seed))


def modes(latents: Tensor, num_modes: int = NUM_MODES, noise: float = 0.02) -> Tensor:
    """8 Gaussians on a circle of radius 0.9 from latents [n, 3]; fewer modes are a collapse."""
    mode = (torch.special.ndtr(latents[:, 2]) * num_modes).floor().clamp(0, num_modes - 1)
    angles = mode * (2 * math.pi / NUM_MODES)
    return 0.9 * torch.stack([angles.cos(), angles.sin()], 1) + noise * latents[:, :2]


def score_modes(generate: Callable[[Tensor], Tensor], budget: CriticBudget = BUDGET) -> Score:
    critic_train, critic_eval = (modes(normal(4096, 3, seed)) for seed in (1, 2))
    return score(generate, 3, critic_train, critic_eval, budget)


def shifted(distance: float) -> Callable[[Tensor], Tensor]:
    return lambda latents: modes(latents) + distance * torch.tensor([0.6, 0.8])


@pytest.mark.parametrize("distance", [0.3, 1.0, 3.0, 30.0, 300.0])
def test_a_shifted_cloud_is_as_far_as_its_shift(distance):
    """Within 2% and the noise of 4,096 samples, whose modes are not equally full."""
    result = score_modes(shifted(distance))
    assert abs(result.w1 - distance) < 0.02 * distance + 3 * result.w1_stderr


def test_critics_of_a_thousand_dimensions_train_as_far_as_those_of_a_few():
    """Coordinates at zero: W1 is the mean norm of what they lose, and critics bound it from below.

    At one learning rate for all dimensions the estimate is a quarter of what it is here.
    """
    dim, kept = 1024, 256
    real = normal(600, dim, 0)

    def flattened(latents: Tensor) -> Tensor:
        return torch.cat([latents[:, :kept], torch.zeros(len(latents), dim - kept)], 1)

    budget = replace(BUDGET, num_generated=1024)
    w1 = score(flattened, dim, real[:400], real[400:], budget).w1
    old = score(flattened, dim, real[:400], real[400:], replace(budget, scaled_lr=False)).w1
    assert 3 * old < w1 < math.sqrt(dim - kept)


def test_the_learning_rate_of_few_dimensions_is_that_of_before():
    rates = [BUDGET.learning_rate_at(dim) for dim in (1, 2, 64, 256, 1024)]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.005, 0.0025])


@pytest.mark.parametrize("theta", [0.1, 0.5, 3.0])
def test_parallel_lines_are_as_far_as_they_lie_apart(theta):
    """Arjovsky 2017, Example 1: W1 = |theta|, where other divergences jump."""

    def line(latents: Tensor, x: float) -> Tensor:
        return torch.stack([torch.full((len(latents),), x), torch.special.ndtr(latents[:, 0])], 1)

    critic_train, critic_eval = (line(normal(2000, 1, seed), 0.0) for seed in (1, 2))
    result = score(lambda latents: line(latents, theta), 1, critic_train, critic_eval, BUDGET)
    assert result.w1 == pytest.approx(theta, rel=0.05)


@pytest.mark.parametrize("distance", [0.3, 3.0])
def test_gaussians_of_equal_covariance_are_as_far_as_their_means(distance):
    root = torch.tensor([[0.5, 0.2], [0.2, 0.3]])
    critic_train, critic_eval = (normal(4000, 2, seed) @ root for seed in (1, 2))
    shift = distance * torch.tensor([0.6, -0.8])
    result = score(lambda latents: latents @ root + shift, 2, critic_train, critic_eval, BUDGET)
    assert result.w1 == pytest.approx(distance, rel=0.05)


@pytest.mark.parametrize(
    ("sample_shape", "distance", "tolerance"),
    [
        ((1, 8, 8), 3.0, 0.05),
        ((1, 8, 8), 30.0, 0.02),
        ((1, 28, 28), 3.0, 0.1),
        ((1, 28, 28), 30.0, 0.02),
    ],
)
def test_a_shift_of_images_counts_per_sample_not_per_pixel(sample_shape, distance, tolerance):
    """Images of 8 hidden factors; a shift of every pixel by d / sqrt(pixels) is a shift by d."""
    dim = math.prod(sample_shape)
    factors = normal(8, dim, 0) * (0.4 / math.sqrt(8))

    def images(latents: Tensor) -> Tensor:
        return torch.tanh(latents @ factors).unflatten(1, sample_shape)

    critic_train, critic_eval = (images(normal(400, 8, seed)) for seed in (1, 2))
    shift = distance / math.sqrt(dim)
    result = score(lambda latents: images(latents) + shift, 8, critic_train, critic_eval, BUDGET)
    assert result.w1 == pytest.approx(distance, rel=tolerance)


def test_real_against_real_is_near_zero():
    result = score_modes(modes)
    assert abs(result.w1) < 0.02
    assert abs(result.w1) < 4 * result.w1_stderr


def test_the_order_of_noise_is_the_order_of_scores():
    scores = [
        score_modes(lambda z, noise=noise: modes(z, noise=noise)).w1
        for noise in (0.02, 0.1, 0.2, 0.4, 0.8)
    ]
    assert scores == sorted(scores)


def test_the_more_modes_are_missing_the_worse():
    scores = [score_modes(lambda z, n=n: modes(z, n)).w1 for n in (8, 7, 6, 4, 2, 1)]
    assert scores == sorted(scores)


def test_a_constant_is_as_far_as_the_data_lie_from_it():
    """W1 to a point is the mean distance from it: here the radius of the circle."""
    result = score_modes(lambda latents: torch.zeros(len(latents), 2))
    assert result.w1 == pytest.approx(0.9, rel=0.1)


def test_a_copier_of_few_training_points_is_worse_than_the_data():
    """In many dimensions, where copying is what an overfitted generator does."""
    factors = normal(8, 64, 0) / math.sqrt(8)
    critic_train, critic_eval = (torch.tanh(normal(400, 8, seed) @ factors) for seed in (1, 2))
    training = torch.tanh(normal(10, 8, 3) @ factors)

    def copy(latents: Tensor) -> Tensor:
        return training[(torch.special.ndtr(latents[:, 0]) * 10).long().clamp(0, 9)]

    fresh = score(
        lambda latents: torch.tanh(latents @ factors), 8, critic_train, critic_eval, BUDGET
    )
    copied = score(copy, 8, critic_train, critic_eval, BUDGET)
    assert copied.w1 > fresh.w1 + 4 * math.hypot(copied.w1_stderr, fresh.w1_stderr)


def test_the_estimate_scales_with_the_data():
    critic_train, critic_eval = (modes(normal(4096, 3, seed)) for seed in (1, 2))
    once = score(shifted(0.5), 3, critic_train, critic_eval, BUDGET)
    larger = score(
        lambda z: 100 * shifted(0.5)(z), 3, 100 * critic_train, 100 * critic_eval, BUDGET
    )
    assert larger.w1 == pytest.approx(100 * once.w1, rel=0.01)


def test_the_critic_keeps_to_its_slope():
    for distance in (0.1, 30.0):
        assert 0.9 < score_modes(shifted(distance)).critic_lipschitz < 1.3


def test_the_same_generator_gets_the_same_bits_whatever_happened_between():
    first = score_modes(shifted(0.2))
    torch.manual_seed(123)
    score_modes(shifted(5.0))
    torch.randn(7)
    assert score_modes(shifted(0.2)) == first


def test_the_global_random_state_is_not_touched():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    score_modes(modes, ObjectiveConfig(critic_steps=2).rung)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_that_draws_random_numbers_gets_the_same_bits_in_every_process():
    def noisy(latents: Tensor) -> Tensor:
        return modes(latents) + 0.1 * torch.randn(len(latents), 2)

    scores = []
    with torch.random.fork_rng():
        for seed in (1, 2):
            torch.manual_seed(seed)
            scores.append(score_modes(noisy))
    assert scores[0] == scores[1]


def test_another_seed_is_another_critic():
    assert score_modes(modes, ObjectiveConfig(seed=1).rung).w1 != score_modes(modes).w1


def test_a_longer_latent_vector_meets_the_same_critic():
    """A trial's latent_dim must not change the weights and batches that it is scored with."""
    critic_train, critic_eval = (modes(normal(500, 3, seed)) for seed in (1, 2))

    def point(latents: Tensor) -> Tensor:
        return torch.zeros(len(latents), 2)

    budget = ObjectiveConfig(critic_steps=5).rung
    assert score(point, 3, critic_train, critic_eval, budget) == score(
        point, 40, critic_train, critic_eval, budget
    )


def test_a_generator_is_called_in_evaluation_mode_without_gradients_and_left_as_it_was():
    calls = []

    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(3, 2), nn.Dropout(), nn.Dropout())

        def forward(self, latents):
            calls.append((self.layers[1].training, torch.is_grad_enabled()))
            return self.layers(latents)

    generator = Generator()
    generator.layers[2].eval()
    score_modes(generator, ObjectiveConfig(critic_steps=2).rung)
    assert set(calls) == {(False, False)}
    assert [m.training for m in generator.modules()] == [True, True, True, True, False]
    assert all(p.grad is None for p in generator.parameters())


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_a_generator_that_is_not_finite_gets_no_number(value):
    assert math.isnan(score_modes(lambda latents: value * latents[:, :2]).w1)


def test_the_standard_error_is_the_spread_of_estimates_on_fresh_data():
    """Estimates of one critic on fresh parts of the data differ by about their standard error."""
    critic_train = modes(normal(4096, 3, 1))
    results = [
        score(
            shifted(0.2),
            3,
            critic_train,
            modes(normal(200, 3, seed)),
            ObjectiveConfig(critic_steps=60).rung,
        )
        for seed in range(2, 14)
    ]
    spread = torch.tensor([s.w1 for s in results]).std().item()
    # Of the two parts of the error only the real samples vary here: 200 against 4,096.
    assert 0.5 < spread / results[0].w1_stderr < 2


@pytest.mark.parametrize(("num", "num_blocks"), [(100, 100), (256, 256), (1000, 256)])
def test_the_parts_of_an_estimate_have_its_variance(num: int, num_blocks: int):
    values = normal(num, 1, 0)[:, 0].double() + 3
    blocks = torch.tensor(_blocks(values), dtype=torch.float64)
    assert len(blocks) == num_blocks
    assert blocks.sum() == pytest.approx(0, abs=1e-9)
    # A block holds several samples: its variance is that of so many draws.
    expected = values.var() / num
    assert (blocks.var() / num_blocks).item() == pytest.approx(expected.item(), rel=0.25)


def test_the_parts_of_a_score_add_up_to_its_standard_error():
    result = score_modes(shifted(0.1))
    parts = (result.readings.real, result.readings.generated, result.readings.critics)
    variance = sum(statistics.variance(part) / len(part) for part in parts)
    assert math.sqrt(variance) == pytest.approx(result.w1_stderr, rel=0.1)
    assert statistics.fmean(result.readings.critics) == pytest.approx(result.w1)


def test_generators_that_are_nearly_the_same_differ_by_far_less_than_their_errors():
    one, other = (score_modes(shifted(distance)).readings for distance in (0.1, 0.1001))
    pairs = zip(one.real + one.generated, other.real + other.generated, strict=True)
    differences = [a - b for a, b in pairs]
    assert statistics.pstdev(differences) < 0.2 * statistics.pstdev(one.real + one.generated)


def test_the_estimate_on_the_critics_training_data_is_higher():
    critic_train, critic_eval = (normal(60, 64, seed) for seed in (1, 2))
    result = score(lambda latents: latents, 64, critic_train, critic_eval, BUDGET)
    assert result.w1_train > result.w1 + 0.5


def test_the_closed_form_gradients_are_those_of_autograd():
    """Of three critics at once, of which some samples exceed the slope 1 and some do not."""
    real, fake = (normal(30, 5, seed).double() for seed in (1, 2))
    rng = torch.Generator().manual_seed(0)
    critics = _Critics(3, real.float(), fake.float(), rng).double()
    for parameter in (critics.linear, *critics.biases):
        nn.init.normal_(parameter, std=0.4, generator=rng)
    coefficients = torch.rand(30, generator=rng, dtype=torch.float64)
    critics.set_gradients_(real, fake, coefficients)
    found = [parameter.grad for parameter in critics.parameters()]

    between = interpolate(real, fake, coefficients).requires_grad_()
    (slopes,) = torch.autograd.grad(critics(between).sum(), between, create_graph=True)
    norms = slopes.norm(dim=1)
    assert 0 < (norms > 1).sum() < 30
    loss = (critics(fake) - critics(real)).sum() / 10
    loss += objective.PENALTY_WEIGHT * (norms - 1).relu().square().sum() / 10
    torch.testing.assert_close(found, list(torch.autograd.grad(loss, list(critics.parameters()))))


def test_bytes_score_as_their_floats_do():
    """To the bit, and without a copy of a whole part in floats."""
    rng = torch.Generator().manual_seed(0)
    critic_train, critic_eval = (
        torch.randint(256, (n, 1, 8, 8), dtype=torch.uint8, generator=rng) for n in (300, 200)
    )
    budget = ObjectiveConfig(critic_steps=20).rung

    def generate(latents: Tensor) -> Tensor:
        return latents.view(-1, 1, 8, 8).tanh()

    of_floats = score(generate, 64, as_floats(critic_train), as_floats(critic_eval), budget)
    assert score(generate, 64, critic_train, critic_eval, budget) == of_floats


def test_large_samples_are_scored_in_parts_as_they_would_be_at_once(monkeypatch):
    """The means over chunks of unequal length are the means over all, up to rounding."""
    critic_train, critic_eval = (modes(normal(1000, 3, seed)) for seed in (1, 2))
    budget = ObjectiveConfig(critic_steps=20).rung  # more steps would amplify the rounding
    at_once = score(shifted(0.3), 3, critic_train, critic_eval, budget)
    monkeypatch.setattr(objective, "MAX_ELEMENTS_PER_REDUCTION", 600)
    monkeypatch.setattr(objective, "MAX_ELEMENTS_PER_BATCH", 2 * 77)
    in_parts = score(shifted(0.3), 3, critic_train, critic_eval, budget)
    assert in_parts.w1 == pytest.approx(at_once.w1, rel=1e-4)
    assert in_parts.w1_stderr == pytest.approx(at_once.w1_stderr, rel=1e-3)


@pytest.mark.parametrize(
    ("dim", "expected"),
    [(2, 8192), (3 * 32 * 32, 8192), (3 * 64 * 64, 2**26 // (3 * 64 * 64)), (2**17, 1024)],
)
def test_as_many_samples_are_generated_as_fit_256_mib_but_at_least_1024(dim, expected):
    drawn = []

    def generate(latents: Tensor) -> Tensor:
        drawn.append(len(latents))
        return torch.zeros(len(latents), dim)

    real = torch.randint(256, (4, dim), dtype=torch.uint8)
    score(generate, 1, real, real, CriticBudget(1, 1, 2, 1e-2, 8192, 0))
    assert sum(drawn) == 2 * expected  # as many to train on as to evaluate on
    assert max(drawn) * dim <= max(2**20, dim)
    assert max(drawn) <= 1024
