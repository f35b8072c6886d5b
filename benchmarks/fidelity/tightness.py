"""Measure how tight the final's estimate is: ``python -m benchmarks.fidelity.tightness``.

On pairs of distributions whose W1 is known in any dimension (after Korotin et al. 2022, arXiv
2206.07767): samples of a uniform distribution move along the rays of a 1-Lipschitz function u, so
that no plan is better, and W1 is the mean length of the moves. ``funnels``: u is the smallest of
many distances from random points, and each sample moves half of the way to its point; once with the
uniform distribution as the data, and once with the moved one. ``both``: half of the data is moved
in one such pair, and is the uniform distribution of another, far away. Neither a minimum nor a
maximum of cones is its potential.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trainables.config import CriticBudget, ObjectiveConfig
from trainables.objective import score

DIMENSIONS, NUMS_FUNNELS = (2, 4, 8, 16, 32, 128), (4, 16, 64, 256)
#: Real samples of the final of synthetic data, to train on and to evaluate on.
NUM_TRAIN, NUM_EVAL, NUM_TRUTH = 12_288, 8192, 100_000
#: Standard deviation of the heights of the funnels; the data's is 1 in each coordinate.
HEIGHTS = 0.04
FINAL = ObjectiveConfig().final
BUDGETS = {"networks": replace(FINAL, cones=False), "as shipped": FINAL}


@dataclass(frozen=True)
class Funnels:
    """A uniform distribution, and the same moved half of the way to the nearest funnel."""

    centres: Tensor
    heights: Tensor

    @classmethod
    def draw(cls, dim: int, num: int) -> "Funnels":
        """Draw the funnels of a pair."""
        rng = torch.Generator().manual_seed(1000 * dim + num)
        heights = HEIGHTS * torch.randn(num, generator=rng)
        return cls(_uniform(num, dim, rng), heights)

    def sample(self, num: int, rng: torch.Generator, *, moved: bool) -> Tensor:
        """Draw samples [num, dim]."""
        samples = _uniform(num, self.centres.shape[1], rng)
        return samples + 0.5 * (self._nearest(samples) - samples) if moved else samples

    def w1(self) -> float:
        """Return the true distance, to about a thousandth."""
        rng = torch.Generator().manual_seed(0)
        samples = _uniform(NUM_TRUTH, self.centres.shape[1], rng)
        return 0.5 * (self._nearest(samples) - samples).norm(dim=1).mean().item()

    def _nearest(self, samples: Tensor) -> Tensor:
        parts = samples.split(2048)
        nearest = [(torch.cdist(part, self.centres) + self.heights).argmin(1) for part in parts]
        return self.centres[torch.cat(nearest)]


Draw = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True)
class Pair:
    """Real data, a generator, and the distance between them."""

    kind: str
    dim: int
    num: int
    real: Draw
    generated: Draw
    w1: float


def pairs(dim: int, num: int) -> list[Pair]:
    """Return the three kinds of pairs."""
    one, other = Funnels.draw(dim, num), Funnels.draw(dim, num + 1)
    truth = one.w1()

    def drawn(moved: bool) -> Draw:
        return lambda n, rng: one.sample(n, rng, moved=moved)

    def mixed(moved: bool) -> Draw:
        def draw(n: int, rng: torch.Generator) -> Tensor:
            far = torch.zeros(dim)
            far[0] = 4 * math.sqrt(3 * dim)  # beyond the reach of the other's potential
            parts = (
                one.sample(n // 2, rng, moved=moved),
                other.sample(n - n // 2, rng, moved=not moved),
            )
            return torch.cat([parts[0], parts[1] + far])[torch.randperm(n, generator=rng)]

        return draw

    return [
        Pair("funnels", dim, num, drawn(False), drawn(True), truth),
        Pair("funnels, data moved", dim, num, drawn(True), drawn(False), truth),
        Pair("both", dim, num, mixed(False), mixed(True), (truth + other.w1()) / 2),
    ]


def read(pair: Pair, budget: CriticBudget) -> tuple[float, float]:
    """Return the estimate over the truth, and the CPU seconds that it takes."""
    rng = torch.Generator().manual_seed(1)
    train, evaluation = pair.real(NUM_TRAIN, rng), pair.real(NUM_EVAL, rng)
    rng = torch.Generator().manual_seed(2)
    started_s = time.process_time()
    estimate = score(lambda z: pair.generated(len(z), rng), 1, train, evaluation, budget)
    return estimate.w1 / pair.w1, time.process_time() - started_s


def _uniform(num: int, dim: int, rng: torch.Generator) -> Tensor:
    return (2 * torch.rand(num, dim, generator=rng) - 1) * math.sqrt(3)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dimensions", type=int, nargs="+", default=DIMENSIONS)
    parser.add_argument("--funnels", type=int, nargs="+", default=NUMS_FUNNELS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    names = list(BUDGETS)
    print(
        f"| pair | D | funnels | W1 | {' | '.join(f'{n}: estimate / W1, CPU s' for n in names)} |"
    )
    print("|---|---|---|---|" + "---|" * len(names))
    errors: dict[tuple[str, str, str], list[float]] = {}
    for dim in args.dimensions:
        for pair in (pair for num in args.funnels for pair in pairs(dim, num)):
            found = {name: read(pair, budget) for name, budget in BUDGETS.items()}
            cells = " | ".join(f"{ratio:.2f}, {seconds:.1f}" for ratio, seconds in found.values())
            print(f"| {pair.kind} | {dim} | {pair.num} | {pair.w1:.3g} | {cells} |", flush=True)
            for name, (ratio, _) in found.items():
                group = "D <= 8" if dim <= 8 else "D > 8"
                kind = "both" if pair.kind == "both" else "funnels"
                errors.setdefault((kind, group, name), []).append(abs(ratio - 1))
    print("\n| pairs | dimensions | critics | median error | largest |\n|---|---|---|---|---|")
    for key, values in sorted(errors.items()):
        print(f"| {' | '.join(key)} | {np.median(values):.0%} | {max(values):.0%} |")


if __name__ == "__main__":
    main()
