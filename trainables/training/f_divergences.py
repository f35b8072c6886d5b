"""The variational bounds of f-GAN: F = E[g(v(real))] - E[f*(g(v(fake)))] (Nowozin 2016, eq. 7).

For every critic v, F is at most the f-divergence D_f(real | fake); it is equal where g(v) =
f'(p / q). The activations g and the conjugates f* are those of the paper's tables 2 and 6. f*(g(v))
is written in closed form, as f* of a rounded g(v) may be infinite. Where a term would overflow, it
continues along its tangent, so that every gradient is finite; there the estimate is no bound.

Apart from jensen_shannon, squared_hellinger and total_variation the divergences have no upper
limit: between samples that do not overlap, the estimate grows for as long as the critic trains.
"""

from collections.abc import Callable, Mapping
from math import log

from torch import Tensor
from torch.nn.functional import softplus

from trainables.config import Divergence

# Beyond these scores the terms are linear: a ratio of densities above e^5 = 148 is beyond most
# batches, and larger slopes drown those of other samples.
_LARGEST_EXPONENT = 5.0
_LARGEST_SQUARED = 1e4


def _exp(scores: Tensor) -> Tensor:
    """Compute e^v, continued along its tangent from ``_LARGEST_EXPONENT`` on."""
    beyond = (scores - _LARGEST_EXPONENT).relu()
    return scores.clamp(max=_LARGEST_EXPONENT).exp() * (1 + beyond)


def _square(scores: Tensor) -> Tensor:
    """Compute v^2, continued along its tangents beyond ``_LARGEST_SQUARED``."""
    inner = scores.clamp(-_LARGEST_SQUARED, _LARGEST_SQUARED)
    return inner.square() + 2 * inner * (scores - inner)


#: The activation g of each divergence, which increases with the score.
ACTIVATION: Mapping[Divergence, Callable[[Tensor], Tensor]] = {
    "kl": lambda scores: scores,
    "reverse_kl": lambda scores: -_exp(-scores),
    "pearson": lambda scores: scores,
    "neyman": lambda scores: 1 - _exp(-scores),
    "squared_hellinger": lambda scores: 1 - _exp(-scores),
    "jensen_shannon": lambda scores: log(2) - softplus(-scores),
    "total_variation": lambda scores: scores.tanh() / 2,
}

#: f*(g(v)) of each divergence.
CONJUGATE: Mapping[Divergence, Callable[[Tensor], Tensor]] = {
    "kl": lambda scores: _exp(scores - 1),
    "reverse_kl": lambda scores: scores - 1,
    "pearson": lambda scores: _square(scores) / 4 + scores,
    "neyman": lambda scores: 2 - 2 * _exp(-scores / 2),
    "squared_hellinger": lambda scores: _exp(scores) - 1,
    "jensen_shannon": lambda scores: softplus(scores) - log(2),
    "total_variation": lambda scores: scores.tanh() / 2,
}
