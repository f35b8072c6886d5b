"""Measure what ``w1`` cannot tell about a generator. None of it ranks trials.

- Whether it repeats its training samples: :func:`copy_ratio`.
- Its distance between pixels, where ``w1`` is measured between features of images.
- Metrics of the user's own, such as FID: :class:`CustomMetrics`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trainables.config import ObjectiveConfig
from trainables.data import Data, as_floats, as_tensor
from trainables.metrics import CUSTOM_PREFIX
from trainables.networks import BadNetwork, build_metrics, in_one_line
from trainables.objective import MAX_GENERATED_ELEMENTS, Generate, Samples, score
from trainables.training import evaluating, seeded

#: Most generated samples, and most real ones, of which the nearest neighbours are searched.
NUM_COMPARED = 1024
#: Elements of the training samples that are searched: 171,000 images of 28x28, 43,000 of CIFAR-10.
MAX_SEARCHED_ELEMENTS = 2**27
#: Real samples, at most, by which custom metrics are checked.
NUM_CHECKED = 128
_NUM_RESAMPLES = 1000
# Elements of a batch of generated samples, and of a chunk of those that are searched.
_MAX_ELEMENTS_PER_BATCH, _MAX_ELEMENTS_PER_CHUNK = 2**20, 2**23
# Up to it distances are computed without a matrix product, which rounds small ones.
_MAX_EXACT_DIM = 32


@final
@dataclass(frozen=True)
class Diagnosis:
    """What was measured of a generator next to its score.

    Attributes:
        values: Finite numbers by name: ``copy_ratio`` with its 95% interval, ``copy_ratio_low`` and
            ``copy_ratio_high``; ``w1_pixels`` and ``w1_pixels_stderr`` of images under a ground
            metric; those of custom metrics after ``metrics/``.
        faults: What could not be measured, a line each.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def diagnose(
    generate: Generate,
    latent_dim: int,
    data: Data,
    objective: ObjectiveConfig,
    device: torch.device,
) -> Diagnosis:
    """Measure a generator of the final; PyTorch's global RNG is neither used nor changed.

    Args:
        generate: Maps latents [batch, latent_dim] to samples [batch, *sample].
        latent_dim: Length of a latent vector.
        data: The data of the search. The generator was trained on ``data.train``.
        objective: The objective: its seed, its budget of a rung and its custom metrics are used.
        device: Where to compute.
    """
    held_out = torch.cat([as_tensor(part) for part in (data.critic_train, data.critic_eval)])
    unseen = as_tensor(data.final)
    generated = draw(generate, latent_dim, NUM_COMPARED, objective.seed, device)
    train, held_out, unseen = (t.to(device) for t in (as_tensor(data.train), held_out, unseen))
    values = copy_ratio(generated, unseen[:NUM_COMPARED], train, held_out, objective.seed)
    if len(data.sample_shape) == 3 and objective.ground_of(data.sample_shape) is not None:
        pixels = score(generate, latent_dim, held_out, unseen, objective.rung)
        values |= {"w1_pixels": pixels.w1, "w1_pixels_stderr": pixels.w1_stderr}
    faults = []
    if objective.metrics is not None:
        try:
            metrics = CustomMetrics.of(objective, data.sample_shape)
            values |= metrics.measure(generate, latent_dim, unseen, objective.seed)
        except BadNetwork as error:
            faults.append(str(error))
    return Diagnosis(values, tuple(faults))


def copy_ratio(
    generated: Float[Tensor, "n *sample"],
    unseen: Samples,
    train: Samples,
    held_out: Samples,
    seed: int = 0,
) -> dict[str, float]:
    """Compare how near generated samples lie to training samples with how near real ones do.

    For each sample, the distance to the nearest training sample is divided by that to the nearest
    of other held-out ones. The ratio is the median of this over generated samples, divided by that
    over real samples: 1 for samples of the data's distribution, near 0 for copies of training
    samples. Samples off the data, such as blurred ones, are as far from both kinds, so that the
    ratio is 1 or more (the idea of Meehan et al. 2020, arXiv 2004.05675). The norm is that of
    the samples, in which a copy is a copy, so that not all training samples need be mapped.

    Args:
        generated: Generated samples.
        unseen: Real samples that are in neither of the next two.
        train: The samples on which the generator was trained; if they have more than
            ``MAX_SEARCHED_ELEMENTS`` numbers, only the first are searched.
        held_out: Real samples on which it was not trained.
        seed: Seed of the bootstrap.

    Returns:
        ``copy_ratio``, and the ends of its 95% interval by resampling ``generated`` and ``unseen``,
        ``copy_ratio_low`` and ``copy_ratio_high``; nothing where the ratio does not exist, as most
        real samples have an equal in ``train`` or in ``held_out``.
    """
    train = train[: max(1, MAX_SEARCHED_ELEMENTS // math.prod(train.shape[1:]))]
    held_out = held_out[: len(train)]  # more would be nearer to samples off the data, too
    quotients = []
    for samples in (generated, unseen):
        to_train, to_others = (nearest(samples, part)[0] for part in (train, held_out))
        equal = to_train == to_others  # of two zeros there is no quotient
        quotients.append(torch.where(equal, 1.0, to_train / to_others))
    rng = torch.Generator().manual_seed(seed)
    medians = [values.median() for values in quotients]
    resampled = [_resampled_medians(values, rng) for values in quotients]
    low, high = (resampled[0] / resampled[1]).quantile(torch.tensor([0.025, 0.975]).double())
    values = {
        "copy_ratio": (medians[0] / medians[1]).item(),
        "copy_ratio_low": low.item(),
        "copy_ratio_high": high.item(),
    }
    return values if all(map(math.isfinite, values.values())) else {}


def nearest(samples: Samples, searched: Samples) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"]]:
    """Return the distance of each sample to the nearest of those that are searched, and which."""
    samples, searched = as_floats(samples).flatten(1), searched.flatten(1)
    dim = samples.shape[1]
    is_exact = dim <= _MAX_EXACT_DIM
    mode = f"{'donot_use' if is_exact else 'use'}_mm_for_euclid_dist"
    distances = torch.full((len(samples),), math.inf, dtype=torch.float64, device=samples.device)
    indices = torch.zeros(len(samples), dtype=torch.int64, device=samples.device)
    size, start = max(1, _MAX_ELEMENTS_PER_CHUNK // max(dim, len(samples))), 0
    for chunk in searched.split(size):
        chunk = as_floats(chunk)
        which = torch.cdist(samples, chunk, compute_mode=mode).argmin(1)
        # The product of matrices finds the nearest, but rounds a distance of 0 to one above it.
        found = (samples - chunk[which]).double().norm(dim=1)
        indices = torch.where(found < distances, start + which, indices)
        distances = torch.minimum(distances, found)
        start += size
    return distances.cpu(), indices.cpu()


def _resampled_medians(values: Float[Tensor, " n"], rng: torch.Generator) -> Float[Tensor, " m"]:
    rows = torch.randint(len(values), (_NUM_RESAMPLES, len(values)), generator=rng)
    return values[rows].median(1).values


@torch.no_grad()
def draw(
    generate: Generate, latent_dim: int, num: int, seed: int, device: torch.device
) -> Float[Tensor, "num *sample"]:
    """Generate samples, in batches, from latents that the scores do not use."""
    rng = torch.Generator(device).manual_seed(seed + 2)
    latents = torch.randn(num, latent_dim, generator=rng, device=device)
    with evaluating(generate), seeded(seed, device):
        first = generate(latents[:1])
        size = max(1, min(1024, _MAX_ELEMENTS_PER_BATCH // first.numel()))
        return torch.cat([generate(batch) for batch in latents.split(size)])


@final
@dataclass(frozen=True)
class CustomMetrics:
    """Metrics of the user's own, created once."""

    path: str
    function: Callable[[Tensor, Tensor], Any]

    @classmethod
    def of(cls, objective: ObjectiveConfig, sample_shape: tuple[int, ...]) -> "CustomMetrics":
        """Create the metrics of an objective that has some.

        Raises:
            BadNetwork: if they cannot be created.
        """
        path = str(objective.metrics)
        with seeded(objective.seed):  # random initial weights are the same in every process
            return cls(path, build_metrics(path, sample_shape))

    def measure(
        self, generate: Generate, latent_dim: int, real: Samples, seed: int
    ) -> dict[str, float]:
        """Compare real samples with as many generated ones.

        Args:
            generate: The generator.
            latent_dim: Length of a latent vector.
            real: Held-out samples; if they have more than 2**26 numbers, only the first are used.
            seed: Seed of the latents, and of the random numbers that the metrics draw.

        Returns:
            The numbers by name, after ``metrics/``.

        Raises:
            BadNetwork: as :meth:`compare`.
        """
        real = real[: max(1, MAX_GENERATED_ELEMENTS // math.prod(real.shape[1:]))]
        return self.compare(real, draw(generate, latent_dim, len(real), seed, real.device), seed)

    @torch.no_grad()
    def compare(self, real: Samples, other: Samples, seed: int) -> dict[str, float]:
        """Compare two sets of samples [n, *sample_shape].

        Raises:
            BadNetwork: if the metrics raise, or do not return finite numbers by name.
        """
        try:
            with seeded(seed, real.device):
                found = self.function(as_floats(real), as_floats(other))
        except Exception as error:
            shape = tuple(real.shape)
            raise self._bad(
                f"must accept real and generated samples of shape {shape}, but raised "
                f"{in_one_line(error)}"
            ) from error
        if not isinstance(found, Mapping) or not found:
            kind = type(found).__name__
            raise self._bad(f"must return numbers by name, such as {{'fid': 12.5}}, got {kind}")
        return {f"{CUSTOM_PREFIX}{name}": self._number(name, v) for name, v in found.items()}

    def _number(self, name: Any, value: Any) -> float:
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if not isinstance(name, str) or not isinstance(value, Real):
            kind = type(value).__name__
            raise self._bad(f"must return numbers by name, got {kind} by {name!r:.40}")
        if not math.isfinite(value):
            raise self._bad(f"must return finite numbers, got {float(value)} by {name!r:.40}")
        return float(value)

    def _bad(self, text: str) -> BadNetwork:
        return BadNetwork("metrics", f"{self.path} {text}")


def check_metrics(data: Data, objective: ObjectiveConfig) -> str | None:
    """Compare real samples with real ones by the custom metrics, before a search starts.

    Returns:
        A line with the numbers; ``None`` without custom metrics.

    Raises:
        BadNetwork: if they cannot be created or called, or do not return finite numbers by name.
    """
    if objective.metrics is None:
        return None
    real, others = (as_tensor(part) for part in (data.critic_eval, data.critic_train))
    num = min(NUM_CHECKED, len(real), len(others))
    metrics = CustomMetrics.of(objective, data.sample_shape)
    found = metrics.compare(real[:num], others[:num], objective.seed)
    values = ", ".join(f"{k.removeprefix(CUSTOM_PREFIX)} {v:.4g}" for k, v in found.items())
    return (
        f"metrics: {objective.metrics} gives {values} for {num} real samples against {num} others"
    )
