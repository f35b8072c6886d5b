"""Measure how well a score ranks pools of trials whose true distance from the data is known.

The true distances come from ``truth.py``: W1 and sliced W1 in the units of the data (the L2 norm of
a sample scaled to [-1, 1]), Fréchet distances in squared units of a classifier's features. The
independent critic's scores are in the units of the data too; the scale of a trial's own critic is
arbitrary. Correlations, ratios and ranks have no unit; times are CPU seconds of this process.
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
    """A pool with its true distances; ``yardsticks`` have one value per trial.

    ``floor`` has the yardsticks of real data against real data. ``critic_train``, ``critic_eval``
    and ``final`` are the held-out parts of the data, [n, *sample_shape].
    """

    members: list[Member]
    yardsticks: dict[str, np.ndarray]
    floor: dict[str, float]
    critic_train: torch.Tensor
    critic_eval: torch.Tensor
    final: torch.Tensor

    @property
    def truth(self) -> np.ndarray:
        """Return the exact W1 on 2-D data, or the squared Fréchet distance on images: [trials]."""
        return self.yardsticks["frechet" if "frechet" in self.yardsticks else "w1"]


#: The score of a trial of a pool, for a seed of the critic; lower is better.
Number = Callable[[Trials, Member, int], float]


@dataclass(frozen=True)
class Row:
    """The quality of one score as a ranking of the pools.

    The correlations with the truth are (mean over pools, 2.5%, 97.5%), in [-1, 1]: Spearman's rho
    and Kendall's tau-b by SciPy, with percentile intervals of a bootstrap over trials (Efron &
    Tibshirani 1993, chapter 13). The intervals do not include the variation over pools or seeds of
    the critic.
    """

    number: str
    spearman: tuple[float, float, float]
    kendall: tuple[float, float, float]
    kendall_best_half: tuple[float, float, float]  # of the half that is best by the truth
    regret: list[float]  # by pool: truth of the picked trial / truth of the best one - 1
    rank_of_pick: list[int]  # by pool: the rank of the picked trial by the truth; 1 is the best
    tightness: float  # median of score / exact W1 over all trials
    seed_std_over_gap: float  # see ``_seed_std_over_gap``; NaN if not measured
    seconds: float  # CPU seconds per trial
    share: float  # of the mean CPU time of training a trial
    kendall_by_yardstick: dict[str, float]  # mean over pools
    values: list[list[float]]  # by pool: the score of each trial


def rank(name: str, number: Number, pools: Sequence[Trials], log: Callable[[str], None]) -> Row:
    """Score every trial with the critic's seed 0, and compare the ranking with the truth."""
    started_s = time.process_time()
    values = [np.array([number(p, member, 0) for member in p.members]) for p in pools]
    seconds = (time.process_time() - started_s) / sum(len(p.members) for p in pools)
    log(f"{name}: {seconds:.2f} s a trial")
    truths = [p.truth for p in pools]
    picks = [int(np.argmin(v)) for v in values]
    w1 = np.concatenate([p.yardsticks["w1"] for p in pools])
    return Row(
        number=name,
        spearman=with_interval(lambda t, v: spearmanr(t, v)[0], truths, values),
        kendall=with_interval(lambda t, v: kendalltau(t, v)[0], truths, values),
        kendall_best_half=with_interval(kendall_best_half, truths, values),
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
    """Return the median std over seeds of the critic, divided by the median gap of neighbours.

    Both are of the scores of a pool's half that is best by the truth; averaged over pools.
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


def kendall_best_half(truth: np.ndarray, values: np.ndarray) -> float:
    """Return Kendall's tau among the half that is best by the truth."""
    half = _best_half(truth)
    return float(kendalltau(truth[half], values[half])[0])


def with_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    truths: Sequence[np.ndarray],
    values: Sequence[np.ndarray],
) -> tuple[float, float, float]:
    """Return the mean of a statistic over pools, with its 95% bootstrap interval over trials."""
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
