"""Do ``precision`` and ``compile`` change which trial wins? ``python -m benchmarks.speed.options``.

One pool of small trials on the 8 Gaussians, trained plainly and again with each option, and scored
alike. A re-run with another seed says how far an order moves by chance: what counts are the pairs
of trials that both seeds order alike.
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
    """One pass over the pool: what each trial scored, and the training's wall seconds."""

    w1: list[float]
    seconds: float

    @property
    def pick(self) -> int:
        """The trial that a search would take; one that diverged has no score, and never wins."""
        return int(np.nanargmin(self.w1))

    def first(self, one: int, other: int) -> int:
        """The better of two trials."""
        return one if self.w1[one] < self.w1[other] else other


def pool() -> Iterator[dict[str, Any]]:
    """Every constraint in turn, with learning rates from 1e-4 to 3e-3 of each player's own."""
    rng = np.random.default_rng(0)
    for number in range(NUM_TRIALS):
        rates = np.exp(rng.uniform(np.log(1e-4), np.log(3e-3), 2)).tolist()
        drawn = {"critic_lr": rates[0], "generator_lr": rates[1]}
        yield drawn | dict(CONSTRAINTS[number % len(CONSTRAINTS)])


def run(data: Data, *, seed: int = 0, **options: Any) -> Run:
    """Train the pool under the options, and score it."""
    real, fit, read = map(torch.from_numpy, (data.train, data.critic_train, data.critic_eval))
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
        estimate = score(state.scored, state.latent_dim, fit, read, config.objective.rung)
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
        print("".join(f"{each.w1[number]:14.3f}" for each in runs.values()))
    pairs = list(itertools.combinations(range(NUM_TRIALS), 2))
    sure = [p for p in pairs if plain.first(*p) == runs["another seed"].first(*p)]
    for name, each in runs.items():
        kept = sum(each.first(*pair) == plain.first(*pair) for pair in sure)
        tau, _ = kendalltau(plain.w1, each.w1, nan_policy="omit")
        print(
            f"{name:14} tau with plain {tau:5.2f}, picks trial {each.pick} "
            f"(plainly {plain.w1[each.pick]:.3f}), orders {kept} of {len(sure)} sure pairs alike, "
            f"{each.seconds:.0f} s of training"
        )


if __name__ == "__main__":
    main()
