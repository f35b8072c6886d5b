"""One trial's training, as a plain generator.

Algorithm 1 of Arjovsky 2017, of Gulrajani 2017 and of Goodfellow 2014: one loop, whose losses and
constraint differ.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from trainables.config import TrainingConfig
from trainables.data import as_floats
from trainables.training.cuda_graph import captured
from trainables.training.lipschitz import (
    PENALTIES,
    coefficients_between,
    gradient_norms,
    interpolate,
    project_,
)
from trainables.training.losses import critic_loss, divergence, generator_loss
from trainables.training.state import TrainState, set_learning_rate

#: Takes a generator step with its critic steps; returns the estimate and both losses, the last
#: batch of real samples, and that of fake ones.
Step = Callable[[], tuple[Float[Tensor, "3"], Tensor, Tensor]]

#: A generated value beyond it counts as an explosion. Data lie in [-1, 1]; a trial that is merely
#: bad, at a W1 of 100, stays far below.
EXPLODED_SAMPLE = 1e4


@dataclass(frozen=True)
class Measurement:
    """What training reports at a generator step; losses and estimate are means since the last one.

    ``critic_estimate`` is the critic's own ``divergence`` at the last critic step before each
    generator step: E[f(real)] - E[f(fake)], or under a GAN loss the Jensen-Shannon divergence in
    nats (between the samples with their instance noise). ``critic_loss`` is what was descended
    there, a weighted penalty included. ``critic_gradient_norm`` is the mean over points spread
    evenly between the last real and fake batch, ``critic_lipschitz`` the largest: the critic's
    empirical Lipschitz constant. ``training_seconds`` is wall time over all resumes,
    ``training_cpu_seconds`` the training thread's CPU time. A diverged trial's numbers may be NaN
    or infinite.
    """

    generator_steps: int
    critic_estimate: float
    critic_loss: float
    generator_loss: float
    critic_gradient_norm: float
    critic_lipschitz: float
    generator_steps_per_s: float
    training_seconds: float
    training_cpu_seconds: float
    diverged: bool

    def as_floats(self) -> dict[str, float]:
        """All fields by name, as plain floats; ``diverged`` is 0 or 1."""
        return {name: float(value) for name, value in asdict(self).items()}


def train(
    state: TrainState,
    config: TrainingConfig,
    real: Num[Tensor, "n *sample"],
    report_at: Iterable[int],
) -> Iterator[Measurement]:
    """Train on, and yield a measurement at each generator step of ``report_at`` still to come.

    Ends after the last of them, or after the first that has diverged: a loss, the estimate, a
    gradient norm or a weight that is not finite, or a sample beyond ``EXPLODED_SAMPLE``. At a
    yield ``state`` holds all there is, so it may be saved there. Where the reports are changes
    nothing in the training, and the time spent at a yield is not counted.

    ``real`` is on the state's device, float32 scaled to [-1, 1] or the uint8 of images, which a
    batch at a time becomes that; ``report_at`` is finite, in any order. A state that captures its
    steps must not be loaded into between the first measurement and the last.
    """
    step: Step = partial(_iteration, state, config, real)
    if state.captures:
        step = captured(step, state.rng).__next__
    for generator_step in sorted(set(report_at)):
        if generator_step > state.generator_steps:
            measurement = _train_until(state, config, step, generator_step)
            yield measurement
            if measurement.diverged:
                return


def critic_step(
    state: TrainState,
    config: TrainingConfig,
    real: Float[Tensor, "batch *sample"],
    fake: Float[Tensor, "batch *sample"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Take one step of the critic's optimiser under its loss and constraint.

    Returns the estimate and the loss, both as they were before the step.
    """
    if state.descent is not None:
        coefficients = None
        if config.gp_weight is not None:
            coefficients = coefficients_between(real, state.rng)
        unpenalised, loss, gradients = state.descent(real, fake, coefficients)
    else:
        unpenalised, loss = _critic_losses(state, config, real, fake)
        gradients = _gradients(loss, state.critic_optimizer)
    _step(state.critic_optimizer, gradients)
    project_(state.critic, config)
    return divergence(config.loss, unpenalised.detach()), loss.detach()


def _critic_losses(
    state: TrainState, config: TrainingConfig, real: Tensor, fake: Tensor
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The loss without any penalty, and what is descended."""
    samples = _with_noise(state, config, torch.cat([real, fake]))
    if state.critic_sees_batch:
        # In one batch the two would share their statistics, and a score tell of the other half.
        scores = [state.scores(half) for half in samples.chunk(2)]
    else:
        scores = state.scores(samples).chunk(2)
    loss = critic_loss(config.loss, *scores)
    if config.gp_weight is None:
        return loss, loss
    # By the critic itself, not ``state.scores``: code that was compiled cannot be
    # differentiated twice, and a gradient's norm needs more digits than bfloat16 has.
    penalty = PENALTIES[config.constraint](state.critic, real, fake, state.rng)
    return loss, loss + config.gp_weight * penalty


def generator_step(
    state: TrainState, config: TrainingConfig
) -> tuple[Float[Tensor, ""], Float[Tensor, "{config.batch_size} *sample"]]:
    """Take one step of the generator's optimiser; returns the loss and the samples before it."""
    fake = state.sample(config.batch_size)
    loss = generator_loss(config.loss, state.scores(_with_noise(state, config, fake)))
    _step(state.generator_optimizer, _gradients(loss, state.generator_optimizer))
    if state.averaged is not None:
        # The first average is of the new weights alone: the initial ones have no part in it.
        state.average(config.ema_decay if state.generator_steps > 0 else 0.0)
    return loss.detach(), fake.detach()


def _with_noise(state: TrainState, config: TrainingConfig, samples: Tensor) -> Tensor:
    # Noise makes the two distributions overlap, so that the divergence between them has a
    # gradient (Arjovsky & Bottou 2017, section 3.2). Its scale stays: it could only be annealed
    # towards an end, and ASHA decides anew at each rung whether there is more to come.
    if not config.instance_noise:
        return samples  # and the RNG stays where it is
    noise = torch.empty_like(samples).normal_(generator=state.rng)
    return samples + config.instance_noise * noise


def _train_until(
    state: TrainState, config: TrainingConfig, step: Step, last_step: int
) -> Measurement:
    started_s, started_cpu_s = time.perf_counter(), time.thread_time()
    num_steps = last_step - state.generator_steps
    # Sums stay on the device: reading a number at every step would stall a GPU.
    metrics, real_batch, fake = _advance(state, config, step)
    totals = metrics.clone()  # which a captured step writes over
    for _ in range(num_steps - 1):
        metrics, real_batch, fake = _advance(state, config, step)
        totals += metrics
    coefficients = torch.linspace(0, 1, len(fake), device=fake.device)
    norms = gradient_norms(state.critic, interpolate(real_batch, fake, coefficients))
    metrics = [*(totals / num_steps).tolist(), norms.mean().item(), norms.max().item()]
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


def _advance(
    state: TrainState, config: TrainingConfig, step: Step
) -> tuple[Float[Tensor, "3"], Tensor, Tensor]:
    # All that a step has to do in Python, and that a captured one would do but once.
    _set_learning_rates(state, config)
    outputs = step()
    state.generator_steps += 1
    return outputs


def _iteration(
    state: TrainState, config: TrainingConfig, real: Tensor
) -> tuple[Float[Tensor, "3"], Tensor, Tensor]:
    # The papers' Algorithm 1. The generator stands still while the critic trains, so all critic
    # batches of an iteration are drawn in one go: a tenth fewer kernels.
    shape = (config.n_critic, config.batch_size)
    drawn = torch.randint(len(real), shape, generator=state.rng, device=real.device)
    reals, fakes = as_floats(real[drawn]), _fakes(state, *shape)
    batches = zip(reals, fakes, strict=True)
    estimate, of_critic = [critic_step(state, config, *batch) for batch in batches][-1]
    of_generator, fake = generator_step(state, config)
    return torch.stack([estimate, of_critic, of_generator]), reals[-1], fake


@torch.no_grad()
def _fakes(
    state: TrainState, num_batches: int, batch_size: int
) -> Float[Tensor, "{num_batches} {batch_size} *sample"]:
    if state.generator_sees_batch:  # its statistics must be those of one batch
        return torch.stack([state.sample(batch_size) for _ in range(num_batches)])
    return state.sample(num_batches * batch_size).unflatten(0, (num_batches, batch_size))


def _set_learning_rates(state: TrainState, config: TrainingConfig) -> None:
    # From the number of steps alone, so that a resumed trial needs no scheduler's state.
    if state.lr_ends_at_generator_steps is None:
        return
    left = max(0.0, 1 - state.generator_steps / state.lr_ends_at_generator_steps)
    for optimizer, learning_rate in (
        (state.generator_optimizer, config.generator_lr),
        (state.critic_optimizer, config.critic_lr),
    ):
        for group in optimizer.param_groups:
            set_learning_rate(group, left * learning_rate)


def _is_sound(state: TrainState, fake: Tensor) -> bool:
    weights = parameters_to_vector([*state.generator.parameters(), *state.critic.parameters()])
    return bool(weights.isfinite().all() & (fake.abs().max() <= EXPLODED_SAMPLE))


def _gradients(loss: Tensor, optimizer: torch.optim.Optimizer) -> tuple[Tensor, ...]:
    # Not loss.backward(): that would also work out the other player's gradients.
    return torch.autograd.grad(loss, _parameters(optimizer))


def _step(optimizer: torch.optim.Optimizer, gradients: Iterable[Tensor]) -> None:
    for parameter, gradient in zip(_parameters(optimizer), gradients, strict=True):
        if gradient.stride() != parameter.stride():
            # A fused optimiser reads both in the order of memory, and would mix up the weights.
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient
    optimizer.step()


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
