"""The independent critic: a Wasserstein estimate by which all trials of a search are ranked.

Critics are trained from scratch at every call, alike for every generator: the same initial
weights, batches of real data, latents, optimiser and number of steps. A trial's own critic plays
no part, for its scale depends on what a search varies.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from trainables.config import CriticBudget
from trainables.data import as_floats
from trainables.training import Adam, evaluating, gradient_norms, interpolate

Generate = Callable[[Tensor], Tensor]
#: Samples as they are kept: bytes are scaled to [-1, 1] batch by batch.
Kept = UInt8[Tensor, "_ *sample"] | Float32[Tensor, "_ *sample"]

WIDTH = 64
PENALTY_WEIGHT = 5.0  # against a W1 of at most 2, in units of _Critics.scale
# In one pass: a convolutional generator's layers for all samples at once would take gigabytes.
SAMPLES_AT_ONCE, NUMBERS_AT_ONCE = 1024, 2**20
NUMBERS_IN_A_MOMENT = 2**24  # 64 MiB of floats, where means are taken
MOST_GENERATED_NUMBERS, LEAST_GENERATED = 2**26, 1024  # 256 MiB of floats
NUM_SLOPES = 512  # points between real and generated samples where the slope is measured


@dataclass(frozen=True)
class Score:
    """What independent critics say of a generator; lower is better.

    ``w1`` and its kin are in the data's units: the L2 norm of a whole sample. They are ``nan`` for
    a generator with a sample that is not finite, or too large to be squared.

    Attributes:
        w1: Estimate of the Wasserstein-1 distance, the mean over the critics, read on ``read`` and
            fresh samples: never the exact distance. It is below zero by chance where the critics
            found nothing.
        w1_stderr: Standard error of ``w1``: from the samples it was read on and, of several
            critics, from their spread.
        w1_train: The reading on ``fit``: its excess over ``w1`` is the critics' own overfitting.
        critic_lipschitz: The critics' largest gradient norm between real and generated samples:
            1 to 1.3 as a rule; the penalty's known slack is already out of ``w1``.
    """

    w1: float
    w1_stderr: float
    w1_train: float
    critic_lipschitz: float


def score(
    generate: Generate,
    latent_dim: int,
    fit: Kept,
    read: Kept,
    budget: CriticBudget,
) -> Score:
    """Estimate W1 between a generator and held-out data (Arjovsky 2017, eq. 2; Petzka 2018, eq. 8).

    Maximises E[f(real)] - E[f(generated)] over critics f kept 1-Lipschitz by a one-sided penalty.
    On the CPU the same arguments give the same bits; PyTorch's global random state is neither
    read nor changed. Nothing is raised for a generator that is not finite.

    Args:
        generate: Latents [batch, latent_dim], standard normal, to samples [batch, *sample]. A
            module is called in evaluation mode and left as it was found.
        latent_dim: Length of a latent vector.
        fit: Real samples that no trial trains on, for the critics to train on: bytes, which are
            scaled to [-1, 1], or floats.
        read: Further real samples, at least two, for the reading.
        budget: How the critics are trained. Of samples so large that its ``num_generated`` would
            be more than 2**26 numbers, fewer are generated, but at least 1,024.
    """
    rng = torch.Generator(fit.device).manual_seed(budget.seed)
    # A stream of their own: a trial's latent_dim must not move the weights and batches below.
    latent_rng = torch.Generator(fit.device).manual_seed(budget.seed + 1)

    fit, read = fit.flatten(1), read.flatten(1)
    dim = fit.shape[1]
    num_generated = min(budget.num_generated, max(LEAST_GENERATED, MOST_GENERATED_NUMBERS // dim))

    @torch.no_grad()
    def draw() -> Float[Tensor, "num_generated dim"]:
        latents = torch.randn(num_generated, latent_dim, generator=latent_rng, device=fit.device)
        chunks = latents.split(_at_once(dim))
        # Not cat, which would hold them all twice.
        samples = torch.empty(num_generated, dim, device=fit.device)
        for kept, chunk in zip(samples.split(_at_once(dim)), chunks, strict=True):
            kept.copy_(generate(chunk).flatten(1))
        return samples

    with evaluating(generate), torch.enable_grad():
        generated = draw()
        critics = _Critics(budget.num_critics, fit, generated, rng)
        _train(critics, fit, generated, budget, rng)
        del generated
        return _read(critics, fit, read, draw(), rng)


class _Critics(nn.Module):
    """ReLU networks, each beside a linear map, as one batch: samples [critics * batch, dim].

    Rows go to the critics in order, as many to each. With mean m and scale s (the root mean square
    distance from m) of real and generated samples together, f(x) = s h((x - m) / s): f's slopes
    are h's, and h sees numbers of one size whatever the data's dimension and however far off the
    generator is.
    """

    def __init__(
        self, num_critics: int, real: Tensor, generated: Tensor, rng: torch.Generator
    ) -> None:
        super().__init__()
        self.num_critics = num_critics
        parts = (real, generated)
        real_mean, generated_mean = (_mean(part, lambda x: x) for part in parts)
        self.mean = (real_mean + generated_mean) / 2
        squares = [_mean(part, lambda x: (x - self.mean).square().sum(1)) for part in parts]
        self.scale = torch.stack(squares).mean().sqrt()
        dim = real.shape[1]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in pairwise([dim, WIDTH, WIDTH, 1]):
            bound = 1 / math.sqrt(inputs)
            for parameters, rows in ((self.weights, inputs), (self.biases, 1)):
                values = torch.empty(num_critics, rows, outputs, device=rng.device)
                parameters.append(nn.init.uniform_(values, -bound, bound, generator=rng))
        # A shift is a linear critic: at hand from the first step, and exact at any distance.
        self.linear = nn.Parameter(torch.zeros(num_critics, dim, 1, device=rng.device))

    def standardise(self, samples: Kept) -> Float[Tensor, "batch *sample"]:
        return (as_floats(samples) - self.mean) / self.scale

    def forward(self, standardised: Float[Tensor, "rows dim"]) -> Float[Tensor, " rows"]:
        return self._layers(self._split(standardised))[0].flatten()

    def values_and_slopes(
        self,
        real: Float[Tensor, "rows dim"],
        fake: Float[Tensor, "rows dim"],
        between: Float[Tensor, "rows dim"],
    ) -> tuple[
        Float[Tensor, "critics batch"],
        Float[Tensor, "critics batch"],
        Float[Tensor, "critics batch"],
    ]:
        """Values of real and of fake samples, and gradient norms between them, in one pass.

        A ReLU network is linear around a sample: its gradient is the product of the weights of
        the units that are on. Written out, it costs half of what differentiating twice does.
        """
        inputs = torch.cat([self._split(part) for part in (real, fake, between)], 1)
        values, active = self._layers(inputs)
        real_values, fake_values, _ = values.chunk(3, 1)
        gradients = self.weights[-1].mT
        for weight, on in zip(reversed(self.weights[:-1]), reversed(active), strict=True):
            gradients = torch.bmm(on.chunk(3, 1)[2] * gradients, weight.mT)
        gradients = (gradients + self.linear.mT) * math.sqrt(inputs.shape[2])
        # The root's derivative at zero is infinite.
        return real_values, fake_values, (gradients.square().sum(2) + 1e-12).sqrt()

    def _split(self, samples: Tensor) -> Tensor:
        # Coordinates of size 1, as the networks' initial weights expect.
        dim = samples.shape[1]
        return samples.view(self.num_critics, -1, dim) * math.sqrt(dim)

    def _layers(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        hidden, active = inputs, []
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = torch.baddbmm(bias, hidden, weight).relu()
            active.append((hidden > 0).to(hidden.dtype))
        direct = torch.baddbmm(self.biases[-1], inputs, self.linear)
        return torch.baddbmm(direct, hidden, self.weights[-1]).squeeze(2), active

    def read(self, samples: Kept) -> Float[Tensor, "critics n"]:
        """Each critic's values of all samples, in the data's units."""
        chunks = map(self.standardise, samples.split(_at_once(samples.shape[1])))
        values = [self(chunk.repeat(self.num_critics, 1)) for chunk in chunks]
        values = [value.view(self.num_critics, -1) for value in values]
        return (torch.cat(values, 1) * self.scale).double()


def _train(
    critics: _Critics, fit: Tensor, generated: Tensor, budget: CriticBudget, rng: torch.Generator
) -> None:
    """Train h; its loss is in units of the scale, so one penalty weight serves all data."""
    optimizer = Adam(critics.parameters(), lr=budget.learning_rate, betas=(0.5, 0.9), fused=True)
    # Down to zero, as the last steps' noise would else outweigh a small distance.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, budget.critic_steps)
    num_samples = critics.num_critics * budget.batch_size
    # Not fresh samples for every step: a large generator would take longer than the critics.
    reals, fakes = (_batches(samples, num_samples, rng) for samples in (fit, generated))
    for _ in range(budget.critic_steps):
        real, fake = critics.standardise(next(reals)), critics.standardise(next(fakes))
        coefficients = torch.rand(num_samples, generator=rng, device=rng.device)
        between = interpolate(real, fake, coefficients)
        real_values, fake_values, slopes = critics.values_and_slopes(real, fake, between)
        penalty = (slopes - 1).relu().square().mean(1)
        losses = fake_values.mean(1) - real_values.mean(1) + PENALTY_WEIGHT * penalty
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        schedule.step()


def _batches(samples: Tensor, num_samples: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Every sample once before any twice, in batches for ever."""
    order = torch.empty(0, dtype=torch.long, device=samples.device)
    while True:
        while len(order) < num_samples:
            shuffled = torch.randperm(len(samples), generator=rng, device=samples.device)
            order = torch.cat([order, shuffled])
        yield samples[order[:num_samples]]
        order = order[num_samples:]


def _read(
    critics: _Critics, fit: Tensor, read: Tensor, generated: Tensor, rng: torch.Generator
) -> Score:
    with torch.no_grad():
        on_fit, on_read, on_generated = map(critics.read, (fit, read, generated))
    each, rate = _without_slack(on_read.mean(1) - on_generated.mean(1), critics.scale)
    each_train, _ = _without_slack(on_fit.mean(1) - on_generated.mean(1), critics.scale)
    # Of the mean critic: on the same samples the critics are anything but independent.
    samples = [(rate[:, None] * values).mean(0) for values in (on_read, on_generated)]
    variance = torch.stack([values.var() / len(values) for values in samples]).sum()
    if critics.num_critics > 1:
        variance = variance + each.var() / critics.num_critics
    return Score(
        w1=each.mean().item(),
        w1_stderr=variance.sqrt().item(),
        w1_train=each_train.mean().item(),
        critic_lipschitz=_largest_slope(critics, read, generated, rng),
    )


def _largest_slope(
    critics: _Critics, real: Tensor, generated: Tensor, rng: torch.Generator
) -> float:
    num_points = min(NUM_SLOPES, len(real), len(generated))
    coefficients = torch.rand(num_points, generator=rng, device=rng.device)
    points = interpolate(as_floats(real[:num_points]), generated[:num_points], coefficients)
    points = critics.standardise(points).repeat(critics.num_critics, 1)
    return gradient_norms(critics, points).max().item()


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


def _at_once(dim: int) -> int:
    return max(1, min(SAMPLES_AT_ONCE, NUMBERS_AT_ONCE // dim))


def _mean(samples: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean of a function of each sample, in as few steps as memory allows."""
    chunks = samples.split(max(1, NUMBERS_IN_A_MOMENT // samples.shape[1]))
    means = [function(as_floats(chunk)).mean(0) * (len(chunk) / len(samples)) for chunk in chunks]
    return torch.stack(means).sum(0)
