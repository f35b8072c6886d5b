"""The quality of scores whose ranking is known."""

import numpy as np
import pytest
import torch

from benchmarks.fidelity import pools
from benchmarks.fidelity.ranking import Trials, rank


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.fidelity.ranking.NUM_RESAMPLES", 100)


def trials(num_trials: int = 20) -> Trials:
    """Return untrained trials whose true distance is their number plus one."""
    members = [
        pools.Member(str(k), str(k), lambda z: z, 2, 0.0, 1.0, 1.0, 10.0) for k in range(num_trials)
    ]
    truth = {"w1": np.arange(1.0, num_trials + 1)}
    return Trials(members, truth, {"w1": 0.0}, *(torch.zeros(3, 2) for _ in range(3)))


def row(number):
    return rank("x", number, [trials(), trials()], lambda text: None)


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
