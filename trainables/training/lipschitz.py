"""What keeps a critic Lipschitz: penalties in its loss, and constraints on its weights.

A critic maps samples [batch, *sample] to scores [batch], each score by its own sample alone. A
penalty is a pure function; a constraint on the weights is set up once by ``prepare_`` and kept up
after each step by ``project_``. ``spectral_norm`` and ``orthogonal`` act on every ``Linear`` and
``Conv`` layer, in a critic of one's own too: they bound the critic as long as what lies between
the layers is 1-Lipschitz, as ReLU, leaky ReLU, tanh, GroupSort and pooling are, and as a sum with
a layer's own input or a normalisation are not.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrizations

from trainables.config import LAYERWISE, Constraint, TrainingConfig

Critic = Callable[[Tensor], Tensor]

# Without it the square root's derivative at a zero gradient is infinite, and the weights NaN.
_INSIDE_ROOT = 1e-12
#: How far an orthonormal matrix's squared singular values may be from 1, all of them together.
_ORTHONORMAL_WITHIN = 1e-3
# After a usual step two or three iterations do; what twelve cannot repair is nearly singular.
_MAX_ITERATIONS = 12


def prepare_(critic: nn.Module, constraint: Constraint | None) -> None:
    """Make a new critic, in place, what its constraint wants; before its optimiser is made.

    Only ``spectral_norm`` and ``orthogonal`` do anything. What is random comes from PyTorch's
    global RNG: seed it around the call.

    Raises:
        ValueError: where these two find no layer to act on, or one that they cannot bound: its
            weight is made from others already, or its padding repeats pixels.
    """
    if constraint not in LAYERWISE:
        return
    layers = list(_layers(critic))
    if not layers:
        raise ValueError(
            f"constraint {constraint} must have Linear or Conv layers to act on, got "
            f"{type(critic).__name__} without any: build the critic of them, or take a penalty"
        )
    for layer in layers:
        _refuse_boundless(layer, constraint)
    if constraint == "spectral_norm":
        for layer in layers:
            spectral_norm_(layer)
    else:
        orthonormalise_(critic)


def project_(critic: nn.Module, config: TrainingConfig) -> None:
    """Bring the weights, in place, back to where the constraint has them; after each step.

    Before it, the step would lead out again. ``clip`` and ``orthogonal`` do it, the others
    nothing.
    """
    if config.clip_value is not None:
        clip_weights_(critic, config.clip_value)
    elif config.constraint == "orthogonal":
        orthonormalise_(critic)


def clip_weights_(critic: nn.Module, clip_value: float) -> None:
    """Clamp every parameter to [-clip_value, clip_value], in place (Arjovsky 2017, Algorithm 1).

    The paper's ``clip_value`` is 0.01, and its optimiser RMSProp: momentum made it unstable.
    The slope is then bounded by the product of the layers' norms: far below 1 or far above it, by
    width, depth and ``clip_value``, so that the critic's own estimate has no unit. Gradients
    vanish or explode through the layers alike (Gulrajani 2017, Figure 1).
    """
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-clip_value, clip_value)


def spectral_norm_(layer: nn.Module) -> None:
    """Divide a layer's weight by its largest singular value (Miyato 2018, eq. 8), from now on.

    One power iteration at each training forward keeps the singular value up to date; its vectors
    are buffers, saved with the weights, and stand still in evaluation mode. It lags behind a fast
    critic's weights, and reads below the truth: the slope may be a little above 1.

    A convolution is divided by the norm of its kernel as a matrix [out, in * k * k], which is not
    the operator's: its slope may be above 1, up to what ``orthonormalise_`` divides by. With ReLU
    the critic uses little of the slope it may have (Anil 2019): of 8 Gaussians on a circle around
    a point, W1 1, it reads 0.46, of two shifted clouds nearly all.
    """
    parametrizations.spectral_norm(layer, n_power_iterations=1)


def orthonormalise_(critic: nn.Module) -> None:
    """Replace each layer's weight, in place, by the nearest orthonormal one (Anil 2019).

    Its rows or columns, whichever are fewer, become orthonormal: every singular value is within
    1e-3 of 1. A convolution's kernel is taken as a matrix [out, in * k * k] and divided by the
    most patches that one pixel lies in, rooted: in 2-D sqrt(ceil(k / stride)^2). Then
    |conv(x)|^2 <= sum of |patch|^2 / patches <= |x|^2, so that the layer is 1-Lipschitz; its
    slope on most images is less, and the critic's estimate reads lower the more convolutions it
    has.

    The critic's estimate is then a lower bound of W1. GroupSort for activation loses no slope, so
    that it may be met, as it is by two shifted clouds; of the 8 Gaussians above training finds
    0.6. Nothing is differentiated through the projection, which makes it cheaper than a
    parametrisation. A weight that is not finite is left as it is.
    """
    with torch.no_grad():
        for layer in _layers(critic):
            weight = cast(Tensor, layer.weight)
            scale = math.sqrt(_patches_of_a_pixel(layer))
            nearest = _nearest_orthonormal(scale * weight.flatten(1)) / scale
            weight.copy_(nearest.reshape(weight.shape))


def gradient_penalty(
    critic: Critic,
    real: Float[Tensor, "batch *sample"],
    fake: Float[Tensor, "batch *sample"],
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """Mean of (|grad f| - 1)^2 between real and fake: two-sided (Gulrajani 2017, eq. 3).

    Without its weight lambda (``gp_weight``, in the paper 10); differentiable by the critic's
    parameters, constant in the samples. ``rng`` lives on the samples' device and gives one
    coefficient a sample.

    It holds the slope near 1 only on the lines between the batches, and softly: a critic gains
    slope where the distance outweighs the penalty. It also punishes slopes below 1, which the best
    critic may have (Petzka 2018, section 4). Batch normalisation makes it meaningless.
    """
    return _two_sided(_norms_between(critic, real, fake, rng)).square().mean()


def one_sided_penalty(
    critic: Critic,
    real: Float[Tensor, "batch *sample"],
    fake: Float[Tensor, "batch *sample"],
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """Mean of max(0, |grad f| - 1)^2 between real and fake: WGAN-LP (Petzka 2018, eq. 8).

    Arguments, default and derivatives are those of ``gradient_penalty``; so are the pitfalls, but
    that a slope below 1 costs nothing.
    """
    return _one_sided(_norms_between(critic, real, fake, rng)).square().mean()


#: Each takes (critic, real, fake, rng) and gives the term without its weight.
PENALTIES: Mapping[Constraint | None, Callable[..., Tensor]] = {
    "gradient_penalty": gradient_penalty,
    "one_sided_penalty": one_sided_penalty,
}


def _two_sided(norms: Tensor) -> Tensor:
    return norms - 1


def _one_sided(norms: Tensor) -> Tensor:
    return (norms - 1).relu()


#: What a penalty squares, of the gradients' norms; its derivative by them is 0 or 1.
EXCESSES: Mapping[Constraint | None, Callable[[Tensor], Tensor]] = {
    "gradient_penalty": _two_sided,
    "one_sided_penalty": _one_sided,
}


def gradient_norms(
    critic: Critic, samples: Float[Tensor, "batch *sample"]
) -> Float[Tensor, " batch"]:
    """L2 norm of each score's gradient by its whole sample, for logging: not differentiable.

    A module is measured in evaluation mode, where no score depends on its batch.
    """
    with evaluating(critic):
        return _gradient_norms(critic, samples, create_graph=False)


def interpolate(
    real: Float[Tensor, "batch *sample"],
    fake: Float[Tensor, "batch *sample"],
    coefficients: Float[Tensor, " batch"],
) -> Float[Tensor, "batch *sample"]:
    """Go a fraction of the straight way from each real to its fake sample: 0 is real, 1 fake."""
    return torch.lerp(real, fake, coefficients.view(-1, *[1] * (real.ndim - 1)))


def coefficients_between(
    real: Float[Tensor, "batch *sample"], rng: torch.Generator
) -> Float[Tensor, " batch"]:
    """One uniform coefficient in [0, 1) a sample, where a penalty is measured."""
    return torch.rand(len(real), generator=rng, dtype=real.dtype, device=real.device)


def norms(gradients: Float[Tensor, "batch *sample"]) -> Float[Tensor, " batch"]:
    """L2 norm of each sample's gradient, never quite zero, so that it has a derivative."""
    return (gradients.flatten(1).square().sum(1) + _INSIDE_ROOT).sqrt()


@contextmanager
def evaluating(network: Callable[..., Tensor]) -> Iterator[None]:
    """Put a module into evaluation mode, and each of its parts back as it was; else do nothing."""
    modules = list(network.modules()) if isinstance(network, nn.Module) else []
    training = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, training, strict=True):
            module.training = mode


def _norms_between(
    critic: Critic, real: Tensor, fake: Tensor, rng: torch.Generator
) -> Float[Tensor, " batch"]:
    between = interpolate(real, fake, coefficients_between(real, rng))
    return _gradient_norms(critic, between, create_graph=True)


def _gradient_norms(critic: Critic, samples: Tensor, *, create_graph: bool) -> Tensor:
    samples = samples.detach().requires_grad_()
    # The sum's gradient is every score's own, for a score depends on no sample but its own.
    (gradients,) = torch.autograd.grad(critic(samples).sum(), samples, create_graph=create_graph)
    return norms(gradients)


def _layers(critic: nn.Module) -> Iterator[nn.Linear | _ConvNd]:
    return (layer for layer in critic.modules() if isinstance(layer, nn.Linear | _ConvNd))


def _refuse_boundless(layer: nn.Linear | _ConvNd, constraint: Constraint | None) -> None:
    name = type(layer).__name__
    if not isinstance(layer.weight, nn.Parameter):
        raise ValueError(
            f"constraint {constraint} must find plain weights, got a {name} whose weight is made "
            "from others, as by a spectral or a weight norm of its own: take that off"
        )
    if isinstance(layer, _ConvNd) and layer.padding_mode != "zeros":
        raise ValueError(
            f"constraint {constraint} must find convolutions padded with zeros, got a {name} with "
            f"padding_mode {layer.padding_mode}, which counts a pixel twice: take zeros"
        )


def _patches_of_a_pixel(layer: nn.Linear | _ConvNd) -> int:
    """In how many patches of a convolution a pixel can lie at most; 1 for a linear layer."""
    if isinstance(layer, nn.Linear):
        return 1
    # A transposed convolution is the adjoint of one with the same kernel: of the same norm.
    sizes = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    return math.prod(
        math.ceil(kernel / (stride // math.gcd(stride, dilation)))
        for kernel, stride, dilation in sizes
    )


def _nearest_orthonormal(weight: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """U V^T of the weight's U S V^T, by Newton-Schulz iterations, or by the SVD if they are slow.

    x <- (3 x - x x^T x) / 2 (Björck & Bowie 1971) maps each singular value s to (3 s - s^3) / 2,
    which goes to 1 from anywhere below sqrt(3), and diverges above.
    """
    wide = weight if weight.shape[0] <= weight.shape[1] else weight.mT
    identity = torch.eye(len(wide), dtype=wide.dtype, device=wide.device)
    gram = wide @ wide.mT
    # s^2 - 1 is at most the norm below, so that every s^2 / limit is at most 2.
    limit = ((1 + (gram - identity).norm()) / 2).clamp_min(1)
    x, gram = wide / limit.sqrt(), gram / limit
    for _ in range(_MAX_ITERATIONS):
        if (gram - identity).norm() <= _ORTHONORMAL_WITHIN:
            break
        x = torch.addmm(x, gram, x, beta=1.5, alpha=-0.5)
        gram = x @ x.mT
    else:
        if not wide.isfinite().all():
            return weight
        u, _, vh = torch.linalg.svd(wide, full_matrices=False)
        x = u @ vh
    return x if wide is weight else x.mT
