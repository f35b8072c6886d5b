"""The independent critic: a Wasserstein estimate by which all trials of a search are ranked.

The critic is trained from scratch at every call, alike for every generator: the same initial
weights, batches of real data, latents, optimiser and number of steps. A trial's own critic plays
no part, for its scale depends on what a search varies.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainables.config import ObjectiveConfig
from trainables.lipschitz import gradient_norms, interpolate, one_sided_penalty

Generate = Callable[[Tensor], Tensor]
Draw = Callable[[int], Tensor]

WIDTH, BATCH_SIZE, LEARNING_RATE = 64, 64, 1e-2
PENALTY_WEIGHT = 5.0  # against a W1 of at most 2, in units of _Critic.scale
#: Generated samples that a critic is read on, and that set its scale.
NUM_GENERATED = 4096
NUM_SLOPES = 512  # points between real and generated samples where the slope is measured


@dataclass(frozen=True)
class Score:
    """What the independent critic says of a generator; lower is better.

    ``w1`` and its kin are in the data's units: the L2 norm of a whole sample. They are ``nan`` for
    a generator with a sample that is not finite, or too large to be squared.

    Attributes:
        w1: Estimate of the Wasserstein-1 distance, read on ``read`` and fresh samples: never the
            exact distance. It is below zero by chance where the critic found nothing.
        w1_stderr: Standard error of ``w1`` from the samples it was read on, the critic given: a
            critic of another seed may differ by more.
        w1_fit: The reading on ``fit``: its excess over ``w1`` is the critic's own overfitting.
        critic_lipschitz: The critic's largest gradient norm between real and generated samples:
            1 to 1.3 as a rule; the penalty's known slack is already out of ``w1``.
    """

    w1: float
    w1_stderr: float
    w1_fit: float
    critic_lipschitz: float


def score(
    generate: Generate,
    latent_dim: int,
    fit: Float[Tensor, "n_fit *sample"],
    read: Float[Tensor, "n_read *sample"],
    config: ObjectiveConfig,
) -> Score:
    """Estimate W1 between a generator and held-out data (Arjovsky 2017, eq. 2; Petzka 2018, eq. 8).

    Maximises E[f(real)] - E[f(generated)] over critics f kept 1-Lipschitz by a one-sided penalty.
    On the CPU the same arguments give the same bits; PyTorch's global random state is neither
    read nor changed. Nothing is raised for a generator that is not finite.

    Args:
        generate: Latents [batch, latent_dim], standard normal, to samples [batch, *sample]. A
            module is called in evaluation mode and left as it was found.
        latent_dim: Length of a latent vector.
        fit: Real samples that no trial trains on, for the critic to train on.
        read: Further real samples, at least two, for the reading.
        config: The critic's budget and seed. Scores compare under one configuration only.
    """
    rng = torch.Generator(fit.device).manual_seed(config.seed)
    # A stream of their own: a trial's latent_dim must not move the weights and batches below.
    latent_rng = torch.Generator(fit.device).manual_seed(config.seed + 1)

    @torch.no_grad()
    def draw(num_samples: int) -> Float[Tensor, "num_samples dim"]:
        latents = torch.randn(num_samples, latent_dim, generator=latent_rng, device=fit.device)
        return generate(latents).flatten(1)

    fit, read = fit.flatten(1), read.flatten(1)
    with _evaluating(generate), torch.enable_grad():
        critic = _Critic(fit, draw(NUM_GENERATED), rng)
        _train(critic, fit, draw, config.critic_steps, rng)
        return _read(critic, fit, read, draw(NUM_GENERATED), rng)


class _Critic(nn.Module):
    """A ReLU network beside a linear map, on standardised samples [batch, dim].

    With mean m and scale s (the root mean square distance from m) of real and generated samples
    together, f(x) = s h((x - m) / s): f's slopes are h's, and h sees numbers of one size whatever
    the data's dimension and however far off the generator is.
    """

    def __init__(self, real: Tensor, generated: Tensor, rng: torch.Generator) -> None:
        super().__init__()
        self.mean = (real.mean(0) + generated.mean(0)) / 2
        squares = [(part - self.mean).square().sum(1).mean() for part in (real, generated)]
        self.scale = torch.stack(squares).mean().sqrt()
        dim = real.shape[1]
        layers = [_linear(*size, rng) for size in pairwise([dim, WIDTH, WIDTH, 1])]
        self.network = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        # A shift is a linear critic: at hand from the first step, and exact at any distance.
        self.linear = _linear(dim, 1, rng)
        nn.init.zeros_(self.linear.weight)

    def standardise(self, samples: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return (samples - self.mean) / self.scale

    def forward(self, standardised: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
        # Coordinates of size 1, as the networks' initial weights expect.
        inputs = standardised * math.sqrt(standardised.shape[1])
        return (self.network(inputs) + self.linear(inputs)).squeeze(1)


def _linear(inputs: int, outputs: int, rng: torch.Generator) -> nn.Linear:
    layer = cast(nn.Linear, nn.utils.skip_init(nn.Linear, inputs, outputs, device=rng.device))
    bound = 1 / math.sqrt(inputs)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=rng)
    return layer


def _train(critic: _Critic, fit: Tensor, draw: Draw, num_steps: int, rng: torch.Generator) -> None:
    """Train h; its loss is in units of the scale, so one penalty weight serves all data."""
    optimizer = torch.optim.Adam(
        critic.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.9), fused=True
    )
    # Down to zero, as the last steps' noise would else outweigh a small distance.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    batches = _batches(critic.standardise(fit), rng)
    for _ in range(num_steps):
        real, fake = next(batches), critic.standardise(draw(BATCH_SIZE))
        real_scores, fake_scores = critic(torch.cat([real, fake])).split(BATCH_SIZE)
        penalty = one_sided_penalty(critic, real, fake, rng)
        loss = fake_scores.mean() - real_scores.mean() + PENALTY_WEIGHT * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _batches(samples: Tensor, rng: torch.Generator) -> Iterator[Tensor]:
    """Every sample once before any twice, in batches of BATCH_SIZE for ever."""
    order = torch.empty(0, dtype=torch.long, device=samples.device)
    while True:
        while len(order) < BATCH_SIZE:
            shuffled = torch.randperm(len(samples), generator=rng, device=samples.device)
            order = torch.cat([order, shuffled])
        yield samples[order[:BATCH_SIZE]]
        order = order[BATCH_SIZE:]


def _read(
    critic: _Critic, fit: Tensor, read: Tensor, generated: Tensor, rng: torch.Generator
) -> Score:
    with torch.no_grad():
        on_fit, on_read, on_generated = (
            (critic(critic.standardise(samples)) * critic.scale).double()
            for samples in (fit, read, generated)
        )
    coefficients = torch.rand(min(NUM_SLOPES, len(read)), generator=rng, device=rng.device)
    between = interpolate(read[: len(coefficients)], generated[: len(coefficients)], coefficients)
    slopes = gradient_norms(critic, critic.standardise(between))
    variance = on_read.var() / len(on_read) + on_generated.var() / len(on_generated)
    w1, rate = _without_slack(on_read.mean() - on_generated.mean(), critic.scale)
    w1_fit, _ = _without_slack(on_fit.mean() - on_generated.mean(), critic.scale)
    return Score(w1.item(), (rate * variance.sqrt()).item(), w1_fit.item(), slopes.max().item())


def _without_slack(reading: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Take off what a soft penalty lets the critic add; also the result's rate by the reading.

    Against a distance W in units of the scale, a critic of slope k gains k W - lambda (k - 1)^2.
    The best is k = 1 + W / (2 lambda), which reads W + W^2 / (2 lambda): solve it for W. That is
    exact for a critic of one slope, leaves small distances alone, and never changes an order of
    readings at one scale.
    """
    root = (1 + 2 * (reading / scale).clamp_min(0) / PENALTY_WEIGHT).sqrt()
    # 2 / (1 + root) is PENALTY_WEIGHT (root - 1) / reading without the cancellation near zero.
    return reading * 2 / (1 + root), 1 / root


@contextmanager
def _evaluating(generate: Generate) -> Iterator[None]:
    """Evaluation mode for a module, so that no sample depends on its batch."""
    modules = list(generate.modules()) if isinstance(generate, nn.Module) else []
    training = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, training, strict=True):
            module.training = mode
