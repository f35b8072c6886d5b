"""The training loop of a trial, as a plain generator.

It is Algorithm 1 of Arjovsky 2017, Gulrajani 2017 and Goodfellow 2014, which differ in the losses
and the constraint.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from trainables.config import CRITIC_FREE, Loss, TrainingConfig
from trainables.data import as_floats
from trainables.networks import Autoencoder
from trainables.training.cuda_graph import captured
from trainables.training.global_rng import seeded
from trainables.training.lipschitz import (
    PENALTIES,
    coefficients_between,
    gradient_norms,
    interpolate,
    power_penalty,
    project_,
    zero_centred_penalty,
)
from trainables.training.losses import (
    compares,
    critic_loss,
    divergence,
    generator_loss,
    label_smoothing,
    pulling_away,
)
from trainables.training.packing import packed
from trainables.training.sliced import sliced_w1
from trainables.training.state import TrainState, set_learning_rate
from trainables.training.techniques import feature_distance, inconsistency

#: Takes a generator step with its critic steps. Returns the numbers of :func:`_logged`, the last
#: batch of real samples, and the last batch of fake ones.
Step = Callable[[], tuple[Float[Tensor, " numbers"], Tensor, Tensor]]

#: A trial with a generated value above it has diverged. Data are scaled to a size of about 1, and
#: even a bad trial, with a W1 of 100, stays far below.
MAX_SAMPLE_VALUE = 1e4

#: The numbers that a loss has in addition to those of all losses, by the names that they are logged
#: under.
LOSS_METRICS: Mapping[Loss, tuple[str, ...]] = {
    "ebgan": ("pulling_away",),
    "began": ("balance", "convergence_measure"),
    "sliced_wasserstein": ("sliced_w1",),
}
#: The numbers that an option has in addition to those of all trials, by the key that turns it on.
OPTION_METRICS: Mapping[str, tuple[str, ...]] = {
    "feature_matching_weight": ("feature_distance",),
    "consistency_weight": ("inconsistency",),
    "historical_averaging_weight": ("critic_historical_distance", "generator_historical_distance"),
}
_NO_CRITIC: Mapping[str, Any] = dict.fromkeys(
    ("critic_estimate", "critic_loss", "critic_gradient_norm", "critic_lipschitz")
)


@dataclass(frozen=True)
class Measurement:
    """The metrics of training at a generator step. Those of a diverged trial may not be finite.

    Those of a critic are ``None`` under a loss that trains none.

    Attributes:
        generator_steps: Steps taken so far.
        critic_estimate: The critic's ``divergence`` at the last critic step of each generator
            step, as the mean since the last measurement: E[f(real)] - E[f(fake)], or under a GAN
            loss a divergence in nats, between samples with instance noise.
        critic_loss: The critic's loss at the same steps, with its weighted penalties, as a mean.
        generator_loss: The generator's loss, as a mean.
        critic_gradient_norm: Mean gradient norm at points spread evenly between the last real and
            fake batch.
        critic_lipschitz: The largest of these norms: the critic's empirical Lipschitz constant.
        generator_steps_per_s: Speed since the last measurement.
        training_seconds: Wall time of all training so far, also before a resume.
        training_cpu_seconds: CPU time of the training thread, likewise.
        diverged: Whether the trial has diverged; see :func:`train`.
        loss_metrics: The numbers that the loss and its options alone have, by the names of
            ``LOSS_METRICS`` and ``OPTION_METRICS``, as means.
    """

    generator_steps: int
    critic_estimate: float | None
    critic_loss: float | None
    generator_loss: float
    critic_gradient_norm: float | None
    critic_lipschitz: float | None
    generator_steps_per_s: float
    training_seconds: float
    training_cpu_seconds: float
    diverged: bool
    loss_metrics: Mapping[str, float] = field(default_factory=dict)

    def as_floats(self) -> dict[str, float]:
        """Return all numbers that it has by name, as plain floats; ``diverged`` is 0 or 1."""
        fields = {**asdict(self), **self.loss_metrics, "loss_metrics": None}
        return {name: float(value) for name, value in fields.items() if value is not None}


def train(
    state: TrainState,
    config: TrainingConfig,
    real: Num[Tensor, "n *sample"],
    report_at: Iterable[int],
) -> Iterator[Measurement]:
    """Train, and yield a measurement at each generator step of ``report_at`` not yet reached.

    Training ends after the last of these steps, or at the first measurement of a diverged trial:
    with a loss, an estimate, a gradient norm or a weight that is not finite, or a sample above
    ``MAX_SAMPLE_VALUE``. At a yield ``state`` is complete and may be saved. The steps of the
    reports do not affect the training, and the time spent at a yield is not counted.

    Args:
        state: The state of the trial, which training changes. One that captures its steps must not
            be loaded into between the first measurement and the last.
        config: The training, as the state was created with.
        real: Training data on the state's device: scaled float32, or images as uint8, which
            are scaled batch by batch.
        report_at: The generator steps, ascending.
    """
    step: Step = partial(_iteration, state, config, real)
    if state.captures:
        step = captured(step, state.rng).__next__
    for generator_step in report_at:
        if generator_step > state.generator_steps:
            with state.global_rng.active():
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
    """Take one step of the critic's optimiser, under its loss and constraint.

    Args:
        state: The state, whose critic is changed.
        config: The training.
        real: Real samples.
        fake: As many generated samples, without a graph.

    Returns:
        The critic's estimate and its loss, both before the step.
    """
    numbers = _critic_step(state, config, real, fake)
    return numbers["critic_estimate"], numbers["critic_loss"]


def _critic_step(
    state: TrainState, config: TrainingConfig, real: Tensor, fake: Tensor
) -> dict[str, Float[Tensor, ""]]:
    """Take a step of the critic; return its numbers by their names in a measurement."""
    real, fake = packed(real, config.pack), packed(fake, config.pack)
    if state.closed_form is not None:
        coefficients = None
        if config.gp_weight is not None:
            coefficients = coefficients_between(real, state.rng)
        unpenalised, loss, gradients = state.closed_form(real, fake, coefficients)
        numbers: dict[str, Tensor] = {}
    else:
        unpenalised, loss, numbers = _critic_losses(state, config, real, fake)
        gradients = _gradients(loss, state.critic_optimizer)
    numbers["critic_estimate"] = divergence(config, unpenalised.detach())
    if (history := state.critic_history) is not None:
        loss, gradients, distance = history.penalise(
            loss, gradients, config.historical_averaging_weight or 0.0
        )
        numbers["critic_historical_distance"] = distance
    _step(state.critic_optimizer, gradients)
    project_(state.critic, config)
    if history is not None:
        history.update()
    return numbers | {"critic_loss": loss.detach()}


def _critic_losses(
    state: TrainState, config: TrainingConfig, real: Tensor, fake: Tensor
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Compute the critic's loss without and with its weighted penalties, and its own numbers."""
    samples = _with_noise(state, config, torch.cat([real, fake]))
    evaluate = state.scores_and_features if config.consistency_weight else state.scores_alone
    if state.scores_depend_on_batch:
        # In one batch each score would depend on the other half, too.
        outputs = [evaluate(half) for half in samples.chunk(2)]
        scores, features = [of_half for of_half, _ in outputs], outputs[0][1]
    else:
        of_both, features = evaluate(samples)
        scores = of_both.chunk(2)
    numbers: dict[str, Tensor] = {}
    loss = penalised = critic_loss(config, *scores)
    # By the critic, not ``state.scores``: compiled code cannot be differentiated twice, and
    # bfloat16 has too few digits for a gradient norm.
    if config.gp_weight is not None:
        penalty = PENALTIES[config.constraint](state.critic, real, fake, state.rng)
        penalised = penalised + config.gp_weight * penalty
    if config.div_weight is not None and config.div_power is not None:
        penalty = power_penalty(state.critic, real, fake, state.rng, config.div_power)
        penalised = penalised + config.div_weight * penalty
    if state.balance is not None:
        penalised = penalised + state.balance.critic_term(scores[1])
        state.balance.update_(*scores)
    if config.label_smoothing:
        penalised = penalised + label_smoothing(config, scores[0])
    # At the samples that the critic was given, with their noise.
    weights = (config.r1_weight, config.r2_weight)
    for weight, half in zip(weights, samples.chunk(2), strict=True):
        if weight:
            penalised = penalised + weight * zero_centred_penalty(state.critic, half)
    if features is not None:
        once = scores[0], features[: len(real)]
        again = state.scores_and_features(samples[: len(real)])
        term = inconsistency(once, again, config.consistency_margin or 0.0)
        penalised = penalised + (config.consistency_weight or 0.0) * term
        numbers["inconsistency"] = term.detach()
    return loss, penalised, numbers


def generator_step(
    state: TrainState, config: TrainingConfig, real: Float[Tensor, "batch *sample"] | None = None
) -> tuple[Float[Tensor, ""], Float[Tensor, "{config.batch_size} *sample"]]:
    """Take one step of the generator's optimiser, and update the moving average of its weights.

    Args:
        state: The state, whose generator is changed.
        config: The training.
        real: ``config.batch_size`` real samples; needed by a loss that compares, and by feature
            matching.

    Returns:
        The loss and the samples, both before the step.
    """
    numbers, fake = _generator_step(state, config, real)
    return numbers["generator_loss"], fake


def _generator_step(
    state: TrainState, config: TrainingConfig, real: Tensor | None
) -> tuple[dict[str, Float[Tensor, ""]], Tensor]:
    """Take a step of the generator; return its numbers by name, and its samples."""
    fake = state.sample(config.batch_size)
    loss, numbers = _generator_losses(state, config, fake, real)
    gradients = _gradients(loss, state.generator_optimizer)
    if (history := state.generator_history) is not None:
        loss, gradients, distance = history.penalise(
            loss, gradients, config.historical_averaging_weight or 0.0
        )
        numbers["generator_historical_distance"] = distance
    _step(state.generator_optimizer, gradients)
    if history is not None:
        history.update()
    if state.averaged is not None:
        # The average starts at the weights after the first step, not at the initial ones.
        state.update_average(config.ema_decay if state.generator_steps > 0 else 0.0)
    numbers["generator_loss"] = loss
    return {name: number.detach() for name, number in numbers.items()}, fake.detach()


def _generator_losses(
    state: TrainState, config: TrainingConfig, fake: Tensor, real: Tensor | None
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Compute the generator's loss, and the numbers that the loss and the options alone have."""
    if config.num_projections is not None:
        if real is None:
            raise ValueError(f"{config.loss} needs real samples, got none")
        batches = packed(real, config.pack), packed(fake, config.pack)
        loss = sliced_w1(*batches, config.num_projections, state.rng)
        return loss, {"sliced_w1": loss}
    if config.pulling_away_weight is not None:
        critic, packs = cast(Autoencoder, state.critic), packed(fake, config.pack)
        codes = state.forward(critic.encoder, packs)
        scores = critic.scores(packs, state.forward(critic.decoder, codes))
        term = pulling_away(codes)
        loss = generator_loss(config, scores) + config.pulling_away_weight * term
        return loss, {"pulling_away": term}
    evaluate = state.scores_and_features if config.feature_matching_weight else state.scores_alone
    real_scores = real_features = None
    if real is not None and (config.feature_matching_weight or compares(config)):
        with torch.no_grad():
            real_scores, real_features = evaluate(
                packed(_with_noise(state, config, real), config.pack)
            )
    scores, features = evaluate(packed(_with_noise(state, config, fake), config.pack))
    loss = generator_loss(config, scores, real_scores)
    numbers: dict[str, Tensor] = {}
    if config.feature_matching_weight:
        numbers["feature_distance"] = feature_distance(real_features, features)
        loss = loss + config.feature_matching_weight * numbers["feature_distance"]
    if state.balance is not None:
        numbers["balance"] = state.balance.k
        numbers["convergence_measure"] = state.balance.convergence_measure
    return loss, numbers


def _with_noise(state: TrainState, config: TrainingConfig, samples: Tensor) -> Tensor:
    # Noise makes the two distributions overlap, so that the divergence between them has a
    # gradient (Arjovsky & Bottou 2017, section 3.2). Its scale is constant: annealing needs a known
    # last step, and ASHA decides only at each rung whether a trial continues.
    if not config.instance_noise:
        return samples  # without drawing from the RNG
    noise = torch.empty_like(samples).normal_(generator=state.rng)
    return samples + config.instance_noise * noise


def _train_until(
    state: TrainState, config: TrainingConfig, step: Step, last_step: int
) -> Measurement:
    started_s, started_cpu_s = time.perf_counter(), time.thread_time()
    num_steps = last_step - state.generator_steps
    # Sums stay on the device: reading a value at every step would stall a GPU.
    metrics, real_batch, fake = _advance(state, config, step)
    totals = metrics.clone()  # a captured step overwrites its outputs
    for _ in range(num_steps - 1):
        metrics, real_batch, fake = _advance(state, config, step)
        totals += metrics
    numbers = dict(zip(_logged(config), (totals / num_steps).tolist(), strict=True))
    if config.loss not in CRITIC_FREE:
        numbers |= _slopes(state, packed(real_batch, config.pack), packed(fake, config.pack))
    seconds = time.perf_counter() - started_s
    state.training_seconds += seconds
    state.training_cpu_seconds += time.thread_time() - started_cpu_s
    is_finite = all(map(math.isfinite, numbers.values())) and _is_finite(state, fake)
    loss_metrics = {name: numbers.pop(name) for name in _loss_metrics(config)}
    return Measurement(
        last_step,
        **{**_NO_CRITIC, **numbers},
        generator_steps_per_s=num_steps / seconds,
        training_seconds=state.training_seconds,
        training_cpu_seconds=state.training_cpu_seconds,
        diverged=not is_finite,
        loss_metrics=loss_metrics,
    )


def _logged(config: TrainingConfig) -> list[str]:
    """Name the numbers that a step returns, in their order."""
    of_critic = [] if config.loss in CRITIC_FREE else ["critic_estimate", "critic_loss"]
    return [*of_critic, "generator_loss", *_loss_metrics(config)]


def _loss_metrics(config: TrainingConfig) -> list[str]:
    of_options = (names for key, names in OPTION_METRICS.items() if getattr(config, key))
    return [*LOSS_METRICS.get(config.loss, ()), *(name for names in of_options for name in names)]


def _slopes(state: TrainState, real: Tensor, fake: Tensor) -> dict[str, float]:
    """Measure the critic's gradient norms between two batches."""
    coefficients = torch.linspace(0, 1, len(real), device=fake.device)
    # A measurement leaves no trace in the training, even if the critic draws random numbers.
    with seeded(0, state.rng.device):
        norms = gradient_norms(state.critic, interpolate(real, fake, coefficients))
    return {"critic_gradient_norm": norms.mean().item(), "critic_lipschitz": norms.max().item()}


def _advance(
    state: TrainState, config: TrainingConfig, step: Step
) -> tuple[Float[Tensor, " numbers"], Tensor, Tensor]:
    # The part of a step in Python, which a captured step would do only once.
    _set_learning_rates(state, config)
    outputs = step()
    state.generator_steps += 1
    return outputs


def _iteration(
    state: TrainState, config: TrainingConfig, real: Tensor
) -> tuple[Float[Tensor, " numbers"], Tensor, Tensor]:
    # Algorithm 1 of the papers. The generator does not change while the critic trains, so that all
    # critic batches of an iteration can be drawn at once: a tenth fewer kernels.
    shape = (config.n_critic or 1, config.batch_size)
    drawn = torch.randint(len(real), shape, generator=state.rng, device=real.device)
    reals = as_floats(real[drawn])
    of_critic: dict[str, Tensor] = {}
    if config.loss not in CRITIC_FREE:
        batches = zip(reals, _fakes(state, *shape), strict=True)
        of_critic = [_critic_step(state, config, *batch) for batch in batches][-1]
    of_generator, fake = _generator_step(state, config, reals[-1])
    numbers = of_critic | of_generator
    return torch.stack([numbers[name] for name in _logged(config)]), reals[-1], fake


@torch.no_grad()
def _fakes(
    state: TrainState, num_batches: int, batch_size: int
) -> Float[Tensor, "{num_batches} {batch_size} *sample"]:
    if state.generator_has_batch_norm:  # its statistics must be those of one batch
        return torch.stack([state.sample(batch_size) for _ in range(num_batches)])
    return state.sample(num_batches * batch_size).unflatten(0, (num_batches, batch_size))


def _set_learning_rates(state: TrainState, config: TrainingConfig) -> None:
    # From the number of steps alone, so that a checkpoint needs no state of a scheduler.
    if state.lr_ends_at_generator_steps is None:
        return
    left = max(0.0, 1 - state.generator_steps / state.lr_ends_at_generator_steps)
    for optimizer, learning_rate in (
        (state.generator_optimizer, config.generator_lr),
        (state.critic_optimizer, config.critic_lr or 0.0),
    ):
        for group in optimizer.param_groups:
            set_learning_rate(group, left * learning_rate)


def _is_finite(state: TrainState, fake: Tensor) -> bool:
    weights = parameters_to_vector([*state.generator.parameters(), *state.critic.parameters()])
    return bool(weights.isfinite().all() & (fake.abs().max() <= MAX_SAMPLE_VALUE))


def _gradients(loss: Tensor, optimizer: torch.optim.Optimizer) -> tuple[Tensor, ...]:
    # Not loss.backward(), which would also compute the gradients of the other network.
    return torch.autograd.grad(loss, _parameters(optimizer))


def _step(optimizer: torch.optim.Optimizer, gradients: Iterable[Tensor]) -> None:
    for parameter, gradient in zip(_parameters(optimizer), gradients, strict=True):
        if gradient.stride() != parameter.stride():
            # A fused optimiser reads both in memory order, and would permute the elements.
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient
    optimizer.step()


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
