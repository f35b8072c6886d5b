"""One trial's training, as a plain generator: Algorithm 1 of Arjovsky 2017 and Gulrajani 2017."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, cast, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from trainables.config import TrainingConfig, TrialConfig
from trainables.lipschitz import (
    clip_weights_,
    gradient_norms,
    gradient_penalty,
    interpolate,
    one_sided_penalty,
)
from trainables.networks import build_critic, build_generator

#: A generated value beyond it counts as an explosion. Data lie in [-1, 1]; a trial that is merely
#: bad, at a W1 of 100, stays far below.
EXPLODED_SAMPLE = 1e4

_PENALTIES = {"gradient_penalty": gradient_penalty, "one_sided_penalty": one_sided_penalty}


@dataclass(frozen=True)
class Measurement:
    """What training reports at a generator step; losses and estimate are means since the last one.

    ``critic_estimate`` is E[f(real)] - E[f(fake)] of the last critic step before each generator
    step; ``critic_loss`` is minus it plus the weighted penalty. ``critic_gradient_norm`` is the
    mean over points spread evenly between the last real and fake batch. ``training_seconds`` is
    wall time over all resumes, ``training_cpu_seconds`` the training thread's CPU time. A
    diverged trial's numbers may be NaN or infinite.
    """

    generator_steps: int
    critic_estimate: float
    critic_loss: float
    generator_loss: float
    critic_gradient_norm: float
    generator_steps_per_s: float
    training_seconds: float
    training_cpu_seconds: float
    diverged: bool

    def as_floats(self) -> dict[str, float]:
        """All fields by name, as plain floats; ``diverged`` is 0 or 1."""
        return {name: float(value) for name, value in asdict(self).items()}


@final
@dataclass(eq=False)
class TrainState:
    """All that changes while a trial trains; it saves and loads itself."""

    generator: nn.Module
    critic: nn.Module
    generator_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    rng: torch.Generator
    latent_dim: int
    generator_steps: int = 0
    training_seconds: float = 0.0
    training_cpu_seconds: float = 0.0
    scoring_seconds: float = 0.0
    scoring_cpu_seconds: float = 0.0

    @classmethod
    def create(
        cls, config: TrialConfig, sample_shape: tuple[int, ...], device: torch.device | str = "cpu"
    ) -> "TrainState":
        """Start a trial from ``config.seed`` alone: the global RNG is neither read nor moved.

        Each network has a seed of its own, so that the generator starts alike beside any critic.
        """
        seeds = np.random.SeedSequence(config.seed).generate_state(3, np.uint64).tolist()
        networks, training = config.networks, config.training
        generator = _seeded(seeds[0], lambda: build_generator(networks, sample_shape)).to(device)
        critic = _seeded(seeds[1], lambda: build_critic(networks, sample_shape)).to(device)
        return cls(
            generator,
            critic,
            _optimizer(training, generator, training.generator_lr),
            _optimizer(training, critic, training.critic_lr),
            torch.Generator(device).manual_seed(seeds[2]),
            networks.latent_dim,
        )

    def sample(self, num_samples: int) -> Float[Tensor, "{num_samples} *sample"]:
        """Generate from fresh latents z ~ N(0, 1), drawn from the state's own RNG."""
        shape = (num_samples, self.latent_dim)
        return self.generator(torch.randn(shape, generator=self.rng, device=self.rng.device))

    def state_dict(self) -> dict[str, Any]:
        """A snapshot in tensors and primitives, for ``torch.load(..., weights_only=True)``."""
        return deepcopy(
            {name: getattr(self, name).state_dict() for name in _PARTS}
            | {name: getattr(self, name) for name in _COUNTERS}
            | {"rng": self.rng.get_state()}
        )

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Become the saved state, whose tensors may be on any device; learning rates included.

        The state must have been created from the same configuration. Raises what PyTorch raises
        where it was not: RuntimeError for other shapes, ValueError for other optimisers.
        """
        for name in _PARTS:
            # An optimiser keeps the tensors it is given: two states must not share them.
            getattr(self, name).load_state_dict(deepcopy(saved[name]))
        for name in _COUNTERS:
            setattr(self, name, saved[name])
        self.rng.set_state(saved["rng"].cpu())


_PARTS = ("generator", "critic", "generator_optimizer", "critic_optimizer")
_COUNTERS = (
    "generator_steps",
    "training_seconds",
    "training_cpu_seconds",
    "scoring_seconds",
    "scoring_cpu_seconds",
)


def train(
    state: TrainState,
    config: TrainingConfig,
    real: Float[Tensor, "n *sample"],
    report_at: Iterable[int],
) -> Iterator[Measurement]:
    """Train on, and yield a measurement at each generator step of ``report_at`` still to come.

    Ends after the last of them, or after the first that has diverged: a loss, the estimate, a
    gradient norm or a weight that is not finite, or a sample beyond ``EXPLODED_SAMPLE``. At a
    yield ``state`` holds all there is, so it may be saved there. Where the reports are changes
    nothing in the training, and the time spent at a yield is not counted.

    ``real`` is on the state's device, scaled to [-1, 1]; ``report_at`` is finite, in any order.
    """
    for generator_step in sorted(set(report_at)):
        if generator_step > state.generator_steps:
            measurement = _train_until(state, config, real, generator_step)
            yield measurement
            if measurement.diverged:
                return


def critic_step(
    state: TrainState,
    config: TrainingConfig,
    real: Float[Tensor, "batch *sample"],
    fake: Float[Tensor, "batch *sample"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Raise E[f(real)] - E[f(fake)] (Arjovsky 2017, eq. 3) by one step under the constraint.

    Returns the estimate and the loss, both as they were before the step.
    """
    real_scores, fake_scores = state.critic(torch.cat([real, fake])).chunk(2)
    estimate = real_scores.mean() - fake_scores.mean()
    loss = -estimate
    if config.gp_weight is not None:
        penalty = _PENALTIES[config.constraint](state.critic, real, fake, state.rng)
        loss = loss + config.gp_weight * penalty
    _descend(loss, state.critic_optimizer)
    if config.clip_value is not None:
        clip_weights_(state.critic, config.clip_value)
    return estimate.detach(), loss.detach()


def generator_step(
    state: TrainState, batch_size: int
) -> tuple[Float[Tensor, ""], Float[Tensor, "{batch_size} *sample"]]:
    """Lower -E[f(G(z))] by one step; returns the loss and the samples from before it."""
    fake = state.sample(batch_size)
    loss = -state.critic(fake).mean()
    _descend(loss, state.generator_optimizer)
    state.generator_steps += 1
    return loss.detach(), fake.detach()


def _train_until(
    state: TrainState, config: TrainingConfig, real: Tensor, last_step: int
) -> Measurement:
    started_s, started_cpu_s = time.perf_counter(), time.thread_time()
    num_steps = last_step - state.generator_steps
    # Sums stay on the device: reading a number at every step would stall a GPU.
    totals, real_batch, fake = _iteration(state, config, real)
    for _ in range(num_steps - 1):
        metrics, real_batch, fake = _iteration(state, config, real)
        totals += metrics
    coefficients = torch.linspace(0, 1, len(fake), device=fake.device)
    norm = gradient_norms(state.critic, interpolate(real_batch, fake, coefficients)).mean()
    metrics = [*(totals / num_steps).tolist(), norm.item()]
    seconds = time.perf_counter() - started_s
    state.training_seconds += seconds
    state.training_cpu_seconds += time.thread_time() - started_cpu_s
    return Measurement(
        last_step,
        *metrics,
        generator_steps_per_s=num_steps / seconds,
        training_seconds=state.training_seconds,
        training_cpu_seconds=state.training_cpu_seconds,
        diverged=not (all(map(math.isfinite, metrics)) and _is_sound(state, fake)),
    )


def _iteration(
    state: TrainState, config: TrainingConfig, real: Tensor
) -> tuple[Float[Tensor, "3"], Tensor, Tensor]:
    # Both papers' Algorithm 1. The generator stands still while the critic trains, so all critic
    # batches of an iteration are drawn in one go: a tenth fewer kernels.
    shape = (config.n_critic, config.batch_size)
    reals = real[torch.randint(len(real), shape, generator=state.rng, device=real.device)]
    with torch.no_grad():
        fakes = state.sample(math.prod(shape)).unflatten(0, shape)
    batches = zip(reals, fakes, strict=True)
    estimate, critic_loss = [critic_step(state, config, *batch) for batch in batches][-1]
    generator_loss, fake = generator_step(state, config.batch_size)
    return torch.stack([estimate, critic_loss, generator_loss]), reals[-1], fake


def _is_sound(state: TrainState, fake: Tensor) -> bool:
    weights = parameters_to_vector([*state.generator.parameters(), *state.critic.parameters()])
    return bool(weights.isfinite().all() & (fake.abs().max() <= EXPLODED_SAMPLE))


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    # Not loss.backward(): that would also work out the other player's gradients.
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()


def _optimizer(
    config: TrainingConfig, network: nn.Module, learning_rate: float
) -> torch.optim.Optimizer:
    if config.optimizer == "adam":
        betas = cast("tuple[float, float]", (config.beta1, config.beta2))
        return torch.optim.Adam(network.parameters(), learning_rate, betas, fused=True)
    return torch.optim.RMSprop(network.parameters(), learning_rate)


def _seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed every GPU too; weights are drawn on the CPU.
        torch.default_generator.manual_seed(seed)
        return build()
