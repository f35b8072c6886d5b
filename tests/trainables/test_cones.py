"""Laws of critics made of cones: their slope, their bound, and what they see that networks miss."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from trainables import objective
from trainables.cones import Cones, fit_cones
from trainables.config import CriticBudget
from trainables.objective import score

#: As in the final, with a third of the steps.
BUDGET = CriticBudget(200, 2, 128, 5e-3, 8192, 0, cones=True)
WIDTH = 0.05


def grid(num: int, seed: int, width: float = WIDTH) -> Tensor:
    """5x5 Gaussian modes in the plane, at distances of 1."""
    rng = torch.Generator().manual_seed(seed)
    centres = torch.randint(5, (num, 2), generator=rng).float()
    return centres + width * torch.randn(num, 2, generator=rng)


def estimate(width: float, budget: CriticBudget) -> objective.Score:
    generated = grid(2 * budget.num_generated, 3, width)
    parts = iter(generated.split(1024))
    return score(lambda z: next(parts)[: len(z)], 1, grid(8192, 1), grid(8192, 2), budget)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dim", [1, 7])
def test_cones_are_1_lipschitz_for_any_centres_and_heights(dim: int, sign: int):
    rng = torch.Generator().manual_seed(0)
    critic = Cones(torch.randn(30, dim, generator=rng), sign)
    critic.heights.data = torch.randn(30, generator=rng)
    one = torch.randn(2000, dim, generator=rng)
    other = one + 0.1 * torch.randn(one.shape, generator=rng)
    gap = (critic(one) - critic(other)).abs() - (one - other).norm(dim=1)
    assert -0.02 < gap.max() < 1e-5  # nowhere steeper than 1, and somewhere about as steep


@pytest.mark.parametrize("sign", [1, -1])
def test_cones_are_the_formula_in_the_docstring(sign: int):
    critic = Cones(torch.tensor([[0.0, 0.0], [4.0, 0.0]]), sign)
    critic.heights.data = torch.tensor([0.0, 1.0])
    samples = torch.tensor([[1.0, 0.0], [4.0, 3.0]])
    torch.testing.assert_close(critic(samples), sign * torch.tensor([1.0, 2.0]))
    assert critic.evaluate(samples).shape == (1, 2)


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_the_width_of_modes_is_seen_where_networks_miss_it(ratio: float):
    """Radial moves: W1 is the mean length, (ratio - 1) width sqrt(pi / 2)."""
    truth = abs(ratio - 1) * WIDTH * math.sqrt(math.pi / 2)
    found = estimate(ratio * WIDTH, BUDGET)
    networks = estimate(ratio * WIDTH, replace(BUDGET, cones=False))
    assert networks.w1 < 0.6 * truth < 0.8 * truth < found.w1 < truth + 3 * found.w1_stderr
    assert found.critic_lipschitz == pytest.approx(1, abs=1e-3)


def test_real_samples_have_no_distance():
    found = estimate(WIDTH, BUDGET)
    assert abs(found.w1) < 3 * found.w1_stderr


def test_worse_cones_are_not_taken(monkeypatch: pytest.MonkeyPatch):
    """Cones are not taken where they are worse on the samples kept from training."""
    flat = Cones(torch.zeros(1, 2), 1, BUDGET.num_critics)
    monkeypatch.setattr(objective, "fit_cones", lambda *_: flat)
    rng = torch.Generator().manual_seed(0)
    real, evaluation = torch.randn(2, 4096, 2, generator=rng)

    def shifted(latents: Tensor) -> Tensor:
        return latents + torch.tensor([3.0, 0.0])

    assert score(shifted, 2, real, evaluation, BUDGET).w1 == pytest.approx(3, rel=0.05)


def test_more_dimensions_than_128_have_the_networks_alone():
    rng = torch.Generator().manual_seed(0)
    real, evaluation = torch.randn(2, 300, 129, generator=rng)
    budget = replace(BUDGET, critic_steps=2, num_generated=500)
    with_cones, without = (
        score(lambda z: 2 * z, 129, real, evaluation, b)
        for b in (budget, replace(budget, cones=False))
    )
    assert with_cones == without


def test_both_directions_are_tried():
    """A cluster within a wide cloud: a minimum of cones if it is generated, else a maximum."""
    rng = torch.Generator().manual_seed(0)
    wide, narrow = 3 * torch.randn(2000, 2, generator=rng), torch.randn(2000, 2, generator=rng)
    for real, generated, sign in ((wide, narrow, 1), (narrow, wide, -1)):
        kept = (real[1500:], generated[1500:])
        assert fit_cones(real[:1500], generated[:1500], kept, 20, 1, rng).sign == sign
