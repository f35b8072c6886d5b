"""The pools of trials, and the other designs of a critic."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.fidelity import pools
from benchmarks.fidelity.designs import Design, estimate
from trainables.training.lipschitz import gradient_penalty


def test_a_pool_is_trained_once_and_then_the_same(tmp_path: Path, monkeypatch) -> None:
    messages: list[str] = []

    def short(rng: np.random.Generator, number: int) -> dict:
        return pools.mixed(rng, number) | {"generator_steps": 3}

    monkeypatch.setitem(pools.SPACES, "mixed", short)
    first, cached = (
        pools.pool("eight_gaussians", "mixed", 2, 0, tmp_path, messages.append) for _ in range(2)
    )
    assert len(messages) == 2
    latents = torch.randn(5, first[0].latent_dim)
    assert torch.equal(first[0].generate(latents), cached[0].generate(latents))
    assert [m.critic_estimate for m in first] == [m.critic_estimate for m in cached]


def test_one_of_twelve_trials_will_collapse_and_another_will_be_unstable() -> None:
    rng = np.random.default_rng(0)
    drawn = [pools.mixed(rng, number)["training"] for number in range(24)]
    assert sum(d["generator_lr"] == 1e-2 and d["n_critic"] == 1 for d in drawn) >= 2
    assert sum(d.get("clip_value") == 3.0 for d in drawn) == 2


@pytest.mark.parametrize(
    "design",
    [Design(), Design(penalty=gradient_penalty), Design(penalty=None, group_sort=True)],
    ids=["one-sided", "two-sided", "GroupSort"],
)
def test_a_design_finds_a_shift(design: Design) -> None:
    cloud = torch.randn(2000, 2, generator=torch.Generator().manual_seed(3)) * 0.3
    small = replace(design, steps=60, width=16)
    w1 = estimate(small, lambda z: 0.3 * z + torch.tensor([0.6, 0.8]), 2, cloud, cloud, 0)
    assert w1 == pytest.approx(1, rel=0.1)
