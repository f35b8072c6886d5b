"""Several at a time: ``python -m benchmarks.speed.packing``.

Trials on the cores of this machine, one thread each, against one alone, and on its GPU if it has
one; and the independent critics of a rung, trained as one batch, against one after the other.
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
    """The tables, in Markdown."""
    cores = os.cpu_count() or 1
    lines = [*_trials("cpu", f"{cores} cores", (1, cores, 2 * cores), cores), ""]
    if torch.cuda.is_available():
        lines += [*_trials("cuda", torch.cuda.get_device_name(), ON_A_GPU, None), ""]
    else:
        lines += ["On a GPU: not measured.", ""]
    return "\n".join([*lines, *_critics()])


def _trials(device: str, on: str, numbers: Sequence[int], most: int | None) -> list[str]:
    """Of so many trials at a time; ``most`` is by how much they can gain, where that is known."""
    ratios: dict[int, list[float]] = {num: [] for num in numbers}
    steps: dict[int, list[float]] = {num: [] for num in numbers}
    for _ in range(NUM_PAIRS):
        for num in numbers:
            steps[num].append(_together(num, device))
            ratios[num].append(steps[num][-1] / steps[1][-1])
    lines = [
        f"| trials at a time on {on} | generator steps a second, all of them "
        "| to one alone | in theory |",
        "|---|---|---|---|",
    ]
    for num in numbers:
        lines.append(
            f"| {num} | {statistics.median(steps[num]):.0f} | {_spread(ratios[num])} "
            f"| {'-' if most is None else min(num, most)} |"
        )
    return lines


def _together(num_trials: int, device: str) -> float:
    """Generator steps a second of so many trials, in a process each."""
    barrier, counts = _spawn.Barrier(num_trials), _spawn.SimpleQueue()
    given = (barrier, counts, device)
    processes = [_spawn.Process(target=_train, args=given) for _ in range(num_trials)]
    for process in processes:
        process.start()
    rates = [counts.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(rates)


def _train(barrier: Barrier, rates: Any, device: str) -> None:
    torch.set_num_threads(1)
    trial = Trial(Size(), device)
    barrier.wait()
    rate = 1_000 / trial.ms(_MEASURED_S)
    barrier.wait()  # all the while, all of them train
    rates.put(rate)


def _critics() -> list[str]:
    torch.set_num_threads(1)
    data = load(DataConfig(dataset="digits"))
    fit, read = as_tensor(data.critic_train), as_tensor(data.critic_eval)
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(16, fit[0].numel(), generator=rng) / 4

    def seconds(num_critics: int) -> float:
        objective = ObjectiveConfig(num_critics=num_critics)
        started_s = time.perf_counter()
        score(lambda latents: torch.tanh(latents @ maps), 16, fit, read, objective.rung)
        return time.perf_counter() - started_s

    lines = [
        "| critics of a rung | seconds, as one batch | one after the other, to that |",
        "|---|---|---|",
    ]
    for num in CRITICS:
        pairs = [(seconds(num), sum(seconds(1) for _ in range(num))) for _ in range(NUM_PAIRS)]
        together = statistics.median(one for one, _ in pairs)
        ratios = [apart / one for one, apart in pairs]
        lines.append(f"| {num} | {together:.2f} | {_spread(ratios)} |")
    return lines


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    print(table())
