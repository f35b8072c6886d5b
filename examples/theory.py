"""Small experiments on the theory of GANs and WGANs, by this project's own building blocks.

The losses, penalties, critics, optimiser steps and the independent critic are those that a search
runs. Each function returns numbers; ``examples/drawings.py`` draws them, ``examples/theory.ipynb``
shows them, and ``tests/examples/test_theory.py`` holds them to known answers.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ot
import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.distributions import Normal

from trainables.config import CriticBudget, TrainingConfig, TrialConfig
from trainables.datasets.synthetic import DRAW
from trainables.objective import score
from trainables.training import TrainState, critic_step
from trainables.training.losses import critic_loss, divergence, generator_loss

#: Draws samples [num, dim] by a generator of random numbers.
Draw = Callable[[int, torch.Generator], Tensor]

BATCH_SIZE = 256
#: Samples on which a trained critic is evaluated.
NUM_SAMPLES = 8192
#: The critics below are networks of the project's mlp; Adam's learning rate suits toys.
NETWORKS: Mapping[str, Any] = {"critic_width": 64, "generator_width": 64, "latent_dim": 8}
GAN: Mapping[str, Any] = {"loss": "minimax", "critic_lr": 2e-3}
WGAN: Mapping[str, Any] = {"loss": "wasserstein", "critic_lr": 1e-3, "beta1": 0.5}
KL: Mapping[str, Any] = {"loss": "f_gan", "divergence": "kl", "critic_lr": 2e-3}

# -- Earth mover's distance -------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """An optimal way to move one histogram into another.

    Attributes:
        source: Masses [n] at the positions 0 to n - 1.
        target: Masses [n], of the same sum.
        moved: [n, n], the mass that is moved from position i to position j.
        potential: [n], a critic f of slope at most 1 that is largest on the source
            (Kantorovich and Rubinstein; Arjovsky 2017, eq. 2).
        w1: The cost: each mass times the distance that it is moved.
        dual: The sum of f (source - target), which duality says is equal to ``w1``.
    """

    source: Float64[np.ndarray, " n"]
    target: Float64[np.ndarray, " n"]
    moved: Float64[np.ndarray, "n n"]
    potential: Float64[np.ndarray, " n"]
    w1: float
    dual: float


def transport_plan(source: Sequence[float], target: Sequence[float]) -> Plan:
    """Move one histogram into another at the least cost, by POT's network simplex.

    Args:
        source: Masses at the positions 0, 1, 2 and so on.
        target: As many masses, of the same sum.
    """
    left, right = np.asarray(source, float), np.asarray(target, float)
    positions = np.arange(len(left), dtype=float)
    cost = np.abs(positions[:, None] - positions)
    moved, log = ot.emd(left, right, cost, log=True)
    # Dual values are only determined where there is mass: the largest 1-Lipschitz function below
    # them, the c-transform, has the same dual cost and is defined everywhere.
    potential = (cost - log["v"]).min(axis=1)
    dual = float(potential @ (left - right))
    return Plan(left, right, moved, potential - potential.min(), float((moved * cost).sum()), dual)


# -- Parallel lines ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Distances:
    """Distances between the lines x = 0 and x = theta, one value for each theta.

    Attributes:
        theta: How far the lines are apart.
        exact_w1: W1 between samples, by exact transport.
        w1: The estimate of the independent critics, which rank the trials of a search.
        jensen_shannon: The estimate of a trained critic of the GAN loss, in nats.
    """

    theta: Float64[np.ndarray, " thetas"]
    exact_w1: Float64[np.ndarray, " thetas"]
    w1: Float64[np.ndarray, " thetas"]
    jensen_shannon: Float64[np.ndarray, " thetas"]


def line_at(x: float) -> Draw:
    """Return a line of length 1, (x, y) with y uniform in [0, 1] (Arjovsky 2017, Example 1)."""

    def draw(num: int, rng: torch.Generator) -> Tensor:
        y = torch.rand(num, 1, generator=rng)
        return torch.cat([torch.full_like(y, x), y], 1)

    return draw


def parallel_lines(thetas: Iterable[float], num_steps: int = 300) -> Distances:
    """Measure how far two parallel lines are apart, in three ways.

    Args:
        thetas: Distances between the lines, of either sign.
        num_steps: Training steps of the GAN's critic.
    """
    rows = []
    for theta in thetas:
        real, fake = line_at(0.0), line_at(theta)
        samples = [draw(256, _rng(2)).numpy().astype(float) for draw in (real, fake)]
        exact = ot.emd2([], [], ot.dist(*samples, metric="euclidean"))
        (step,) = trained(real, fake, GAN, [num_steps])
        rows.append((theta, exact, independent_w1(real, fake), step.estimate))
    return Distances(*np.array(rows, float).T)


def independent_w1(real: Draw, fake: Draw, num_steps: int = 200) -> float:
    """Score samples as a search scores a trial at a rung.

    Args:
        real: Draws real samples.
        fake: Draws generated ones.
        num_steps: Steps of the independent critics.
    """
    rng = _rng(3)
    parts = [real(2048, rng) for _ in range(2)]
    budget = CriticBudget(num_steps, 2, 64, 1e-2, 2048, seed=0)
    return score(lambda latents: fake(len(latents), rng), 1, *parts, budget).w1


def estimates_in_training(
    theta: float, report_at: Sequence[int]
) -> dict[str, Float64[np.ndarray, " reports"]]:
    """Follow three critics that tell two parallel lines apart: of KL, of JS and of W1.

    The densities do not overlap, so that KL is infinite, and its estimate, a lower bound, grows for
    as long as the critic trains.

    Args:
        theta: The distance between the lines.
        report_at: The critic steps at which to evaluate, ascending.
    """
    real, fake = line_at(0.0), line_at(theta)
    return {
        name: np.array([step.estimate for step in trained(real, fake, training, report_at)])
        for name, training in {"KL": KL, "JS": GAN, "W1": WGAN}.items()
    }


# -- The optimal discriminator ----------------------------------------------------------------

REAL_1D, FAKE_1D = Normal(-1.0, 0.6), Normal(1.0, 1.0)


@dataclass(frozen=True)
class Discriminators:
    """A trained discriminator between two Gaussians, and the optimal one.

    Attributes:
        x: Points.
        real: Density p of the real samples.
        fake: Density q of the generated samples.
        optimal: D* = p / (p + q) (Goodfellow 2014, proposition 1).
        trained: D = sigmoid(score), of the critic.
        exact: The Jensen-Shannon divergence in nats, by quadrature.
        estimate: The critic's estimate of it.
    """

    x: Float64[np.ndarray, " points"]
    real: Float64[np.ndarray, " points"]
    fake: Float64[np.ndarray, " points"]
    optimal: Float64[np.ndarray, " points"]
    trained: Float64[np.ndarray, " points"]
    exact: float
    estimate: float


def optimal_discriminator(num_steps: int = 500) -> Discriminators:
    """Train a GAN's critic between two Gaussians, and compare it with D*.

    Args:
        num_steps: Steps of the critic.
    """
    x = torch.linspace(-5, 6, 1001)
    real, fake = (density.log_prob(x).exp().double() for density in (REAL_1D, FAKE_1D))
    training = {**GAN, "batch_size": 1024}
    (step,) = trained(_draw(REAL_1D), _draw(FAKE_1D), training, [num_steps])
    with torch.no_grad():
        probability = step.state.scores(x[:, None]).sigmoid().double()
    return Discriminators(
        *(part.numpy() for part in (x.double(), real, fake, real / (real + fake), probability)),
        exact=jensen_shannon(REAL_1D, FAKE_1D),
        estimate=step.estimate,
    )


def jensen_shannon(real: Normal, fake: Normal) -> float:
    """Compute the Jensen-Shannon divergence of two densities on the line in nats, by quadrature."""
    x = _grid(real, fake)
    logs = [density.log_prob(x) for density in (real, fake)]
    mixture = torch.logaddexp(*logs) - math.log(2)
    terms = [torch.trapezoid(log.exp() * (log - mixture), x) for log in logs]
    return (sum(terms) / 2).item()


# -- The generator's gradient -----------------------------------------------------------------

#: How fast each loss makes a generator move, in the figures.
GENERATOR_LOSSES = ("minimax", "non_saturating", "relativistic", "wasserstein")


def gradient_at_optimum(loss: str, theta: float, std: float = 1.0) -> float:
    """Compute the generator's gradient by theta if the critic is optimal.

    Real samples are N(0, std^2); generated ones are theta + std z. The critic of the GAN losses has
    the logit log p / q, that of W1 is -x.

    Args:
        loss: The loss of both players.
        theta: The distance, above 0.
        std: The standard deviation of both.
    """
    real, fake = _normals(theta, std)
    x = _grid(real, fake)
    if loss == "wasserstein":
        values, slope = -x, -1.0
    else:
        values, slope = real.log_prob(x) - fake.log_prob(x), -theta / std**2
    weights = fake.log_prob(x).exp()
    config = training_of({"loss": loss})
    if loss == "relativistic":  # each generated sample is compared with every real one
        pairs = torch.meshgrid(values, values, indexing="ij")
        slopes = _slopes(config, pairs[0].flatten(), pairs[1].flatten()).view(len(x), len(x))
        slopes = torch.trapezoid(slopes * real.log_prob(x).exp(), x, dim=1)
    else:
        slopes = _slopes(config, values)
    return torch.trapezoid(weights * slopes * slope, x).item()


def _slopes(config: TrainingConfig, values: Tensor, real: Tensor | None = None) -> Tensor:
    """Differentiate the generator's loss of one sample by its score, for many samples at once."""
    scores = values.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(generator_loss(config, scores, real), scores)
    return gradient * len(scores)  # the loss is a mean


@dataclass(frozen=True)
class GradientNoise:
    """The gradient of a generator while its critic trains, over batches.

    Attributes:
        mean_norm: The norm of the mean gradient, at each report.
        std: The root of the summed variances of the gradient of a batch, at each report.
    """

    mean_norm: Float64[np.ndarray, " reports"]
    std: Float64[np.ndarray, " reports"]


def gradient_in_training(loss: str, report_at: Sequence[int]) -> GradientNoise:
    """Follow the gradient of an untrained generator while its critic trains, on 8 Gaussians.

    As Figures 2 and 3 of Arjovsky & Bottou 2017, on a toy: the generator stays as it is.

    Args:
        loss: The loss of both players.
        report_at: The critic steps at which to measure, ascending.
    """
    training = {**(WGAN if loss == "wasserstein" else GAN), "loss": loss}
    config = training_of(training)
    points = torch.from_numpy(DRAW["eight_gaussians"](NUM_SAMPLES, np.random.default_rng(0)))
    generator = _trial(training).generator
    rows = []
    for step in trained(drawn_from(points.float()), generated_by(generator), training, report_at):
        rng = _rng(5)
        gradients = torch.stack(
            [_generator_gradient(generator, step.state, config, rng) for _ in range(32)]
        ).double()
        rows.append([gradients.mean(0).norm().item(), gradients.var(0).sum().sqrt().item()])
    return GradientNoise(*np.array(rows).T)


def _generator_gradient(
    generator: nn.Module, critic: TrainState, config: TrainingConfig, rng: torch.Generator
) -> Tensor:
    fake = generator(torch.randn(BATCH_SIZE, NETWORKS["latent_dim"], generator=rng))
    loss = generator_loss(config, critic.scores(fake))
    gradients = torch.autograd.grad(loss, list(generator.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])


def gradients_of_a_noisy_critic(
    loss: str, num: int, noise: float = 0.01
) -> Float64[np.ndarray, " num"]:
    """Draw the generator's gradient by a sample that the critic knows to be generated, up to noise.

    As in theorem 2.6 of Arjovsky & Bottou 2017: D* and its gradient are 0 at the sample; those of
    the critic are independent and normal around it. The size of the noise is taken for D, as D is
    not negative. Then -log D has the gradient r / D, a ratio of normal variables: a Cauchy
    variable, without mean and variance. log(1 - D) has r / (1 - D).

    Args:
        loss: minimax or non_saturating.
        num: How many.
        noise: Standard deviation of D, and of its gradient r.
    """
    rng = _rng(6)
    probability, r = noise * torch.randn(2, num, generator=rng, dtype=torch.float64)
    probability = probability.abs()
    scores = probability.logit()
    slope = r / (probability * (1 - probability))  # of the logit
    return (_slopes(training_of({"loss": loss}), scores) * slope).numpy()


# -- Instance noise ---------------------------------------------------------------------------


def noisy_jensen_shannon(theta: float, std: float) -> float:
    """Compute JS between the lines x = 0 and x = theta, both with normal noise, in nats.

    Args:
        theta: The distance between the lines.
        std: The noise on every coordinate; 0 for none.
    """
    if std == 0:
        return 0.0 if theta == 0 else math.log(2)
    return jensen_shannon(*_normals(theta, std))


def noisy_critic_estimate(theta: float, std: float, num_steps: int = 300) -> float:
    """Train a critic under ``instance_noise`` between two lines, and return its estimate of JS.

    Args:
        theta: The distance between the lines.
        std: The noise, the key ``instance_noise``.
        num_steps: Steps of the critic.
    """
    training = {**GAN, "instance_noise": std}
    (step,) = trained(line_at(0.0), line_at(theta), training, [num_steps])
    return step.estimate


# -- Weight clipping and the gradient penalty -------------------------------------------------

CLIP_VALUES = (0.1, 0.01, 0.001)


@dataclass(frozen=True)
class DeepCritic:
    """A deep critic on the swiss roll after training.

    Attributes:
        clip_value: The bound on its weights; ``None`` under the gradient penalty.
        weights: All its weights, without the biases.
        gradient_norms: Root mean square gradient norm of the score by the output of each hidden
            layer, the first layer first.
    """

    clip_value: float | None
    weights: Float64[np.ndarray, " weights"]
    gradient_norms: Float64[np.ndarray, " layers"]

    @property
    def share_at_bounds(self) -> float:
        """Return the share of weights within a hundredth of the two bounds."""
        bound = np.abs(self.weights).max() if self.clip_value is None else self.clip_value
        return float((np.abs(self.weights) > 0.99 * bound).mean())


def deep_critic(clip_value: float | None, num_steps: int = 300, depth: int = 12) -> DeepCritic:
    """Train a deep critic between the swiss roll and the same with noise (Gulrajani 2017, fig. 1).

    Args:
        clip_value: The bound on its weights; ``None`` for the gradient penalty.
        num_steps: Steps of the critic; the paper trains it until it is optimal.
        depth: Hidden layers; in the paper 12.
    """
    if clip_value is None:
        training = WGAN
    else:
        training = {"constraint": "clip", "clip_value": clip_value, "critic_lr": 1e-3}
    points = torch.from_numpy(DRAW["swiss_roll"](NUM_SAMPLES, np.random.default_rng(0))).float()

    def noisy(num: int, rng: torch.Generator) -> Tensor:
        rows = torch.randint(len(points), (num,), generator=rng)
        return points[rows] + 0.25 * torch.randn(num, 2, generator=rng)

    (step,) = trained(
        drawn_from(points), noisy, training, [num_steps], networks={"critic_depth": depth}
    )
    critic = step.state.critic
    weights = [layer.weight.flatten() for layer in critic.modules() if isinstance(layer, nn.Linear)]
    return DeepCritic(
        clip_value,
        torch.cat(weights).detach().double().numpy(),
        _layer_gradients(critic, points[:512]),
    )


def _layer_gradients(critic: nn.Module, points: Tensor) -> Float64[np.ndarray, " layers"]:
    hidden, outputs = points, []
    for layer in critic.children():
        hidden = layer(hidden)
        if isinstance(layer, nn.ReLU):
            outputs.append(hidden)
    gradients = torch.autograd.grad(hidden.sum(), outputs)
    # In double precision: a gradient of clipped weights may be below what float32 can square.
    return np.array([g.double().square().sum(1).mean().sqrt().item() for g in gradients])


# -- Critics ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A critic in training.

    Attributes:
        state: Has the critic, and an untrained generator.
        estimate: The critic's estimate of the divergence, on samples on which it did not train.
    """

    state: TrainState
    estimate: float


def trained(
    real: Draw,
    fake: Draw,
    training: Mapping[str, Any],
    report_at: Sequence[int],
    networks: Mapping[str, Any] | None = None,
) -> Iterator[Step]:
    """Train a critic between fixed distributions, by the steps that a trial takes.

    Args:
        real: Draws real samples.
        fake: Draws generated ones.
        training: The section ``training`` of a search space, with fixed values.
        report_at: Critic steps after which to yield, ascending; 0 is before the first step.
        networks: Values of the section ``networks``.
    """
    state = _trial(training, networks, dim=real(1, _rng(0)).shape[1])
    config = training_of(training)
    size = training.get("batch_size", BATCH_SIZE)
    rng, steps = _rng(1), 0
    for last in report_at:
        for _ in range(last - steps):
            critic_step(state, config, real(size, rng), fake(size, rng))
        steps = last
        yield Step(state, _estimate(state, config, real, fake))


@torch.no_grad()
def _estimate(state: TrainState, config: TrainingConfig, real: Draw, fake: Draw) -> float:
    rng = _rng(4)
    samples = [draw(NUM_SAMPLES, rng) for draw in (real, fake)]
    if config.instance_noise:
        samples = [
            part + config.instance_noise * torch.randn(part.shape, generator=rng)
            for part in samples
        ]
    return divergence(config, critic_loss(config, *map(state.scores, samples))).item()


def training_of(training: Mapping[str, Any]) -> TrainingConfig:
    """Validate a section ``training``, and fill in what was published with the method."""
    return TrainingConfig.model_validate({"batch_size": BATCH_SIZE, **training})


def drawn_from(points: Tensor) -> Draw:
    """Return a function that draws rows with replacement."""
    return lambda num, rng: points[torch.randint(len(points), (num,), generator=rng)]


def generated_by(generator: nn.Module) -> Draw:
    """Return a function that draws samples of a generator, without their graph."""

    @torch.no_grad()
    def draw(num: int, rng: torch.Generator) -> Tensor:
        return generator(torch.randn(num, NETWORKS["latent_dim"], generator=rng))

    return draw


def _trial(
    training: Mapping[str, Any], networks: Mapping[str, Any] | None = None, dim: int = 2
) -> TrainState:
    sections = {"networks": {**NETWORKS, **(networks or {})}, "training": training}
    return TrainState.create(TrialConfig.model_validate(sections), (dim,))


def _draw(density: Normal) -> Draw:
    mean, std = float(density.mean), float(density.stddev)
    return lambda num, rng: mean + std * torch.randn(num, 1, generator=rng)


def _normals(theta: float, std: float) -> tuple[Normal, Normal]:
    means = torch.tensor([0.0, theta], dtype=torch.float64)
    return Normal(means[0], std), Normal(means[1], std)


def _grid(real: Normal, fake: Normal) -> Tensor:
    low, high = sorted((float(real.mean), float(fake.mean)))
    reach = 10 * max(float(real.stddev), float(fake.stddev))
    return torch.linspace(low - reach, high + reach, 1001, dtype=torch.float64)


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
