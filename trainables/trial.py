"""One trial as a plain generator: train, score at the rungs, yield reports. No Ray here."""

import bisect
import ctypes
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, final

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from trainables.checkpoint import GENERATOR, STATE, DamagedCheckpointError, Identity, load_whole
from trainables.comparison import compare
from trainables.config import (
    CriticBudget,
    Frozen,
    NetworkConfig,
    ObjectiveConfig,
    TrialConfig,
    Whole,
    code_fault,
)
from trainables.data import Data, Scale, as_floats, as_tensor
from trainables.diagnostics import CustomMetrics, Diagnosis, diagnose
from trainables.ground import Ground, ground_of, with_ground
from trainables.networks import BadNetwork, CodeNotAllowed, build_generator, in_one_line
from trainables.objective import Score, score
from trainables.pictures import num_drawn, save_samples
from trainables.training import TrainState, evaluating, seeded, train

#: Step of the first report: a trial that diverges at once should not hold its slot any longer.
FIRST_REPORT_GENERATOR_STEPS = 10
# Parameters of glibc's malloc.h; 32 MiB is the largest value that the first one accepts.
_M_MMAP_THRESHOLD, _MAX_HEAP_BLOCK_BYTES = -3, 32 * 2**20
_M_TRIM_THRESHOLD, _MAX_IDLE_BYTES = -1, 256 * 2**20


class Schedule(Frozen):
    """The generator steps at which a trial is scored, reports and writes checkpoints."""

    rungs: tuple[Whole, ...]
    report_every_generator_steps: Whole
    checkpoint_every_generator_steps: Whole

    def report_at(self, after: int = 0) -> Iterator[int]:
        """Give the steps at which the trial reports, ascending: rungs, checkpoints and between.

        Args:
            after: Only steps past this one.
        """
        last = self.rungs[-1]
        at = after
        while at < last:
            every = (self.report_every_generator_steps, self.checkpoint_every_generator_steps)
            multiples = ((at // interval + 1) * interval for interval in every)
            first = FIRST_REPORT_GENERATOR_STEPS
            rung = self.rungs[bisect.bisect_right(self.rungs, at)]
            at = min(*multiples, rung, first if at < first else last)
            yield at

    def saves_at(self, generator_steps: int) -> bool:
        """Tell whether the trial writes a checkpoint at this step, at most the last rung."""
        at_rung = self.rungs[bisect.bisect_left(self.rungs, generator_steps)] == generator_steps
        return at_rung or generator_steps % self.checkpoint_every_generator_steps == 0


@dataclass(frozen=True)
class Report:
    """A report of a trial at a step.

    Attributes:
        metrics: Plain floats: the fields of a ``Measurement``; at rungs also ``w1`` and the other
            values of a ``Score``, custom metrics and ``rung_scoring_seconds``; and the
            ``scoring_seconds`` of all rungs so far. ``diverged`` is 1.0 in the last report of a
            trial that diverged.
        save: Writes a checkpoint into a folder; ``None`` at steps without a checkpoint.
    """

    metrics: dict[str, float]
    save: Callable[[Path], None] | None


def run(
    config: TrialConfig,
    data: Data,
    schedule: Schedule,
    device: torch.device,
    checkpoint: Path | None = None,
    name: str | None = None,
) -> Iterator[Report]:
    """Train a trial and score it at the schedule's rungs.

    Args:
        config: The trial.
        data: The trial trains on ``data.train``, and is scored on ``data.critic_train`` and
            ``data.critic_eval``. Bytes stay bytes on the device. Data without the objective's
            ground metric are mapped first (:func:`trainables.ground.with_ground`).
        schedule: When to score, report and save.
        device: Where to train.
        checkpoint: A folder that the ``save`` of an earlier report wrote, to resume from. A trial
            that was saved at a rung yields the report of that rung again, in case it was lost.
        name: The trial's name, which its checkpoints keep.

    Yields:
        The reports, in the order of their steps.

    Raises:
        DamagedCheckpointError: if the checkpoint is damaged.
        BadNetwork: if custom metrics, measured at rungs, fail.
    """
    identity = None if name is None else identity_of(name, config)
    data = with_ground(data, config.objective)
    real = as_tensor(data.train).to(device)
    scoring = _Scoring.of(data, config.objective, device)
    custom = _CustomAtRungs.of(data, config.objective, device)
    state = TrainState.create(config, data.sample_shape, device)
    last_metrics: dict[str, float] = {}
    if checkpoint is not None:
        saved = load_whole(checkpoint / STATE, device, identity)
        state.load_state_dict(saved["state"])
        last_metrics = saved["metrics"]
        if "w1" in last_metrics:
            yield Report(last_metrics, None)
    for measurement in train(
        state, config.training, real, schedule.report_at(state.generator_steps)
    ):
        metrics = measurement.as_floats()
        steps = measurement.generator_steps
        if not measurement.diverged and steps in schedule.rungs:
            metrics |= _score(state, config.objective, scoring, custom)
        metrics["scoring_seconds"] = state.scoring_seconds
        metrics["scoring_cpu_seconds"] = state.scoring_cpu_seconds
        diverged = measurement.diverged or not math.isfinite(metrics.get("w1", 0.0))
        metrics["diverged"] = float(diverged)
        if diverged:
            metrics.pop("w1", None)
            yield Report(metrics, None)
            return
        is_saved = schedule.saves_at(steps)
        saver = _saver(state, config, metrics, data, identity)
        yield Report(metrics, saver if is_saved else None)


def identity_of(name: str, config: TrialConfig) -> Identity:
    """Return the identity of a trial, such as ``gp_00003``, by its name and configuration."""
    return Identity(name, config.model_dump(mode="json"))


@dataclass(frozen=True)
class _Scoring:
    """What generators are scored on: real samples on a device, mapped by the ground metric."""

    critic_train: Tensor
    critic_eval: Tensor
    ground: Ground | None

    @classmethod
    def of(cls, data: Data, objective: ObjectiveConfig, device: torch.device) -> "_Scoring":
        """Take the parts of the rungs from data of ``with_ground``."""
        parts = (data.compared.critic_train, data.compared.critic_eval)
        critic_train, critic_eval = (as_tensor(part).to(device) for part in parts)
        return cls(critic_train, critic_eval, ground_of(data, objective, device))

    @classmethod
    def of_final(cls, data: Data, objective: ObjectiveConfig, device: torch.device) -> "_Scoring":
        """Take the parts of the final."""
        rungs = cls.of(data, objective, device)
        critic_train = torch.cat([rungs.critic_train, rungs.critic_eval])
        return cls(critic_train, as_tensor(data.compared.final).to(device), rungs.ground)

    def score(
        self, generate: Callable[[Tensor], Tensor], latent_dim: int, budget: CriticBudget
    ) -> Score:
        """Score a generator."""
        return score(generate, latent_dim, self.critic_train, self.critic_eval, budget, self.ground)


@dataclass(frozen=True)
class _CustomAtRungs:
    """Custom metrics, and the real samples that they compare generated ones with at a rung."""

    metrics: CustomMetrics
    real: Tensor

    @classmethod
    def of(
        cls, data: Data, objective: ObjectiveConfig, device: torch.device
    ) -> "_CustomAtRungs | None":
        """Create those that are measured at rungs, if any."""
        if not objective.metrics_at_rungs:
            return None
        metrics = CustomMetrics.of(objective, data.sample_shape)
        return cls(metrics, as_tensor(data.critic_eval).to(device))


def _score(
    state: TrainState,
    objective: ObjectiveConfig,
    scoring: _Scoring,
    custom: _CustomAtRungs | None,
) -> dict[str, float]:
    started_s, started_cpu_s = time.perf_counter(), time.thread_time()
    estimate = scoring.score(state.scored, state.latent_dim, objective.rung)
    found: dict[str, float] = {}
    if custom is not None and math.isfinite(estimate.w1):
        generator = (state.scored, state.latent_dim)
        found = custom.metrics.measure(*generator, custom.real, objective.seed)
    seconds = time.perf_counter() - started_s
    state.scoring_seconds += seconds
    state.scoring_cpu_seconds += time.thread_time() - started_cpu_s
    return {
        "w1": estimate.w1,
        "w1_stderr": estimate.w1_stderr,
        "w1_train": estimate.w1_train,
        "independent_critic_lipschitz": estimate.critic_lipschitz,
        "rung_scoring_seconds": seconds,
        **found,
    }


def floor(data: Data, objective: ObjectiveConfig) -> Score:
    """Score the real samples ``data.train`` in place of a generator's, as at a rung, on the CPU.

    The samples are drawn with replacement, so this is the score of a generator that has memorised
    the training data. A score that is not clearly above it cannot be distinguished from real data.
    """
    data, device = with_ground(data, objective), torch.device("cpu")
    scoring = _Scoring.of(data, objective, device)
    return scoring.score(_drawn(data, device), 1, objective.rung)


def final_floor(data: Data, objective: ObjectiveConfig, device: torch.device) -> Score:
    """Score the real samples ``data.train`` in place of a generator's, as in the final.

    Each is used once: one half to train the critics, the other to evaluate them. Among repeated
    samples a critic of cones finds that these are few points, so that real samples would be scored
    as copies are.
    """
    data = with_ground(data, objective)
    train = as_tensor(data.train).to(device)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(objective.seed))
    rest = iter(order.tolist())

    def draw(latents: Tensor) -> Tensor:
        return as_floats(train[[next(rest) for _ in range(len(latents))]])

    num_generated = min(objective.final.num_generated, len(train) // 2)
    budget = replace(objective.final, num_generated=num_generated)
    return _Scoring.of_final(data, objective, device).score(draw, 1, budget)


def _drawn(data: Data, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return a generator of the real samples ``data.train``, drawn with replacement."""
    train = as_tensor(data.train).to(device)

    def draw(latents: Tensor) -> Tensor:
        uniform = torch.special.ndtr(latents.squeeze(1))  # from standard normal latents
        return as_floats(train[(uniform * len(train)).long().clamp_max(len(train) - 1)])

    return draw


@dataclass(frozen=True)
class Finalist:
    """A saved generator, as the final scores it."""

    _generator: nn.Module
    _latent_dim: int
    _device: torch.device

    @classmethod
    def load(
        cls,
        path: Path,
        device: torch.device,
        allow_code: Collection[str] = (),
        identity: Identity | None = None,
    ) -> "Finalist":
        """Load a ``generator.pt``; arguments and exceptions are those of :func:`load_generator`."""
        generator, latent_dim, _ = _load(path, device, allow_code, identity)
        return cls(generator, latent_dim, device)

    def score(self, data: Data, objective: ObjectiveConfig) -> Score:
        """Score the generator by the stronger critics of the final, of the budget ``final``.

        The critics train on ``data.critic_train`` and ``data.critic_eval``, and are evaluated on
        ``data.final``, which nothing else uses: so the selection of the best trials by their scores
        at the rungs does not bias the final score.
        """
        scoring = _Scoring.of_final(with_ground(data, objective), objective, self._device)
        return scoring.score(self._generator, self._latent_dim, objective.final)

    def diagnose(self, data: Data, objective: ObjectiveConfig) -> Diagnosis:
        """Measure what the score cannot tell, if that is finite; it never ranks."""
        return diagnose(self._generator, self._latent_dim, data, objective, self._device)

    def compare(self, data: Data, objective: ObjectiveConfig) -> dict[str, Any]:
        """Show how its samples differ from real ones, as :func:`trainables.comparison.compare`."""
        return compare(self._generator, self._latent_dim, data, objective.seed, self._device)


def _saver(
    state: TrainState,
    config: TrialConfig,
    metrics: Mapping[str, float],
    data: Data,
    identity: Identity | None,
) -> Callable[[Path], None]:
    kept = {} if identity is None else identity.kept()

    def save(folder: Path) -> None:
        saved = {"state": state.state_dict(), "metrics": dict(metrics)}
        torch.save(saved | kept, folder / STATE)
        if "w1" in metrics:
            generator = generator_file(state, config, data.sample_shape, data.scale)
            # Its name alone: a generator is given away, and the configuration names paths.
            generator |= {} if identity is None else Identity(identity.name).kept()
            torch.save(generator, folder / GENERATOR)
            num = min(len(data.critic_eval), num_drawn(data.sample_shape))
            real = as_tensor(data.critic_eval)[:num]
            save_samples(real, _samples(state, num), folder / "samples.png")

    return save


def _samples(state: TrainState, num_samples: int) -> Tensor:
    """Generate from the same latents at every rung, to show how each sample changes."""
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(num_samples, state.latent_dim, generator=rng)
    with evaluating(state.scored), torch.no_grad(), seeded(0, state.rng.device):
        return state.scored(latents.to(state.rng.device))


def generator_file(
    state: TrainState,
    config: TrialConfig,
    sample_shape: tuple[int, ...],
    scale: Scale | None = None,
) -> dict[str, Any]:
    """Return the content of ``generator.pt``, which loads with ``weights_only=True``.

    Returns:
        The weights ``state_dict``, the ``networks`` section and ``sample_shape`` from which the
        network is built, and the ``scale`` of vectors, if they were scaled.
    """
    content = {
        "state_dict": {k: v.cpu() for k, v in state.scored.state_dict().items()},
        "networks": config.networks.model_dump(mode="json", exclude_none=True),
        "sample_shape": list(sample_shape),
    }
    if scale is not None:
        columns = {"offset": scale.offset, "factor": scale.factor}
        content["scale"] = {name: torch.tensor(values) for name, values in columns.items()}
    return content


def load_generator(
    path: Path,
    device: torch.device,
    allow_code: Collection[str] = (),
    identity: Identity | None = None,
) -> tuple[nn.Module, int]:
    """Load a ``generator.pt``, or the safetensors file that it was exported to.

    Args:
        path: The file.
        device: Where the generator is put.
        allow_code: The modules from which the file may import a custom network. Importing one runs
            its code, so allow only modules that you know.
        identity: The trial that it must be of; ``None`` for any.

    Returns:
        The generator in evaluation mode, and its ``latent_dim``. It maps latents
        [batch, latent_dim], standard normal, to samples [batch, *sample_shape]: images in [-1, 1],
        or vectors in the units of the data.

    Raises:
        DamagedCheckpointError: if the file is damaged, of another trial, or holds no generator.
        CodeNotAllowed: if it names a module that is not allowed; nothing was imported then.
        BadNetwork: if it holds a custom network that cannot be built.
    """
    generator, latent_dim, scale = _load(path, device, allow_code, identity)
    if scale is not None:
        generator = nn.Sequential(generator, _Unscaled(**scale).to(device))
    return generator.eval(), latent_dim


def _load(
    path: Path, device: torch.device, allow_code: Collection[str], identity: Identity | None
) -> tuple[nn.Module, int, Mapping[str, Tensor] | None]:
    """Load a generator of samples as in training, its ``latent_dim``, and the samples' scale."""
    saved = load_whole(path, device, identity)
    try:
        networks = NetworkConfig.model_validate(saved["networks"])
        if networks.generator is not None and (fault := code_fault(networks.generator, allow_code)):
            raise CodeNotAllowed("generator", fault)
        with seeded(0):  # the initial weights, which the saved ones replace
            generator = build_generator(networks, tuple(saved["sample_shape"]))
        generator.load_state_dict(saved["state_dict"])
        scale = _checked_scale(saved)
    except BadNetwork:
        raise
    except Exception as error:  # a file of another program can hold anything
        fault = f"holds no generator ({in_one_line(error)})"
        raise DamagedCheckpointError(path, fault) from error
    return generator.to(device).eval(), cast("int", networks.latent_dim), scale


def _checked_scale(saved: Mapping[str, Any]) -> Mapping[str, Tensor] | None:
    """Return the scale of a generator's samples, a factor and an offset for each column."""
    if (scale := saved.get("scale")) is None:
        return None
    # A safetensors file has them as lists.
    offset, factor = (torch.as_tensor(scale[k], dtype=torch.float64) for k in ("offset", "factor"))
    if not offset.shape == factor.shape == tuple(saved["sample_shape"]):
        raise ValueError("its scale is not that of its samples")
    return {"offset": offset, "factor": factor}


@final
class _Unscaled(nn.Module):
    """Maps vectors back to the units of the data."""

    offset: Tensor
    factor: Tensor

    def __init__(self, offset: Tensor, factor: Tensor) -> None:
        super().__init__()
        self.register_buffer("offset", offset)
        self.register_buffer("factor", factor)

    def forward(self, scaled: Float[Tensor, "batch d"]) -> Float32[Tensor, "batch d"]:
        return (scaled.double() * self.factor + self.offset).float()


def start_worker(threads: int, use_gpu: bool) -> torch.device:
    """Prepare a process for training or scoring.

    Args:
        threads: CPU threads to compute with.
        use_gpu: Whether to use a GPU, the first visible one. Without CUDA it is the CPU.

    Returns:
        The device to use.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # denormal numbers would slow the CPU tenfold
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
    """Describe what a trial requested or was given that its device does not have."""
    notes = []
    if use_gpu and device.type == "cpu":
        notes.append("was given a GPU on which torch finds no CUDA: trains on the CPU")
    if config.training.cuda_graph and device.type == "cpu":
        notes.append("cuda_graph changes nothing on a CPU")
    return notes


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensors, up to ``_MAX_IDLE_BYTES``.

    By default it returns large blocks to the kernel, which clears every page for the next tensor.
    That takes a fifth of the forward pass of a convolutional generator on a CPU. Other C libraries
    have no ``mallopt``.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAX_HEAP_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _MAX_IDLE_BYTES)
