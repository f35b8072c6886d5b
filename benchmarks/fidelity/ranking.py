"""How well a number ranks pools of trials whose distance from the data is known.

The distances come from ``truth.py``: W1 and sliced W1 in the data's own units (L2 norm of a
sample scaled to [-1, 1]), Fréchet distances in squared units of a classifier's features. The
independent critic's numbers are in the data's units too; a trial's own critic has a scale of its
own. Correlations, ratios and ranks have no unit; times are CPU seconds of this process.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import kendalltau, rankdata, spearmanr

from benchmarks.fidelity.pools import Member

NUM_RESAMPLES = 500
CRITIC_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Trials:
    """A pool with its truth from ``truth.py``; ``yardsticks`` hold a value a trial."""

    members: list[Member]
    yardsticks: dict[str, np.ndarray]
    floor: dict[str, float]  # what the yardsticks say of real against real
    fit: torch.Tensor  # [n, *sample_shape], as are the next two: parts that no trial trains on
    read: torch.Tensor
    final: torch.Tensor

    @property
    def truth(self) -> np.ndarray:
        """[trials]: exact W1 in the plane, the squared Fréchet distance on images."""
        return self.yardsticks["frechet" if "frechet" in self.yardsticks else "w1"]


#: What a number says of a trial, for a seed of its critic; lower is better.
Number = Callable[[Trials, Member, int], float]


@dataclass(frozen=True)
class Row:
    """How one number ranks the pools.

    The correlations with the truth are (mean over pools, 2.5%, 97.5%), in [-1, 1]: Spearman's rho
    and Kendall's tau-b as scipy has them, percentile intervals of a bootstrap over trials (Efron &
    Tibshirani 1993, chapter 13). They say nothing of other pools or other seeds of the critic.
    """

    number: str
    spearman: tuple[float, float, float]
    kendall: tuple[float, float, float]
    kendall_best_half: tuple[float, float, float]  # of the trials that are truly best
    regret: list[float]  # truth of the trial that it picks over the best one's, less one; a pool
    rank_of_pick: list[int]  # by the truth, a pool; 1: the best
    tightness: float  # median over all trials of number / exact W1
    seed_std_over_gap: float  # see ``_seed_std_over_gap``; nan where it was not measured
    seconds: float  # of CPU time, for one trial
    share: float  # of the CPU time that training a trial takes, on average
    kendall_by_yardstick: dict[str, float]  # mean over pools
    values: list[list[float]]  # of every trial, by pool; what the number says


def rank(name: str, number: Number, pools: Sequence[Trials], say: Callable[[str], None]) -> Row:
    """Ask a number of every trial, with its critic's seed 0, and hold the answers to the truth."""
    started_s = time.process_time()
    values = [np.array([number(p, member, 0) for member in p.members]) for p in pools]
    seconds = (time.process_time() - started_s) / sum(len(p.members) for p in pools)
    say(f"{name}: {seconds:.2f} s a trial")
    truths = [p.truth for p in pools]
    picks = [int(np.argmin(v)) for v in values]
    w1 = np.concatenate([p.yardsticks["w1"] for p in pools])
    return Row(
        number=name,
        spearman=_with_interval(lambda t, v: spearmanr(t, v)[0], truths, values),
        kendall=_with_interval(lambda t, v: kendalltau(t, v)[0], truths, values),
        kendall_best_half=_with_interval(_kendall_best_half, truths, values),
        regret=[float(t[k] / t.min() - 1) for t, k in zip(truths, picks, strict=True)],
        rank_of_pick=[int(rankdata(t, "min")[k]) for t, k in zip(truths, picks, strict=True)],
        tightness=float(np.median(np.concatenate(values) / w1)),
        seed_std_over_gap=_seed_std_over_gap(number, pools) if "default" in name else math.nan,
        seconds=seconds,
        share=float(seconds / np.mean([m.training_cpu_seconds for p in pools for m in p.members])),
        kendall_by_yardstick={
            yardstick: float(
                np.mean(
                    [
                        kendalltau(p.yardsticks[yardstick], v)[0]
                        for p, v in zip(pools, values, strict=True)
                    ]
                )
            )
            for yardstick in pools[0].yardsticks
        },
        values=[v.tolist() for v in values],
    )


def _seed_std_over_gap(number: Number, pools: Sequence[Trials]) -> float:
    """The median standard deviation over critics' seeds, over the median gap of neighbours.

    Both of what the number says of a pool's truly best half; the mean over pools.
    """
    ratios = []
    for p in pools:
        half = [p.members[k] for k in _best_half(p.truth)]
        values = np.array([[number(p, m, seed) for m in half] for seed in CRITIC_SEEDS])
        gaps = np.diff(np.sort(values.mean(axis=0)))
        ratios.append(np.median(values.std(axis=0, ddof=1)) / np.median(gaps))
    return float(np.mean(ratios))


def _best_half(truth: np.ndarray) -> np.ndarray:
    return np.argsort(truth, kind="stable")[: len(truth) // 2]


def _kendall_best_half(truth: np.ndarray, values: np.ndarray) -> float:
    half = _best_half(truth)
    return float(kendalltau(truth[half], values[half])[0])


def _with_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    truths: Sequence[np.ndarray],
    values: Sequence[np.ndarray],
) -> tuple[float, float, float]:
    """The mean over pools, and its 95% interval when each pool's trials are drawn again."""
    rng = np.random.default_rng(0)
    pairs = list(zip(truths, values, strict=True))
    resampled = []
    for _ in range(NUM_RESAMPLES):
        drawn = [rng.integers(len(t), size=len(t)) for t, _ in pairs]
        resampled.append(
            np.mean([statistic(t[k], v[k]) for (t, v), k in zip(pairs, drawn, strict=True)])
        )
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return float(np.mean([statistic(t, v) for t, v in pairs])), float(low), float(high)
