"""Measure the memory that the data take: ``python -m benchmarks.speed.shared_memory``.

Trials on a local Ray train on one array of images, and on one of 1 MiB for comparison. While all of
them train, the kernel reports the private memory of each process (USS), and with shared memory
counted in full (RSS) or divided by the processes that share it (PSS). Linux only.
"""

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Before Ray, which reads its settings when it is imported.
from tuner import cluster  # noqa: F401  # isort: skip
import ray
from ray import tune

from trainables.config import TrialConfig
from trainables.data import Data, split
from trainables.trial import Schedule
from trainables.wgan import train_wgan

SIDE = 32
BASELINE_MIB = 1
NUM_STEPS = 50
_POLL_S = 2.0  # each poll is slow: the kernel walks all pages of a process
_MIB = 2**20


@dataclass(frozen=True)
class Memory:
    """The memory of one process in MiB."""

    name: str
    uss: float
    pss: float
    rss: float


def main() -> None:
    """Measure each number of trials with the data and with the baseline, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1.0, help="of the images; 1")
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 8], help="at a time; 1 8")
    args = parser.parse_args()
    sums = {}
    for num_trials in args.trials:
        for mib in (BASELINE_MIB, 1024 * args.gib):
            processes = _measure(num_trials, round(mib * _MIB))
            sums[num_trials, mib] = sum(memory.pss for memory in processes)
            _print(num_trials, mib, processes)
    print("\nMiB of the whole group (sum of PSS), and of a trial more:")
    print(f"{'trials':>8}{'baseline':>10}{'with data':>11}{'the data cost':>15}{'per trial':>11}")
    first = args.trials[0]
    costs = {n: sums[n, 1024 * args.gib] - sums[n, BASELINE_MIB] for n in args.trials}
    for n, cost in costs.items():
        per_trial = f"{(cost - costs[first]) / (n - first):11.1f}" if n != first else f"{'-':>11}"
        with_data = sums[n, 1024 * args.gib]
        print(f"{n:8}{sums[n, BASELINE_MIB]:10.0f}{with_data:11.0f}{cost:15.0f}{per_trial}")


def _measure(num_trials: int, num_bytes: int) -> list[Memory]:
    """Run trials at the same time; return all processes at the peak of their total memory."""
    with _ray(num_trials, num_bytes), tempfile.TemporaryDirectory() as folder:
        reference = ray.put(_images(num_bytes))
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(_train, reference, num_trials, Path(folder))
            peak: list[Memory] = []
            while not running.done():
                current = list(_processes())
                trials = sum(_is_trial(memory) for memory in current)
                total, peak_total = (sum(m.pss for m in group) for group in (current, peak))
                if trials == num_trials and total > peak_total:
                    peak = current
                time.sleep(_POLL_S)
            if errors := running.result().errors:
                raise errors[0]
    return peak


@contextmanager
def _ray(num_cpus: int, num_bytes: int) -> Iterator[None]:
    ray.init(
        num_cpus=num_cpus,
        object_store_memory=num_bytes + 512 * _MIB,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield
    finally:
        ray.shutdown()


def _images(num_bytes: int) -> Data:
    rng = np.random.default_rng(0)
    # At least 500, so that the held-out parts of the baseline are not too small.
    num_images = max(500, num_bytes // (3 * SIDE**2))
    return split(rng.integers(0, 256, (num_images, 3, SIDE, SIDE), np.uint8), rng)


def _train(reference: ray.ObjectRef, num_trials: int, folder: Path) -> tune.ResultGrid:
    """Train tiny networks on batches that touch all of the data."""
    trial = TrialConfig.model_validate(
        {
            "networks": {"generator_width": 4, "critic_width": 4},
            "training": {"constraint": "clip", "batch_size": 512},
            "objective": {"critic_steps": 5},
        }
    )
    schedule = Schedule(
        rungs=(NUM_STEPS,),
        report_every_generator_steps=NUM_STEPS,
        checkpoint_every_generator_steps=NUM_STEPS,
    )
    config: dict[str, Any] = {
        "trial": trial.model_dump(mode="json", exclude_none=True),
        "schedule": schedule.model_dump(mode="json"),
        "threads": 1,
        "search": "shared",
        "number": 0,
        "report_timeout_s": 600.0,
        "checkpoints": [],
    }
    trainable = tune.with_parameters(train_wgan, data=[reference])
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=config,
        tune_config=tune.TuneConfig(num_samples=num_trials, metric="w1", mode="min"),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    return tuner.fit()


def _processes() -> Iterator[Memory]:
    """Measure this process and all of its descendants, Ray's servers included."""
    parents, names = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text().rpartition(")")
            command = (stat.parent / "cmdline").read_text().replace("\0", " ").strip()
        except OSError:  # the process has ended
            continue
        pid = int(stat.parent.name)
        parents[pid] = int(tail.split()[1])
        names[pid] = command if command.startswith("ray::") else head.partition("(")[2]
    group = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in group} - group:
        group |= more
    for pid in sorted(group):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        uss = kib["Private_Clean"] + kib["Private_Dirty"]
        name = "this driver" if pid == os.getpid() else names[pid]
        yield Memory(name, uss / 1024, kib["Pss"] / 1024, kib["Rss"] / 1024)


def _is_trial(memory: Memory) -> bool:
    return memory.name.startswith("ray::ImplicitFunc")  # Ray Tune's name for a function's actor


def _print(num_trials: int, mib: float, processes: list[Memory]) -> None:
    print(f"\n{num_trials} trial(s) at a time, {mib:g} MiB of images; MiB of each process:")
    print(f"{'':<34}{'private (USS)':>14}{'shared (PSS-USS)':>18}{'PSS':>8}{'RSS':>8}")
    for m in sorted(processes, key=_is_trial):
        if _is_trial(m) or m.pss > 50:
            print(f"  {m.name:<32}{m.uss:14.0f}{m.pss - m.uss:18.0f}{m.pss:8.0f}{m.rss:8.0f}")
    print(f"  {'all ' + str(len(processes)):<48}{'':18}{sum(m.pss for m in processes):8.0f}")


if __name__ == "__main__":
    main()
