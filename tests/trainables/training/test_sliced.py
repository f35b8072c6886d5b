"""The sliced distance against exact ones, and a training without a critic."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from small_trials import REAL, create, run, trial, weights_of
from torch import Tensor

from trainables.training.loop import critic_step, generator_step
from trainables.training.sliced import sliced_w1


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


def test_on_a_line_it_is_the_exact_w1() -> None:
    """Both directions of a line give the same distance, so that one projection is enough."""
    real, fake = draw(50, 1), 2 * draw(50, 1, seed=2) + 0.5
    exact = wasserstein_distance(real.flatten(), fake.flatten())
    assert sliced_w1(real, fake, 1, rng()).item() == pytest.approx(exact)
    assert sliced_w1(real, fake, 20, rng()).item() == pytest.approx(exact)


def test_it_is_the_mean_of_the_exact_w1_of_each_projection() -> None:
    """Not the W1 of a mean over directions, nor of pairs in the order of the batch."""
    real, fake = draw(30, 2, 3), draw(30, 2, 3, seed=2) ** 2
    directions = torch.randn(7, 6, generator=rng(), dtype=torch.float64).numpy()
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    exact = [
        wasserstein_distance(real.flatten(1) @ u, fake.flatten(1) @ u)
        for u in torch.from_numpy(directions)
    ]
    assert sliced_w1(real, fake, 7, rng()).item() == pytest.approx(np.mean(exact))


def test_the_same_samples_in_another_order_are_at_no_distance() -> None:
    real = draw(40, 3)
    assert sliced_w1(real, real.flip(0), 50, rng()).item() == pytest.approx(0, abs=1e-12)


def test_a_shift_is_seen_at_the_mean_cosine_of_a_direction() -> None:
    """|s| E|cos| on the sphere of R^3, where the cosine is uniform on [-1, 1]: |s| / 2."""
    real = draw(20, 3)
    shifted = real + torch.tensor([0.0, 3.0, 4.0])
    within = 5 * 5 * math.sqrt(1 / 12 / 20_000)
    assert sliced_w1(real, shifted, 20_000, rng()).item() == pytest.approx(2.5, abs=within)


def test_each_sample_is_pulled_to_its_partner_in_order() -> None:
    """On a line the slope of the mean distance is the sign of each difference over n."""
    real = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    fake = torch.tensor([[2.5], [-0.5], [0.5]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(sliced_w1(real, fake, 4, rng()), fake)
    assert gradient.flatten().tolist() == pytest.approx([1 / 3, -1 / 3, -1 / 3])


def test_a_trial_trains_the_generator_alone_and_logs_the_distance_by_its_name() -> None:
    config = trial("sliced_wasserstein")
    state = create(config)
    before = weights_of(state.generator)
    (measured,) = run(config, [3], state)
    assert not torch.equal(weights_of(state.generator), before)
    assert list(state.critic.parameters()) == []
    metrics = measured.as_floats()
    assert metrics["sliced_w1"] == metrics["generator_loss"] > 0
    assert [name for name in metrics if name.startswith("critic")] == []


def test_packs_are_projected_as_one() -> None:
    """Two samples of which each repeats the other, against independent ones, with equal means."""
    config = trial("sliced_wasserstein", batch_size=64, pack=2)
    state, unpacked = create(config), create(config)
    lost, fake = generator_step(state, config.training, fixed := REAL[:1].expand(64, 2))
    single = config.training.model_copy(update={"pack": 1})
    by_sample, same = generator_step(unpacked, single, fixed)
    assert torch.equal(fake, same)
    directions = create(config).rng  # after the latents, as in the step
    torch.randn(64, 3, generator=directions)
    expected = sliced_w1(fixed.reshape(32, 4), fake.reshape(32, 4), 1000, directions)
    assert lost.item() == pytest.approx(expected.item())
    assert lost.item() != pytest.approx(by_sample.item())


def test_a_critic_step_is_refused() -> None:
    config = trial("sliced_wasserstein")
    with pytest.raises(NotImplementedError, match='missing the required "forward"'):
        critic_step(create(config), config.training, REAL[:4], REAL[:4])


def test_a_generator_step_needs_real_samples() -> None:
    config = trial("sliced_wasserstein")
    with pytest.raises(ValueError, match="sliced_wasserstein needs real samples, got none"):
        generator_step(create(config), config.training)
