"""One trial from its first step to its last rung: train, be scored, report; no Ray here."""

import bisect
import ctypes
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from trainables.checkpoint import GENERATOR, STATE, load_whole
from trainables.config import Frozen, NetworkConfig, ObjectiveConfig, TrialConfig, Whole
from trainables.data import Data, as_floats, as_tensor
from trainables.networks import build_generator
from trainables.objective import Score, score
from trainables.pictures import num_drawn, save_samples
from trainables.training import TrainState, evaluating, train

#: Generator steps after which a trial is first looked at: a hopeless one should not hold its slot
#: until the first regular report.
FIRST_LOOK_GENERATOR_STEPS = 10
# From glibc's malloc.h, where 32 MiB is the most that the first of them may be.
_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP_BYTES = -3, 32 * 2**20
_M_TRIM_THRESHOLD, _KEPT_BYTES = -1, 256 * 2**20


class Schedule(Frozen):
    """When a trial is scored, reports and saves itself, in generator steps."""

    rungs: tuple[Whole, ...]
    report_every_generator_steps: Whole
    checkpoint_every_generator_steps: Whole

    def report_at(self) -> list[int]:
        """Every step at which the trial reports, in order: the rungs, and regularly between."""
        last = self.rungs[-1]
        regular = set(
            range(self.report_every_generator_steps, last, self.report_every_generator_steps)
        )
        saves = set(
            range(
                self.checkpoint_every_generator_steps, last, self.checkpoint_every_generator_steps
            )
        )
        first = {FIRST_LOOK_GENERATOR_STEPS} if last > FIRST_LOOK_GENERATOR_STEPS else set()
        return sorted(regular | saves | first | set(self.rungs))

    def saves_at(self, generator_steps: int) -> bool:
        """Whether the trial checkpoints at this step."""
        at_rung = self.rungs[bisect.bisect_left(self.rungs, generator_steps)] == generator_steps
        return at_rung or generator_steps % self.checkpoint_every_generator_steps == 0


@dataclass(frozen=True)
class Report:
    """What a trial says at a step.

    ``metrics`` are plain floats; ``w1`` is among them at rungs only, and ``diverged`` is 1.0 in
    the last report of a trial that diverged. ``scoring_seconds`` are those of all rungs so far,
    ``rung_scoring_seconds`` of this one. ``save`` writes a checkpoint into a folder, and is
    ``None`` where none is due.
    """

    metrics: dict[str, float]
    save: Callable[[Path], None] | None


def run(
    config: TrialConfig,
    data: Data,
    schedule: Schedule,
    device: torch.device,
    checkpoint: Path | None = None,
) -> Iterator[Report]:
    """Train a trial, scoring it at exactly the schedule's rungs.

    Args:
        config: The trial.
        data: The trial trains on ``data.train``; the other parts are the objective's alone. Parts
            of bytes go to the device as bytes.
        schedule: When to score, report and save.
        device: Where to train.
        checkpoint: A folder that an earlier report's ``save`` wrote: go on from there. A trial
            saved at a rung says that rung's report again, in case nobody heard it.

    Raises:
        DamagedCheckpointError: where the checkpoint is not whole.
    """
    real, fit, read = (as_tensor(part).to(device) for part in (data.train, data.fit, data.read))
    state = TrainState.create(config, data.sample_shape, device)
    last_metrics: dict[str, float] = {}
    if checkpoint is not None:
        saved = load_whole(checkpoint / STATE, device)
        state.load_state_dict(saved["state"])
        last_metrics = saved["metrics"]
        if "w1" in last_metrics:
            yield Report(last_metrics, None)
    for measurement in train(state, config.training, real, schedule.report_at()):
        metrics = measurement.as_floats()
        steps = measurement.generator_steps
        if not measurement.diverged and steps in schedule.rungs:
            metrics |= _score(state, config.objective, fit, read)
        metrics["scoring_seconds"] = state.scoring_seconds
        metrics["scoring_cpu_seconds"] = state.scoring_cpu_seconds
        diverged = measurement.diverged or not math.isfinite(metrics.get("w1", 0.0))
        metrics["diverged"] = float(diverged)
        if diverged:
            metrics.pop("w1", None)
            yield Report(metrics, None)
            return
        yield Report(
            metrics, _saver(state, config, metrics, read) if schedule.saves_at(steps) else None
        )


def _score(
    state: TrainState, objective: ObjectiveConfig, fit: Tensor, read: Tensor
) -> dict[str, float]:
    started_s, started_cpu_s = time.perf_counter(), time.thread_time()
    estimate = score(state.scored, state.latent_dim, fit, read, objective.rung)
    seconds = time.perf_counter() - started_s
    state.scoring_seconds += seconds
    state.scoring_cpu_seconds += time.thread_time() - started_cpu_s
    return {
        "w1": estimate.w1,
        "w1_stderr": estimate.w1_stderr,
        "w1_train": estimate.w1_train,
        "independent_critic_lipschitz": estimate.critic_lipschitz,
        "rung_scoring_seconds": seconds,
    }


def floor(data: Data, objective: ObjectiveConfig) -> Score:
    """Score real samples as a rung would if a generator had made them, on the CPU.

    They are the trials' own, ``data.train``, drawn with replacement: a generator that had learned
    them by heart would score this. What is not clearly above it cannot be told from it.
    """
    train, fit, read = map(as_tensor, (data.train, data.fit, data.read))

    def draw(latents: Tensor) -> Tensor:
        uniform = torch.special.ndtr(latents.squeeze(1))  # of a standard normal
        return as_floats(train[(uniform * len(train)).long().clamp_max(len(train) - 1)])

    return score(draw, 1, fit, read, objective.rung)


def final_score(
    generator_path: Path, data: Data, objective: ObjectiveConfig, device: torch.device
) -> Score:
    """Score a saved generator by the final's stronger critics.

    They are fitted on both parts that the rungs used, ``data.fit`` and ``data.read``, and read on
    ``data.final``, which nothing has read before: the rungs' choice of the best, the luckiest
    among them, has no bearing on it.

    Raises:
        DamagedCheckpointError: where the file is not whole.
    """
    generator, latent_dim = load_generator(generator_path, device)
    fit, read, final = (as_tensor(part).to(device) for part in (data.fit, data.read, data.final))
    return score(generator, latent_dim, torch.cat([fit, read]), final, objective.final)


def _saver(
    state: TrainState, config: TrialConfig, metrics: Mapping[str, float], read: Tensor
) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        torch.save({"state": state.state_dict(), "metrics": dict(metrics)}, folder / STATE)
        if "w1" in metrics:
            torch.save(generator_file(state, config, tuple(read.shape[1:])), folder / GENERATOR)
            num = min(len(read), num_drawn(tuple(read.shape[1:])))
            save_samples(read[:num], _samples(state, num), folder / "samples.png")

    return save


def _samples(state: TrainState, num_samples: int) -> Tensor:
    """The same latents at every rung, so that a person sees one sample change."""
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(num_samples, state.latent_dim, generator=rng)
    with evaluating(state.scored), torch.no_grad():
        return state.scored(latents.to(state.rng.device))


def generator_file(
    state: TrainState, config: TrialConfig, sample_shape: tuple[int, ...]
) -> dict[str, Any]:
    """Weights and what is needed to rebuild the network; loads with ``weights_only=True``."""
    return {
        "state_dict": {k: v.cpu() for k, v in state.scored.state_dict().items()},
        "networks": config.networks.model_dump(mode="json", exclude_none=True),
        "sample_shape": list(sample_shape),
    }


def load_generator(path: Path, device: torch.device) -> tuple[nn.Module, int]:
    """A generator from :func:`generator_file`'s file, ready for use, and its latent dimension.

    Raises:
        DamagedCheckpointError: where the file is not whole.
    """
    saved = load_whole(path, device)
    networks = NetworkConfig.model_validate(saved["networks"])
    generator = build_generator(networks, tuple(saved["sample_shape"])).to(device)
    generator.load_state_dict(saved["state_dict"])
    return generator.eval(), cast("int", networks.latent_dim)  # every architecture has one


def start_worker(threads: int, use_gpu: bool) -> torch.device:
    """Make a process ready to train or score; returns the device to use.

    Args:
        threads: CPU threads to compute with.
        use_gpu: Whether the process was given a GPU, the first that it sees. Without one it
            computes on the CPU, whatever it sees; so it does where torch finds no CUDA.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # a dying network's denormals slow the CPU tenfold
    _keep_freed_memory()
    return torch.device("cuda" if use_gpu and torch.cuda.is_available() else "cpu")


@contextmanager
def settings_restored() -> Iterator[None]:
    """Leave PyTorch's threads and its handling of denormals as they were before the block."""
    threads, flushes = torch.get_num_threads(), _flushes_denormals()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushes)


def _flushes_denormals() -> bool:
    return float(torch.tensor(1e-40) * 1.0) == 0.0  # PyTorch has no function that tells


def device_notes(config: TrialConfig, device: torch.device, use_gpu: bool) -> list[str]:
    """Say what a trial was given or asked for that its device does not have."""
    notes = []
    if use_gpu and device.type == "cpu":
        notes.append("was given a GPU on which torch finds no CUDA: trains on the CPU")
    if config.training.cuda_graph and device.type == "cpu":
        notes.append("cuda_graph changes nothing on a CPU")
    return notes


def _keep_freed_memory() -> None:
    """Let tensors reuse what others gave back, where the C library is glibc.

    By itself it returns megabytes to the kernel, which clears them page by page for the next
    tensor: a fifth of a convolutional generator's pass on a CPU. At most ``_KEPT_BYTES`` lie idle.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
