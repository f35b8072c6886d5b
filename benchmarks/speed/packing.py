"""Measure the speed of several trials at a time: ``python -m benchmarks.speed.packing``.

Compares trials on the cores of this machine, with one thread each, with a single trial; also on a
GPU if there is one. Compares the independent critics of a rung, trained as one batch, with training
them one after the other.
"""

import os
import statistics
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any

import torch

from benchmarks.speed.growth import Size, Trial
from trainables.config import DataConfig, ObjectiveConfig
from trainables.data import as_tensor, load
from trainables.objective import score

NUM_PAIRS = 5
_MEASURED_S = 3.0
CRITICS = (1, 2, 4, 8)
ON_A_GPU = (1, 2, 4, 8)
_spawn = get_context("spawn")


def table() -> str:
    """Return the tables in Markdown."""
    cores = os.cpu_count() or 1
    lines = [*_trials("cpu", f"{cores} cores", (1, cores, 2 * cores), cores), ""]
    if torch.cuda.is_available():
        lines += [*_trials("cuda", torch.cuda.get_device_name(), ON_A_GPU, None), ""]
    else:
        lines += ["On a GPU: not measured.", ""]
    return "\n".join([*lines, *_critics()])


def _trials(device: str, name: str, numbers: Sequence[int], limit: int | None) -> list[str]:
    """Return the table of several numbers of trials at a time.

    Args:
        device: The device of the trials.
        name: Its name in the table.
        numbers: The numbers of trials, with 1 among them.
        limit: The largest speedup in theory, if there is one.
    """
    ratios: dict[int, list[float]] = {num: [] for num in numbers}
    steps: dict[int, list[float]] = {num: [] for num in numbers}
    for _ in range(NUM_PAIRS):
        for num in numbers:
            steps[num].append(_steps_per_s(num, device))
            ratios[num].append(steps[num][-1] / steps[1][-1])
    lines = [
        f"| trials at a time on {name} | generator steps a second, all of them "
        "| to one alone | in theory |",
        "|---|---|---|---|",
    ]
    for num in numbers:
        lines.append(
            f"| {num} | {statistics.median(steps[num]):.0f} | {_spread(ratios[num])} "
            f"| {'-' if limit is None else min(num, limit)} |"
        )
    return lines


def _steps_per_s(num_trials: int, device: str) -> float:
    """Measure the total generator steps per second of trials in a process each."""
    barrier, rates = _spawn.Barrier(num_trials), _spawn.SimpleQueue()
    args = (barrier, rates, device)
    processes = [_spawn.Process(target=_train, args=args) for _ in range(num_trials)]
    for process in processes:
        process.start()
    total = sum(rates.get() for _ in processes)
    for process in processes:
        process.join()
    return total


def _train(barrier: Barrier, rates: Any, device: str) -> None:
    torch.set_num_threads(1)
    trial = Trial(Size(), device)
    barrier.wait()
    rate = 1_000 / trial.ms(_MEASURED_S)
    barrier.wait()  # so that all trials train during all measurements
    rates.put(rate)


def _critics() -> list[str]:
    torch.set_num_threads(1)
    data = load(DataConfig(dataset="digits"))
    parts = as_tensor(data.critic_train), as_tensor(data.critic_eval)
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(16, parts[0][0].numel(), generator=rng) / 4

    def seconds(num_critics: int) -> float:
        objective = ObjectiveConfig(num_critics=num_critics)
        started_s = time.perf_counter()
        score(lambda latents: torch.tanh(latents @ maps), 16, *parts, objective.rung)
        return time.perf_counter() - started_s

    lines = [
        "| critics of a rung | seconds, as one batch | one after the other, to that |",
        "|---|---|---|",
    ]
    for num in CRITICS:
        pairs = [(seconds(num), sum(seconds(1) for _ in range(num))) for _ in range(NUM_PAIRS)]
        batched_s = statistics.median(batched for batched, _ in pairs)
        ratios = [sequential / batched for batched, sequential in pairs]
        lines.append(f"| {num} | {batched_s:.2f} | {_spread(ratios)} |")
    return lines


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    print(table())
