"""Measure the speed of generator steps: ``python -m benchmarks.speed.steps``.

Compares a generator step, with its critic steps, with the loop of widely used public
implementations (``plain_loop``): the same networks, data, batches, betas and types, on one thread.
The loops take turns, and each ratio is of two consecutive turns. Seconds are CPU time, user and
system: unlike wall time, they hardly depend on other processes.

If there is a GPU, the same is measured on it by wall time, also with a CUDA graph (``cuda_graph``).
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.plain_loop import at_hand, loaded, plain_loop
from trainables.config import DataConfig, TrialConfig
from trainables.data import load
from trainables.training import TrainState, train
from trainables.trial import start_worker

TURN_S = 0.35  # of the plain loop; our loop reports once per turn
MIN_STEPS = 3
PEAK_WIDTH = 512
GPU_STEPS = 50  # of a turn on a GPU, which is synchronized at its end


@dataclass(frozen=True)
class Setting:
    """The networks and data of a measurement, and the number of turns of each loop."""

    name: str
    networks: Mapping[str, Any]
    sample_shape: tuple[int, ...]
    batch_size: int
    constraint: str
    pairs: int = 9

    def config(self, **training: Any) -> TrialConfig:
        """Return the configuration of the trial, by default with the paper's values."""
        values = {"constraint": self.constraint, "batch_size": self.batch_size} | training
        return TrialConfig.model_validate({"networks": dict(self.networks), "training": values})


_MLP = {"architecture": "mlp"}
SETTINGS = [
    Setting(f"{name}, {short}", networks, shape, batch_size, constraint, pairs)
    for name, networks, shape, batch_size, pairs in (
        ("MLP, 2-D, batch 256", _MLP, (2,), 256, 9),
        ("MLP, digits, batch 64", _MLP, (1, 8, 8), 64, 15),
        ("DCGAN, 32x32, batch 64", {"architecture": "dcgan"}, (3, 32, 32), 64, 3),
    )
    for short, constraint in (("clipping", "clip"), ("GP", "gradient_penalty"))
]
WIDE = Setting(
    f"MLP of width {PEAK_WIDTH}, batch 256, GP",
    _MLP | {"generator_width": PEAK_WIDTH, "critic_width": PEAK_WIDTH},
    (1, 8, 8),
    256,
    "gradient_penalty",
    5,
)

#: A function that trains for a number of generator steps.
Steps = Callable[[int], object]


def real_samples(setting: Setting) -> Tensor:
    """Return real samples in [-1, 1]; noise instead of images that would need a download."""
    if len(setting.sample_shape) == 1:
        return torch.from_numpy(load(DataConfig(dataset="eight_gaussians")).train)
    if setting.sample_shape == (1, 8, 8):
        return torch.from_numpy(load(DataConfig(dataset="digits")).train)
    return torch.rand((2048, *setting.sample_shape)) * 2 - 1


def ours(setting: Setting, real: Tensor, **training: Any) -> Steps:
    """Return our training loop, which reports at the end of each turn."""
    config = setting.config(**training)
    state = TrainState.create(config, setting.sample_shape)
    return lambda num: list(train(state, config.training, real, [state.generator_steps + num]))


def plain(
    setting: Setting,
    real: Tensor,
    batches: Callable[[Tensor, int], Iterator[Tensor]],
    device: str = "cpu",
) -> Steps:
    """Return the loop of the public implementations, with the same initial weights."""
    config = setting.config()
    state = TrainState.create(config, setting.sample_shape, device)
    steps = plain_loop(
        state.generator,
        state.critic,
        config.training,
        state.latent_dim,
        batches(real, setting.batch_size),
    )
    return lambda num: [next(steps) for _ in range(num)]


def measured(setting: Setting) -> dict[str, list[float]]:
    """Measure the CPU milliseconds per generator step of each loop, by turn."""
    real = real_samples(setting)
    contenders = {
        "plain": plain(setting, real, loaded),
        "without its loader": plain(setting, real, at_hand),
        "ours": ours(setting, real),
        "compiled": ours(setting, real, compile=True),
    }
    for steps in contenders.values():
        _seconds(steps, 2)
    num_steps = max(MIN_STEPS, round(TURN_S / _seconds(contenders["plain"], 2)))
    turns: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(setting.pairs):
        for name, steps in contenders.items():
            turns[name].append(1000 * _seconds(steps, num_steps))
    return turns


def _seconds(steps: Steps, num_steps: int) -> float:
    started_s = time.process_time()
    steps(num_steps)
    return (time.process_time() - started_s) / num_steps


def ratio(base: list[float], other: list[float]) -> str:
    """Format the speedup of ``other`` over ``base`` by turn: median, minimum and maximum."""
    ratios = [a / b for a, b in zip(base, other, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _row(setting: Setting, turns: Mapping[str, list[float]]) -> str:
    base = turns["plain"]
    times = [f"{statistics.median(turns[n]):.1f}" for n in ("plain", "ours", "compiled")]
    ratios = [ratio(base, turns["ours"]), ratio(base, turns["compiled"])]
    ratios.append(ratio(turns["without its loader"], turns["ours"]))
    return "| " + " | ".join([setting.name, *times, *ratios]) + " |"


def on_gpu() -> str:
    """Return the table of the GPU, if there is one."""
    if not torch.cuda.is_available():
        return "On a GPU: not measured."
    lines = [
        f"| ms a generator step on one {torch.cuda.get_device_name()} | plain | ours | captured "
        "| plain / ours | plain / captured |",
        "|---|---|---|---|---|---|",
    ]
    for setting in SETTINGS:
        turns = _measured_on_gpu(setting)
        times = [f"{statistics.median(taken):.2f}" for taken in turns.values()]
        ratios = [ratio(turns["plain"], turns[name]) for name in ("ours", "captured")]
        lines.append("| " + " | ".join([setting.name, *times, *ratios]) + " |")
    return "\n".join(lines)


def _measured_on_gpu(setting: Setting) -> dict[str, list[float]]:
    """Measure the wall milliseconds per generator step by turn, without the first turn."""
    real = real_samples(setting)
    contenders = {
        "plain": plain(setting, real, loaded, "cuda"),
        "ours": _turns(setting, real.cuda()),
        "captured": _turns(setting, real.cuda(), cuda_graph=True),
    }
    turns: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(1 + setting.pairs):
        for name, steps in contenders.items():
            torch.cuda.synchronize()
            started_s = time.perf_counter()
            steps(GPU_STEPS)
            torch.cuda.synchronize()
            turns[name].append(1000 * (time.perf_counter() - started_s) / GPU_STEPS)
    return {name: taken[1:] for name, taken in turns.items()}


def _turns(setting: Setting, real: Tensor, **training: Any) -> Steps:
    """Return our loop as a single training that each call continues; the first captures a graph."""
    config = setting.config(**training)
    state = TrainState.create(config, setting.sample_shape, real.device)
    report_at = range(GPU_STEPS, GPU_STEPS * (setting.pairs + 2), GPU_STEPS)
    reports = train(state, config.training, real, report_at)
    return lambda num: next(reports)


def products(setting: Setting) -> Iterator[tuple[int, int, int]]:
    """Yield (m, k, n) of the matrix products in a WGAN-GP generator step of an MLP.

    Second-order products are left out. The forward pass of a layer, the gradient of its input and
    that of its weight are one product each. In a critic step they are of real, generated and
    interpolated samples; the gradient of the penalty adds one product.
    """
    config = setting.config()
    width, batch, n_critic = PEAK_WIDTH, setting.batch_size, config.training.n_critic
    dim = torch.Size(setting.sample_shape).numel()
    latent_dim = config.networks.latent_dim or 0
    for inputs, outputs in ((dim, width), (width, width), (width, 1)):
        for _ in range(n_critic):
            yield 3 * batch, inputs, outputs
            yield (batch if inputs == dim else 3 * batch), outputs, inputs
            yield outputs, 3 * batch, inputs
            yield batch, inputs, outputs
        yield from ((batch, inputs, outputs), (batch, outputs, inputs))
    for inputs, outputs in ((latent_dim, width), (width, width), (width, dim)):
        yield n_critic * batch, inputs, outputs
        yield from ((batch, inputs, outputs), (outputs, batch, inputs))
        if inputs == width:
            yield batch, outputs, inputs


def peak() -> str:
    """Return the time of a step's matrix products by ``torch.mm`` as a share of the step's time."""
    sizes = list(products(WIDE))
    operands = {size: (torch.rand(size[:2]), torch.rand(size[1:])) for size in set(sizes)}

    def products_alone(num: int) -> None:
        for size in sizes * num:
            torch.mm(*operands[size])

    real = real_samples(WIDE)
    contenders = {
        "mm": products_alone,
        "plain": plain(WIDE, real, loaded),
        "ours": ours(WIDE, real),
        "compiled": ours(WIDE, real, compile=True),
    }
    for steps in contenders.values():
        steps(2)
    turns = {name: [] for name in contenders}
    for _ in range(WIDE.pairs):
        for name, steps in contenders.items():
            turns[name].append(1000 * _seconds(steps, 3))
    alone = statistics.median(turns["mm"])
    rate = sum(2 * m * k * n for m, k, n in sizes) / alone / 1e6
    lines = [
        f"{WIDE.name}: the {len(sizes)} matrix products of a step, by `torch.mm` alone, take "
        f"{alone:.0f} ms ({rate:.0f} GFLOP/s).",
        "",
        "| | ms a step | share of the peak | against plain |",
        "|---|---|---|---|",
    ]
    for name in ("plain", "ours", "compiled"):
        share = statistics.median(a / b for a, b in zip(turns["mm"], turns[name], strict=True))
        against = ratio(turns["plain"], turns[name])
        lines.append(f"| {name} | {statistics.median(turns[name]):.0f} | {share:.0%} | {against} |")
    return "\n".join(lines)


_KINDS = {
    "matrix products": ("mm", "addmm", "addmv", "mv", "bmm"),
    "convolutions": ("convolution", "mkldnn_convolution", "convolution_backward"),
    "optimisers": ("_fused_adam_", "sqrt", "addcmul_", "addcdiv_", "Optimizer"),
    "activations": ("threshold_backward", "relu", "clamp_min", "leaky_relu", "leaky_relu_backward"),
}


def profiled() -> str:
    """Return the shares of our loop's time by kind of operation, measured by the profiler."""
    chosen = [SETTINGS[1], SETTINGS[3], WIDE, SETTINGS[5]]
    rows = {setting.name: _shares(setting) for setting in chosen}
    kinds = [*_KINDS, "all else"]
    lines = [f"| our time in | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for name, shares in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{shares[k]:.0%}" for k in kinds) + " |")
    return "\n".join(lines)


def _shares(setting: Setting) -> dict[str, float]:
    steps = ours(setting, real_samples(setting))
    steps(2)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        steps(1 if setting.networks["architecture"] == "dcgan" else 20)
    times = dict.fromkeys([*_KINDS, "all else"], 0.0)
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::").partition("#")[0].partition(".")[0]
        kind = next((kind for kind, names in _KINDS.items() if name in names), "all else")
        times[kind] += event.self_cpu_time_total
    total = sum(times.values())
    return {kind: time_us / total for kind, time_us in times.items()}


def table() -> str:
    """Return all tables in Markdown."""
    start_worker(threads=1, use_gpu=False)  # its settings make the plain loop faster, too
    lines = [
        "| ms of CPU a generator step | plain | ours | compiled | plain / ours | plain / compiled "
        "| plain without its loader / ours |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(setting, measured(setting)) for setting in SETTINGS]
    return "\n\n".join(["\n".join(lines), peak(), profiled(), on_gpu()])


def main() -> None:
    """Print the tables."""
    print(table())


if __name__ == "__main__":
    main()
