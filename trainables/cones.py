"""Critics made of cones, which follow structure that is much finer than the spread of the data.

f(x) = s min_k (|x - y_k| - v_k), with s = 1 or s = -1, is 1-Lipschitz for any centres y_k and
heights v_k. With s = 1 and the generated samples as centres this is the form of the potential that
attains W1 from them (Kantorovich and Rubinstein; Villani 2009, theorem 5.10). Networks that train
for a few hundred steps miss fine structure; cones start at samples, which have it.
"""

import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from trainables.data import as_floats
from trainables.training import Adam

#: Bytes are scaled to [-1, 1] batch by batch.
Samples = UInt8[Tensor, "_ *sample"] | Float32[Tensor, "_ *sample"]

#: Cones of a critic. More than there is structure in the data fit the noise of samples.
NUM_CONES = 1024
BATCH_SIZE = 512
#: Of Adam, in units of the mean distance between real and generated samples.
LEARNING_RATE = 1e-2
#: In more dimensions samples are too far from each other for cones to add anything.
MAX_DIM = 128
MAX_ROWS_PER_BATCH = 2048


class Cones(nn.Module):
    """One critic: a minimum of cones, or with ``sign`` -1 a maximum of cones that point down.

    Like several critics that agree, it has ``num_critics`` rows of scores, all equal.
    """

    def __init__(
        self, centres: Float[Tensor, "cones dim"], sign: int, num_critics: int = 1
    ) -> None:
        super().__init__()
        self.sign, self.num_critics = sign, num_critics
        self.centres = nn.Parameter(centres.clone())
        self.heights = nn.Parameter(torch.zeros(len(centres), device=centres.device))
        self._origin = centres.mean(0)  # squared distances from far away would be inexact

    def forward(self, samples: Float[Tensor, "n dim"]) -> Float[Tensor, " n"]:
        """Score samples."""
        with torch.no_grad():
            rows, centres = samples - self._origin, self.centres - self._origin
            squares = rows.square().sum(1)[:, None] + centres.square().sum(1)
            squares.addmm_(rows, centres.mT, alpha=-2)
            nearest = squares.clamp_min_(0).sqrt_().sub_(self.heights).argmin(1)
        # Only these have a gradient. It is infinite at a centre without the summand.
        squares = (samples - self.centres[nearest]).square().sum(1)
        return self.sign * ((squares + 1e-12).sqrt() - self.heights[nearest])

    @torch.no_grad()
    def evaluate(self, samples: Samples) -> Float[Tensor, "critics n"]:
        """Score all samples, in the data's units."""
        batches = map(self.standardise, samples.split(MAX_ROWS_PER_BATCH))
        return torch.cat([self(batch) for batch in batches]).double().expand(self.num_critics, -1)

    def standardise(self, samples: Samples) -> Float[Tensor, "n dim"]:
        """Return the samples as floats."""
        return as_floats(samples)

    def corrected(self, estimate: Tensor) -> tuple[Tensor, Tensor]:
        """Return an estimate, which has no bias, and its derivative with respect to itself."""
        return estimate, torch.ones_like(estimate)


def fit_cones(
    real: Float[Tensor, "n dim"],
    generated: Float[Tensor, "m dim"],
    validation: tuple[Samples, Samples],
    num_steps: int,
    num_critics: int,
    rng: torch.Generator,
) -> Cones:
    """Maximise E[f(real)] - E[f(generated)] over the centres and heights of cones.

    A minimum of cones starts as the distance to the nearest of some generated samples, and a
    maximum as that to the nearest of some real ones. Only the better of the two is trained.

    Args:
        real: Real samples.
        generated: Generated samples.
        validation: Others of both, by which the start is chosen.
        num_steps: Steps of training.
        num_critics: Rows of scores.
        rng: For the batches.
    """
    starts = [
        Cones(part[:NUM_CONES], sign, num_critics) for part, sign in ((generated, 1), (real, -1))
    ]
    cones = max(starts, key=lambda start: lower_bound(start, *validation))
    distance = torch.cdist(real[:BATCH_SIZE], generated[:BATCH_SIZE]).mean().item()
    rate = LEARNING_RATE * distance
    centres = {"params": [cones.centres], "lr": rate / math.sqrt(real.shape[1])}
    heights = {"params": [cones.heights], "lr": rate}
    optimizer = Adam([centres, heights], lr=rate, betas=(0.5, 0.9), fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for _ in range(num_steps):
        batch = [_batch(part, rng) for part in (real, generated)]
        real_values, fake_values = cones(torch.cat(batch)).chunk(2)
        optimizer.zero_grad()
        (fake_values.mean() - real_values.mean()).backward()
        optimizer.step()
        schedule.step()
    return cones


@runtime_checkable
class Critics(Protocol):
    """Critics that score samples: the networks, or cones."""

    def evaluate(self, samples: Samples) -> Float[Tensor, "critics n"]:
        """Score all samples by each critic, in the data's units."""
        ...

    def corrected(self, estimate: Tensor) -> tuple[Tensor, Tensor]:
        """Correct estimates for the slack of a penalty, and return the derivative of that."""
        ...


def lower_bound(critics: Critics, real: Samples, generated: Samples) -> float:
    """Bound W1 from below by samples on which the critics did not train.

    By the estimate less two of its standard errors: of two critics the noisier one would else be
    chosen too often.
    """
    with torch.no_grad():
        values = [critics.evaluate(part) for part in (real, generated)]
    estimate, rates = critics.corrected(values[0].mean(1) - values[1].mean(1))
    rows = [(rates[:, None] * part).mean(0) for part in values]
    variance = torch.stack([row.var() / len(row) for row in rows]).sum()
    return (estimate.mean() - 2 * variance.sqrt()).item()


def _batch(samples: Tensor, rng: torch.Generator) -> Tensor:
    rows = torch.randint(len(samples), (BATCH_SIZE,), generator=rng, device=rng.device)
    return samples[rows]
