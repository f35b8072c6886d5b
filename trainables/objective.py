"""The independent critic: an estimate of W1 by which all trials of a search are ranked.

At every call critics are trained from scratch, in the same way for every generator: with the same
initial weights, batches of real data, latents, optimiser and number of steps. The trial's own
critic is not used, because the scale of its estimate depends on the hyperparameters.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor, nn

from trainables.cones import MAX_DIM, Cones, fit_cones, lower_bound
from trainables.config import CriticBudget
from trainables.data import as_floats
from trainables.ground import Ground
from trainables.training import Adam, evaluating, gradient_norms, interpolate, seeded

Generate = Callable[[Tensor], Tensor]
#: Bytes are scaled to [-1, 1] batch by batch.
Samples = UInt8[Tensor, "_ *sample"] | Float32[Tensor, "_ *sample"]

#: Units in each of the two hidden layers of a critic.
WIDTH = 64
#: W1 is at most 2 in the units of the penalised loss, which are ``_Critics.scale``.
PENALTY_WEIGHT = 5.0
# Limits of a batch in a forward pass: a convolutional generator needs gigabytes for all samples.
MAX_SAMPLES_PER_BATCH, MAX_ELEMENTS_PER_BATCH = 1024, 2**20
#: Elements of a chunk where means are computed: 64 MiB of floats.
MAX_ELEMENTS_PER_REDUCTION = 2**24
#: Elements of all generated samples, 256 MiB of floats, unless these are fewer samples than below.
MAX_GENERATED_ELEMENTS = 2**26
MIN_GENERATED_SAMPLES = 1024
#: One in so many samples is kept to choose between networks and cones by.
VALIDATION_SHARE = 8
#: Points between real and generated samples at which the gradient norm is measured.
NUM_GRADIENT_POINTS = 512
#: Most blocks of samples in :class:`Readings`: a variance of so many is known to 4.4%.
MAX_BLOCKS = 256


@dataclass(frozen=True)
class Readings:
    """The parts of an estimate by which the error of its difference from another is known.

    Two scores by one budget on the same real samples share these samples, and the critics' initial
    weights, batches and latents. So their errors are correlated, and the error of the difference is
    that of the differences between parts.

    Attributes:
        real: What each block of real samples adds to the estimate, at most ``MAX_BLOCKS`` blocks:
            their mean is 0, and their variance over their number is that of the estimate.
        generated: Likewise of generated samples.
        critics: The estimate by each critic.
    """

    real: tuple[float, ...]
    generated: tuple[float, ...]
    critics: tuple[float, ...]


@dataclass(frozen=True)
class Score:
    """The independent critics' estimates for a generator; lower is better.

    All values are in the data's units, by the L2 norm of a whole sample; under a ground metric, of
    its features, which are scaled to the same size. They are ``nan`` for a
    generator of which a sample is not finite, or too large to be squared.

    Attributes:
        w1: Estimate of the Wasserstein-1 distance, the mean over the critics, on ``critic_eval``
            and fresh generated samples. It may be slightly negative where the distance is near 0.
        w1_stderr: Standard error of ``w1``, from the number of samples and, with several critics,
            from the variance between them.
        w1_train: The estimate on ``critic_train``; its excess over ``w1`` is due to overfitting.
        critic_lipschitz: The largest gradient norm of the critics between real and generated
            samples, 1 to 1.3 as a rule. ``w1`` is already corrected for the expected excess.
        readings: The parts of ``w1``, to compare it with another score.
    """

    w1: float
    w1_stderr: float
    w1_train: float
    critic_lipschitz: float
    readings: Readings


def score(
    generate: Generate,
    latent_dim: int,
    critic_train: Samples,
    critic_eval: Samples,
    budget: CriticBudget,
    ground: Ground | None = None,
) -> Score:
    """Estimate W1 between a generator and held-out data (Arjovsky 2017, eq. 2; Petzka 2018, eq. 8).

    Maximises E[f(real)] - E[f(generated)] over critics f that a one-sided penalty keeps
    1-Lipschitz. On the CPU equal arguments give bitwise equal results. PyTorch's global RNG is
    neither used nor changed. A generator with samples that are not finite raises no error.

    Args:
        generate: Maps latents [batch, latent_dim], standard normal, to samples [batch, *sample]. A
            module is called in evaluation mode, and then has its mode restored.
        latent_dim: Length of a latent vector.
        critic_train: Real samples on which the critics train, and on which no trial trains: bytes,
            which are scaled to [-1, 1], or floats.
        critic_eval: Other real samples, at least two, on which the critics are evaluated.
        budget: How the critics are trained. If its ``num_generated`` samples would have more than
            2**26 elements, fewer are generated, but at least 1,024.
        ground: Maps generated samples to features [batch, d], between which the distance is
            measured; the real samples are features already. ``None``: the samples themselves.
    """
    device = critic_train.device
    rng = torch.Generator(device).manual_seed(budget.seed)
    # Separate, so that the trial's latent_dim does not change the weights and batches below.
    latent_rng = torch.Generator(device).manual_seed(budget.seed + 1)

    critic_train, critic_eval = critic_train.flatten(1), critic_eval.flatten(1)
    dim = critic_train.shape[1]
    sample_dim = dim if ground is None else max(dim, math.prod(ground.sample_shape))
    max_generated = max(MIN_GENERATED_SAMPLES, MAX_GENERATED_ELEMENTS // sample_dim)
    num_generated = min(budget.num_generated, max_generated)

    @torch.no_grad()
    def draw() -> Float[Tensor, "num_generated dim"]:
        latents = torch.randn(num_generated, latent_dim, generator=latent_rng, device=device)
        # Not torch.cat, which would need twice the memory.
        samples = torch.empty(num_generated, dim, device=device)
        size = _batch_size(sample_dim)
        for rows, batch in zip(samples.split(size), latents.split(size), strict=True):
            generated = generate(batch)
            rows.copy_(generated.flatten(1) if ground is None else ground(generated))
        return samples

    # A generator may draw random numbers of its own, also in evaluation mode.
    with evaluating(generate), torch.enable_grad(), seeded(budget.seed, device):
        generated = draw()
        if budget.cones and dim <= MAX_DIM:
            critics = _better(critic_train, generated, budget, rng)
        else:
            critics = _networks(critic_train, generated, budget, rng)
        del generated
        return _evaluate(critics, critic_train, critic_eval, draw(), rng)


def _networks(
    real: Tensor, generated: Tensor, budget: CriticBudget, rng: torch.Generator
) -> "_Critics":
    critics = _Critics(budget.num_critics, real, generated, rng)
    _train(critics, real, generated, budget, rng)
    return critics


def _better(
    real: Tensor, generated: Tensor, budget: CriticBudget, rng: torch.Generator
) -> "_Critics | Cones":
    """Train networks and cones, and return those with the larger lower bound.

    Every 1-Lipschitz critic bounds W1 from below. They are chosen on samples on which they neither
    train nor are evaluated: the larger of two evaluations would be too large by their noise.
    """
    kept = [max(2, len(part) // VALIDATION_SHARE) for part in (real, generated)]
    validation = (real[-kept[0] :], generated[-kept[1] :])
    real, generated = real[: -kept[0]], generated[: -kept[1]]
    networks = _networks(real, generated, budget, rng)
    if not generated.isfinite().all():
        return networks  # whose estimate is nan
    # They start near their end, and take half as many steps.
    num_steps = -(-budget.critic_steps // 2)
    cones = fit_cones(as_floats(real), generated, validation, num_steps, budget.num_critics, rng)
    return max((networks, cones), key=lambda critics: lower_bound(critics, *validation))


class _Critics(nn.Module):
    """Several critics as one batched module: samples [critics * batch, dim] to their scores.

    The rows are divided among the critics in order, equally many for each. A critic is the sum h of
    a ReLU network and a linear map, on standardised samples: with the mean m and the scale s (the
    root mean square distance from m) of real and generated samples together,
    f(x) = s h((x - m) / s). So f and h have the same gradients, and the inputs of h have the same
    scale for any dimension of the data and any distance of the generator.
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
        # The optimal critic for a shift is linear: this part finds it at any distance.
        self.linear = nn.Parameter(torch.zeros(num_critics, dim, 1, device=rng.device))

    def standardise(self, samples: Samples) -> Float[Tensor, "batch *sample"]:
        return (as_floats(samples) - self.mean) / self.scale

    def forward(self, standardised: Float[Tensor, "rows dim"]) -> Float[Tensor, " rows"]:
        inputs = self._split(standardised)
        direct = torch.baddbmm(self.biases[-1], inputs, self.linear)
        return torch.baddbmm(direct, self._hidden(inputs)[-1], self.weights[-1]).flatten()

    @torch.no_grad()
    def set_gradients_(
        self,
        real: Float[Tensor, "rows dim"],
        fake: Float[Tensor, "rows dim"],
        coefficients: Float[Tensor, " rows"],
    ) -> None:
        """Set the gradients of the sum of the critics' losses, for standardised samples.

        A critic's loss is E[h(fake)] - E[h(real)] + ``PENALTY_WEIGHT`` E[(|grad h| - 1)+^2], the
        last between real and fake samples. The gradients are those of autograd, up to rounding, at
        less cost: a ReLU network is linear around a sample, so that one forward and one
        backward pass of all samples, and a forward pass of the penalty's gradients, have what each
        product for a weight needs. :mod:`trainables.training.closed_form` derives it.

        Args:
            real: Real samples.
            fake: Generated samples.
            coefficients: Where between each pair the penalty is: 0 is at the real sample.
        """
        between = interpolate(real, fake, coefficients)
        inputs = torch.cat([self._split(part) for part in (real, fake, between)], 1)
        batch, dim = inputs.shape[1] // 3, inputs.shape[2]
        num_scored = 2 * batch
        # The slopes of the loss by the values; 1 for the samples between, whose gradients count.
        slopes = inputs.new_ones(self.num_critics, 3 * batch, 1)
        slopes[:, :batch], slopes[:, batch:num_scored] = -1 / batch, 1 / batch
        layers = [inputs, *self._hidden(inputs)]
        grads = [slopes]
        for weight, values in zip(reversed(self.weights[1:]), reversed(layers[1:]), strict=True):
            grads.append(_where_active(torch.bmm(grads[-1], weight.mT), values))
        grads.reverse()
        # By coordinates that are the root of dim times the standardised samples.
        tangents = torch.baddbmm(self.linear.mT, grads[0][:, num_scored:], self.weights[0].mT)
        # The derivative of the root is infinite at zero.
        norms = (tangents.square().sum(2, keepdim=True) * dim + 1e-12).sqrt()
        tangents *= (norms - 1).relu_() * (2 * PENALTY_WEIGHT * dim / batch) / norms
        # The samples between are not needed any more: their rows take the penalty's gradients.
        inputs[:, num_scored:] = tangents
        for weight, before, after in zip(self.weights[:-1], layers, layers[1:], strict=False):
            rows = torch.bmm(before[:, num_scored:], weight)
            after[:, num_scored:] = _where_active(rows, after[:, num_scored:])
        self.linear.grad = torch.bmm(inputs.mT, slopes)
        for weight, bias, before, after in zip(
            self.weights, self.biases, layers, grads, strict=True
        ):
            weight.grad = torch.bmm(before.mT, after)
            bias.grad = after[:, :num_scored].sum(1, keepdim=True)

    def _split(self, samples: Tensor) -> Tensor:
        # From samples of RMS norm 1 to coordinates of size 1, as the initial weights need them.
        dim = samples.shape[1]
        return samples.view(self.num_critics, -1, dim) * math.sqrt(dim)

    def _hidden(self, inputs: Tensor) -> list[Tensor]:
        hidden = [inputs]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden.append(torch.baddbmm(bias, hidden[-1], weight).relu_())
        return hidden[1:]

    def corrected(self, estimate: Tensor) -> tuple[Tensor, Tensor]:
        return _remove_penalty_bias(estimate, self.scale)

    def evaluate(self, samples: Samples) -> Float[Tensor, "critics n"]:
        """Score all samples by each critic, in the data's units."""
        batches = map(self.standardise, samples.split(_batch_size(samples.shape[1])))
        values = [self(batch.repeat(self.num_critics, 1)) for batch in batches]
        values = [value.view(self.num_critics, -1) for value in values]
        return (torch.cat(values, 1) * self.scale).double()


def _train(
    critics: _Critics, real: Tensor, generated: Tensor, budget: CriticBudget, rng: torch.Generator
) -> None:
    """Train h. The loss is in units of the scale, so that one penalty weight suits all data."""
    lr = budget.learning_rate_at(real.shape[1])
    optimizer = Adam(critics.parameters(), lr=lr, betas=(0.5, 0.9), fused=True)
    # Decay to zero: the noise of the last steps would be larger than a small distance.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, budget.critic_steps)
    num_samples = critics.num_critics * budget.batch_size
    # Fresh samples for every step of a large generator would cost more than training the critics.
    real_batches, fake_batches = (_batches(part, num_samples, rng) for part in (real, generated))
    for _ in range(budget.critic_steps):
        reals = critics.standardise(next(real_batches))
        fakes = critics.standardise(next(fake_batches))
        coefficients = torch.rand(num_samples, generator=rng, device=rng.device)
        critics.set_gradients_(reals, fakes, coefficients)
        optimizer.step()
        schedule.step()


def _where_active(grads: Tensor, after: Tensor) -> Tensor:
    """Multiply by the slopes of ReLUs, by the kernel that autograd uses."""
    return torch.ops.aten.threshold_backward(grads, after, 0)


def _batches(samples: Tensor, num_samples: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Yield batches without end; an epoch has every sample once."""
    order = torch.empty(0, dtype=torch.long, device=samples.device)
    while True:
        while len(order) < num_samples:
            shuffled = torch.randperm(len(samples), generator=rng, device=samples.device)
            order = torch.cat([order, shuffled])
        yield samples[order[:num_samples]]
        order = order[num_samples:]


def _evaluate(
    critics: _Critics | Cones,
    critic_train: Tensor,
    critic_eval: Tensor,
    generated: Tensor,
    rng: torch.Generator,
) -> Score:
    with torch.no_grad():
        parts = (critic_train, critic_eval, generated)
        train_values, eval_values, generated_values = map(critics.evaluate, parts)
    generated_means = generated_values.mean(1)
    w1, rates = critics.corrected(eval_values.mean(1) - generated_means)
    w1_train, _ = critics.corrected(train_values.mean(1) - generated_means)
    # The variance of the mean critic: on the same samples the critics are not independent.
    samples = [(rates[:, None] * values).mean(0) for values in (eval_values, generated_values)]
    variance = torch.stack([values.var() / len(values) for values in samples]).sum()
    if critics.num_critics > 1:
        variance = variance + w1.var() / critics.num_critics
    return Score(
        w1=w1.mean().item(),
        w1_stderr=variance.sqrt().item(),
        w1_train=w1_train.mean().item(),
        critic_lipschitz=_largest_gradient_norm(critics, critic_eval, generated, rng),
        readings=Readings(*map(_blocks, samples), critics=tuple(w1.tolist())),
    )


def _blocks(values: Float64[Tensor, " n"]) -> tuple[float, ...]:
    """Sum values over blocks, less their mean; scaled so that the mean's variance stays the same.

    Sample i is in block i modulo their number: a block is a random choice of samples, which are in
    random order, and no two differ by more than one in size.
    """
    num = min(len(values), MAX_BLOCKS)
    sums = torch.zeros(num, dtype=values.dtype, device=values.device)
    rows = torch.arange(len(values), device=values.device) % num
    sums.index_add_(0, rows, values - values.mean())
    return tuple((sums * (num / len(values))).tolist())


def _largest_gradient_norm(
    critics: _Critics | Cones, real: Tensor, generated: Tensor, rng: torch.Generator
) -> float:
    num_points = min(NUM_GRADIENT_POINTS, len(real), len(generated))
    coefficients = torch.rand(num_points, generator=rng, device=rng.device)
    points = interpolate(as_floats(real[:num_points]), generated[:num_points], coefficients)
    points = critics.standardise(points).repeat(critics.num_critics, 1)
    return gradient_norms(critics, points).max().item()


def _remove_penalty_bias(estimate: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Correct an estimate for the slack of a soft penalty; also return d(corrected)/d(estimate).

    At a distance W in units of the scale, a critic of slope k gains k W - lambda (k - 1)^2. This is
    largest for k = 1 + W / (2 lambda), whose estimate is W + W^2 / (2 lambda): solve it for W. The
    correction is exact for a critic of constant slope, vanishes for small distances, and keeps the
    order of estimates at one scale.
    """
    root = (1 + 2 * (estimate / scale).clamp_min(0) / PENALTY_WEIGHT).sqrt()
    # 2 / (1 + root) is PENALTY_WEIGHT (root - 1) / estimate without the cancellation near zero.
    return estimate * 2 / (1 + root), 1 / root


def _batch_size(dim: int) -> int:
    return max(1, min(MAX_SAMPLES_PER_BATCH, MAX_ELEMENTS_PER_BATCH // dim))


def _mean(samples: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Average a function over all samples, in chunks of at most ``MAX_ELEMENTS_PER_REDUCTION``."""
    chunks = samples.split(max(1, MAX_ELEMENTS_PER_REDUCTION // samples.shape[1]))
    means = [function(as_floats(chunk)).mean(0) * (len(chunk) / len(samples)) for chunk in chunks]
    return torch.stack(means).sum(0)
