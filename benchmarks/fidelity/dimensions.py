"""Measure estimates in many dimensions: ``python -m benchmarks.fidelity.dimensions``.

On Gaussians of which W1 is known in any dimension, because the samples move along the gradient of a
1-Lipschitz function: a shift, a smaller scale, and three quarters of the coordinates at zero. Every
critic bounds W1 from below, so that of two settings the one that reads more is the better one. As
shipped the learning rate of the critics falls with the dimension
(``objective.scaled_critic_lr``). Prints a table.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from trainables.config import ObjectiveConfig
from trainables.objective import score

DIMENSIONS = (64, 256, 795, 1216, 3072)
NUM_TRAIN, NUM_EVAL, SHIFT, SCALE = 4000, 2000, 5.0, 0.8
BUDGETS = {
    f"{name}, {kind}": getattr(ObjectiveConfig(scaled_critic_lr=is_scaled, final_cones=False), name)
    for name in ("rung", "final")
    for kind, is_scaled in (("one rate", False), ("as shipped", True))
}


def pairs(dim: int) -> dict[str, tuple[Callable[[Tensor], Tensor], float]]:
    """Return what moves standard normal samples [n, dim], and the W1 that it moves them by."""
    kept = dim // 4
    direction = torch.ones(dim) / math.sqrt(dim)

    def mean_norm(num: int) -> float:
        return math.sqrt(2) * math.exp(math.lgamma((num + 1) / 2) - math.lgamma(num / 2))

    def flattened(samples: Tensor) -> Tensor:
        return torch.cat([samples[:, :kept], torch.zeros(len(samples), dim - kept)], 1)

    return {
        f"shifted by {SHIFT:g}": (lambda x: x + SHIFT * direction, SHIFT),
        f"scaled by {SCALE:g}": (lambda x: SCALE * x, (1 - SCALE) * mean_norm(dim)),
        "three quarters at zero": (flattened, mean_norm(dim - kept)),
        "the same distribution": (lambda x: x, 0.0),
    }


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"| dimensions | generator | W1 | {' | '.join(BUDGETS)} |")
    print("|---" * (3 + len(BUDGETS)) + "|", flush=True)
    for dim in DIMENSIONS:
        rng = torch.Generator().manual_seed(0)
        real = torch.randn(NUM_TRAIN + NUM_EVAL, dim, generator=rng)
        for name, (move, truth) in pairs(dim).items():
            cells = []
            for budget in BUDGETS.values():
                estimate = score(move, dim, real[:NUM_TRAIN], real[NUM_TRAIN:], budget)
                cells.append(f"{estimate.w1:.2f} ± {1.96 * estimate.w1_stderr:.2g}")
            print(f"| {dim} | {name} | {truth:.2f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
