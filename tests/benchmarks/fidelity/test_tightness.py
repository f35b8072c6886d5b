"""The distance of the pairs is attained by their potential, so no other distance is right."""

import pytest
import torch

from benchmarks.fidelity import tightness
from benchmarks.fidelity.tightness import Funnels, pairs


@pytest.fixture(autouse=True)
def _fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tightness, "NUM_TRUTH", 10_000)


@pytest.mark.parametrize("dim", [2, 16])
def test_the_potential_of_funnels_attains_their_distance(dim: int) -> None:
    """A 1-Lipschitz function bounds W1 from below, the moves bound it from above."""
    funnels = Funnels.draw(dim, 8)
    still, moved = (
        funnels.sample(20_000, torch.Generator().manual_seed(0), moved=m) for m in (False, True)
    )

    def potential(samples: torch.Tensor) -> torch.Tensor:
        return (torch.cdist(samples, funnels.centres) + funnels.heights).min(1).values

    below = (potential(still) - potential(moved)).mean().item()
    above = (still - moved).norm(dim=1).mean().item()
    assert below == pytest.approx(above, rel=1e-4)
    assert funnels.w1() == pytest.approx(above, rel=0.02)


def test_the_halves_of_a_pair_of_both_kinds_are_too_far_apart_to_matter() -> None:
    one, other, both = pairs(2, 4)
    assert one.w1 == other.w1
    assert both.w1 != one.w1
    rng = torch.Generator().manual_seed(0)
    first = torch.cat([both.real(500, rng), both.generated(500, rng)])[:, 0]
    near = first < first.mean()
    assert 0.4 < near.float().mean() < 0.6
    assert first[~near].min() - first[near].max() > both.w1
