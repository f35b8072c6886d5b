"""Measure whether options change the best trial: ``python -m benchmarks.speed.options``.

Trains one pool of small trials on the 8 Gaussians without options and with ``precision`` and
``compile``, and scores them alike. A run with another seed shows how much the order changes by
chance: only pairs of trials that both seeds order alike count.
"""

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau

from trainables.config import DataConfig, NetworkConfig, TrainingConfig, TrialConfig
from trainables.data import Data, load
from trainables.objective import score
from trainables.training import TrainState, train

NUM_TRIALS = 15
GENERATOR_STEPS = 300
NETWORKS = NetworkConfig(generator_width=64, critic_width=64)
CONSTRAINTS: tuple[Mapping[str, Any], ...] = (
    {"constraint": "gradient_penalty"},
    {"constraint": "one_sided_penalty"},
    {"constraint": "clip", "clip_value": 0.1},
    {"constraint": "spectral_norm"},
    {"constraint": "orthogonal"},
)
RUNS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "another seed": {"seed": 1},
    "bfloat16": {"precision": "bfloat16"},
    "compile": {"compile": True},
}


@dataclass(frozen=True)
class Run:
    """One run of the pool: the score of each trial, and the wall seconds of training."""

    w1: list[float]
    seconds: float

    @property
    def pick(self) -> int:
        """Return the best trial; a diverged one has the score NaN."""
        return int(np.nanargmin(self.w1))

    def better(self, one: int, other: int) -> int:
        """Return the better of two trials."""
        return one if self.w1[one] < self.w1[other] else other


def pool() -> Iterator[dict[str, Any]]:
    """Yield trainings with each constraint in turn, and two learning rates from 1e-4 to 3e-3."""
    rng = np.random.default_rng(0)
    for number in range(NUM_TRIALS):
        rates = np.exp(rng.uniform(np.log(1e-4), np.log(3e-3), 2)).tolist()
        drawn = {"critic_lr": rates[0], "generator_lr": rates[1]}
        yield drawn | dict(CONSTRAINTS[number % len(CONSTRAINTS)])


def run(data: Data, *, seed: int = 0, **options: Any) -> Run:
    """Train the pool with the options, and score it."""
    real, critic_train, critic_eval = map(
        torch.from_numpy, (data.train, data.critic_train, data.critic_eval)
    )
    scores, seconds = [], 0.0
    for number, training in enumerate(pool()):
        config = TrialConfig(
            networks=NETWORKS,
            training=TrainingConfig.model_validate(training | options),
            seed=100 * seed + number,
        )
        started_s = time.perf_counter()
        state = TrainState.create(config, data.sample_shape)
        list(train(state, config.training, real, [GENERATOR_STEPS]))
        seconds += time.perf_counter() - started_s
        budget = config.objective.rung
        estimate = score(state.scored, state.latent_dim, critic_train, critic_eval, budget)
        scores.append(estimate.w1)
    return Run(scores, seconds)


def main() -> None:
    """Train all, and print the table."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    data = load(DataConfig(dataset="eight_gaussians"))
    runs = {name: run(data, **settings) for name, settings in RUNS.items()}
    plain = runs["plain"]
    print(f"{'trial':36}" + "".join(f"{name:>14}" for name in runs))
    for number, training in enumerate(pool()):
        rates = f"{training['critic_lr']:.1e} {training['generator_lr']:.1e}"
        print(f"{number} {training['constraint']:17} {rates:16}", end="")
        print("".join(f"{result.w1[number]:14.3f}" for result in runs.values()))
    pairs = list(itertools.combinations(range(NUM_TRIALS), 2))
    sure = [p for p in pairs if plain.better(*p) == runs["another seed"].better(*p)]
    for name, result in runs.items():
        num_alike = sum(result.better(*pair) == plain.better(*pair) for pair in sure)
        tau, _ = kendalltau(plain.w1, result.w1, nan_policy="omit")
        print(
            f"{name:14} tau with plain {tau:5.2f}, picks trial {result.pick} "
            f"(plain score {plain.w1[result.pick]:.3f}), orders {num_alike} of {len(sure)} sure "
            f"pairs alike, {result.seconds:.0f} s of training"
        )


if __name__ == "__main__":
    main()
