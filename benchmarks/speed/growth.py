"""Measure how training time grows with size: ``python -m benchmarks.speed.growth``.

WGAN-GP on 2-D data with one thread: milliseconds per generator step for several widths, batch sizes
and numbers of rows of data. In theory the time is proportional to the arithmetic of a step, and
independent of the rows of data.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from trainables.config import NetworkConfig, TrainingConfig, TrialConfig
from trainables.training import TrainState, train

WIDTHS = (32, 64, 128, 256, 512)
BATCHES = (16, 64, 256, 1024)
ROWS = (1_000, 10_000, 100_000, 1_000_000)
WIDTH, BATCH = 128, 256
SIDE = 2
_MEASURED_S = 2.0
_ROUNDS = 3


@dataclass(frozen=True)
class Size:
    """The sizes of a trial that are varied."""

    width: int = WIDTH
    batch_size: int = BATCH
    rows: int = 10_000

    def config(self) -> TrialConfig:
        """Return the configuration of the trial."""
        return TrialConfig(
            networks=NetworkConfig(generator_width=self.width, critic_width=self.width),
            training=TrainingConfig(
                constraint="gradient_penalty", n_critic=5, batch_size=self.batch_size
            ),
        )


class _Flops(TorchDispatchMode):
    """A counter of floating-point operations, by PyTorch's own formulas.

    PyTorch's ``FlopCounterMode`` also counts per module, with hooks that fail for second-order
    gradients.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


class Trial:
    """A trial whose training time and operations can be measured."""

    def __init__(self, size: Size, device: str = "cpu") -> None:
        self._config = size.config()
        rng = torch.Generator().manual_seed(0)
        self._real = (torch.rand(size.rows, SIDE, generator=rng) * 2 - 1).to(device)
        self._state = TrainState.create(self._config, (SIDE,), device)
        self.run(20)

    def run(self, num_steps: int) -> None:
        """Train for ``num_steps`` generator steps."""
        until = self._state.generator_steps + num_steps
        for _ in train(self._state, self._config.training, self._real, [until]):
            pass

    def flops(self) -> int:
        """Count the operations of matrix products in a generator step with its critic steps."""
        counts = []
        for num_steps in (1, 2):  # the difference excludes the cost of a report
            with _Flops() as counter:
                self.run(num_steps)
            counts.append(counter.total)
        return counts[1] - counts[0]

    def ms(self, seconds: float = _MEASURED_S) -> float:
        """Measure the milliseconds of a generator step, for about ``seconds``."""
        started_s, num_steps = time.perf_counter(), 0
        while (taken_s := time.perf_counter() - started_s) < seconds:
            self.run(10)
            num_steps += 10
        return 1_000 * taken_s / num_steps


def table() -> str:
    """Return the time of each size as a Markdown table: the least of several rounds."""
    torch.set_num_threads(1)
    kinds: Mapping[str, Sequence[Size]] = {
        "width": [Size(width=width) for width in WIDTHS],
        "batch": [Size(batch_size=size) for size in BATCHES],
        "rows of data": [Size(rows=rows) for rows in ROWS],
    }
    lines = [
        "| varied | | ms a generator step | to the first | in theory | GFLOP/s |",
        "|---|---|---|---|---|---|",
    ]
    for kind, sizes in kinds.items():
        trials = [Trial(size) for size in sizes]
        times = [min(rounds) for rounds in zip(*_rounds(trials), strict=True)]
        flops = [trial.flops() for trial in trials]
        for size, ms, flop in zip(sizes, times, flops, strict=True):
            lines.append(
                f"| {kind} | {_value(kind, size):,} | {ms:.2f} | {ms / times[0]:.2f} "
                f"| {flop / flops[0]:.2f} | {flop / ms / 1e6:.1f} |"
            )
    return "\n".join(lines)


def _rounds(trials: Sequence[Trial]) -> list[list[float]]:
    return [[trial.ms(_MEASURED_S / _ROUNDS) for trial in trials] for _ in range(_ROUNDS)]


def _value(kind: str, size: Size) -> Any:
    return {"width": size.width, "batch": size.batch_size, "rows of data": size.rows}[kind]


if __name__ == "__main__":
    print(table())
