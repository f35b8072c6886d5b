"""What the table says of numbers whose worth is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import pools
from benchmarks.designs import DESIGNS, Design, estimate
from benchmarks.fidelity import Trials, _row
from trainables.lipschitz import gradient_penalty


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.fidelity.NUM_RESAMPLES", 100)


def trials(num_trials: int = 20) -> Trials:
    """Trials whose truth is their number plus one; nothing is trained."""
    members = [
        pools.Member(str(k), str(k), lambda z: z, 2, 0.0, 1.0, 1.0, 10.0) for k in range(num_trials)
    ]
    truth = {"w1": np.arange(1.0, num_trials + 1)}
    return Trials(members, truth, {"w1": 0.0}, *(torch.zeros(3, 2) for _ in range(3)))


def row(number):
    return _row("x", number, [trials(), trials()], lambda text: None)


def test_the_truth_itself_ranks_perfectly_and_picks_the_best() -> None:
    found = row(lambda _, member, __: int(member.name) + 1.0)
    for statistic in (found.kendall, found.spearman, found.kendall_best_half):
        assert statistic == pytest.approx((1, 1, 1))
    assert found.regret == [0, 0]
    assert found.rank_of_pick == [1, 1]
    assert found.tightness == 1


def test_the_truth_upside_down_picks_the_worst() -> None:
    found = row(lambda _, member, __: -float(member.name))
    assert found.kendall[0] == pytest.approx(-1)
    assert found.regret == [19, 19]
    assert found.rank_of_pick == [20, 20]


def test_the_interval_of_noise_holds_zero_nearly_always() -> None:
    intervals = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        mean, low, high = row(lambda *_, rng=rng: rng.random()).kendall
        assert low < mean < high
        intervals.append((low, high))
    assert sum(low < 0 < high for low, high in intervals) >= 6


def test_a_pool_is_trained_once_and_then_the_same(tmp_path: Path, monkeypatch) -> None:
    said: list[str] = []

    def short(rng: np.random.Generator, number: int) -> dict:
        return pools.mixed(rng, number) | {"generator_steps": 3}

    monkeypatch.setitem(pools.SPACES, "mixed", short)
    first, again = (
        pools.pool("eight_gaussians", "mixed", 2, 0, tmp_path, said.append) for _ in range(2)
    )
    assert len(said) == 2
    latents = torch.randn(5, first[0].latent_dim)
    assert torch.equal(first[0].generate(latents), again[0].generate(latents))
    assert [m.critic_estimate for m in first] == [m.critic_estimate for m in again]


def test_every_twelfth_trial_is_made_to_collapse_and_another_to_run_away() -> None:
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
    found = estimate(design, lambda z: 0.3 * z + torch.tensor([0.6, 0.8]), 2, cloud, cloud, 0)
    assert found == pytest.approx(1, rel=0.1)


def test_features_are_for_images_only() -> None:
    pool = trials()
    assert np.isnan(DESIGNS["features, not pixels"](pool, pool.members[0], 0))
