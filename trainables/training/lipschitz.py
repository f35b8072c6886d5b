"""Keep a critic Lipschitz: penalties in its loss, and constraints on its weights.

A critic maps samples [batch, *sample] to scores [batch], of which each depends on its own sample
alone. A penalty is a pure function. A constraint on the weights is set up once by ``prepare_`` and
restored after each step by ``project_``. ``spectral_norm`` and ``orthogonal`` act on every
``Linear`` and ``Conv`` layer, also of a custom critic. They bound the critic if everything between
these layers is 1-Lipschitz, as ReLU, leaky ReLU, tanh, GroupSort and pooling are; residual
connections and normalisation are not.
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

# Keeps the derivative of the square root finite at a zero gradient; else the weights become NaN.
_EPSILON = 1e-12
#: Largest norm of the differences between squared singular values and 1.
_ORTHONORMAL_TOLERANCE = 1e-3
# Usually two or three iterations suffice; a matrix that needs more than twelve is nearly singular.
_MAX_ITERATIONS = 12


def prepare_(critic: nn.Module, constraint: Constraint | None) -> None:
    """Set up a constraint on a new critic, in place, before its optimiser is created.

    Only ``spectral_norm`` and ``orthogonal`` change anything. They draw from PyTorch's global RNG:
    seed it before the call.

    Args:
        critic: The critic.
        constraint: Its constraint; ``None`` under a GAN loss.

    Raises:
        ValueError: if these two find no layer to act on, or one that they cannot bound: a layer
            whose weight is parametrised already, or whose padding repeats pixels.
    """
    if constraint not in LAYERWISE:
        return
    layers = list(_layers(critic))
    if not layers:
        raise ValueError(
            f"constraint {constraint} must have Linear or Conv layers to act on, got "
            f"{type(critic).__name__} without any: use such layers, or change the constraint"
        )
    for layer in layers:
        _refuse_unbounded(layer, constraint)
    if constraint == "spectral_norm":
        for layer in layers:
            spectral_norm_(layer)
    else:
        orthonormalise_(critic)


def project_(critic: nn.Module, config: TrainingConfig) -> None:
    """Project the weights, in place, onto the constraint; to be called after each step.

    Only ``clip`` and ``orthogonal`` change anything.
    """
    if config.clip_value is not None:
        clip_weights_(critic, config.clip_value)
    elif config.constraint == "orthogonal":
        orthonormalise_(critic)


def clip_weights_(critic: nn.Module, clip_value: float) -> None:
    """Clamp every parameter to [-clip_value, clip_value], in place (Arjovsky 2017, Algorithm 1).

    The paper uses 0.01, and RMSProp, as momentum made training unstable. The critic's Lipschitz
    constant is then bounded by the product of the layers' norms. Depending on width, depth and
    ``clip_value`` this is far below or far above 1, so that the scale of the critic's estimate is
    unknown, and gradients vanish or explode (Gulrajani 2017, Figure 1).

    Args:
        critic: The critic.
        clip_value: The bound c, above 0.
    """
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-clip_value, clip_value)


def spectral_norm_(layer: nn.Module) -> None:
    """Divide a layer's weight by its largest singular value (Miyato 2018, eq. 8), from now on.

    One power iteration per forward pass in training mode updates the singular value. Its vectors
    are buffers, which are saved with the weights and do not change in evaluation mode. The
    estimate lags behind weights that change fast and is a lower bound, so that the layer's
    Lipschitz constant may be slightly above 1.

    A convolution is divided by the norm of its kernel as a matrix [out, in * k * k], which may be
    smaller than that of the operator: its Lipschitz constant may be above 1, at most by the factor
    that ``orthonormalise_`` divides by. With ReLU a critic reaches little of the gradient norm that
    it may have (Anil 2019): it estimates 0.46 for 8 Gaussians on a circle around a point, whose W1
    is 1, but nearly 1 for two shifted clouds.
    """
    parametrizations.spectral_norm(layer, n_power_iterations=1)


def orthonormalise_(critic: nn.Module) -> None:
    """Replace each layer's weight, in place, by the nearest orthonormal one (Anil 2019).

    Its rows or columns, whichever are fewer, become orthonormal: every singular value is within
    1e-3 of 1. A convolution's kernel is treated as a matrix [out, in * k * k] and divided by
    sqrt(p), where p is the largest number of patches that contain one pixel: in 2-D
    ceil(k / stride)^2. Then |conv(x)|^2 <= sum of |patch|^2 / p <= |x|^2, so that the layer is
    1-Lipschitz. For most images it is far from this bound, so that the critic's estimate is lower
    the more convolutions it has.

    The critic's estimate is then a lower bound of W1. GroupSort keeps gradient norms, so that the
    bound can be reached: it is for two shifted clouds, while for the 8 Gaussians of
    ``spectral_norm_`` training finds 0.6. The projection is not differentiated, and so cheaper than
    a parametrisation. A weight that is not finite is left unchanged.
    """
    with torch.no_grad():
        for layer in _layers(critic):
            weight = cast(Tensor, layer.weight)
            scale = math.sqrt(_patches_per_pixel(layer))
            nearest = _nearest_orthonormal(scale * weight.flatten(1)) / scale
            weight.copy_(nearest.reshape(weight.shape))


def gradient_penalty(
    critic: Critic,
    real: Float[Tensor, "batch *sample"],
    fake: Float[Tensor, "batch *sample"],
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """Compute the mean of (|grad f| - 1)^2 between real and fake samples (Gulrajani 2017, eq. 3).

    The result is without the weight lambda (``gp_weight``, 10 in the paper). It is differentiable
    by the critic's parameters, and constant in the samples.

    The penalty is soft and acts only on the lines between the batches: where the distance outweighs
    it, the gradient norm is above 1. It also penalises norms below 1, which the optimal critic may
    have (Petzka 2018, section 4). Under batch normalisation it is meaningless.

    Args:
        critic: Maps samples [batch, *sample] to scores [batch].
        real: Real samples.
        fake: As many generated samples.
        rng: A generator on the device of the samples; gives one coefficient per sample.
    """
    return _two_sided(_norms_between(critic, real, fake, rng)).square().mean()


def one_sided_penalty(
    critic: Critic,
    real: Float[Tensor, "batch *sample"],
    fake: Float[Tensor, "batch *sample"],
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """Compute the mean of max(0, |grad f| - 1)^2: WGAN-LP (Petzka 2018, eq. 8).

    It differs from ``gradient_penalty`` in that it does not penalise gradient norms below 1. The
    arguments are the same.
    """
    return _one_sided(_norms_between(critic, real, fake, rng)).square().mean()


def power_penalty(
    critic: Critic,
    real: Float[Tensor, "batch *sample"],
    fake: Float[Tensor, "batch *sample"],
    rng: torch.Generator,
    power: float,
) -> Float[Tensor, ""]:
    """Compute the mean of |grad f|^p between real and fake samples: WGAN-div (Wu 2018).

    It bounds no gradient norm: with it the critic estimates the Wasserstein divergence, which needs
    no Lipschitz constraint. The other arguments are those of ``gradient_penalty``.

    Args:
        power: The exponent p, at least 2, of which the derivative is finite at a zero gradient.
    """
    between = interpolate(real, fake, coefficients_between(real, rng))
    gradients = _sample_gradients(critic, between, create_graph=True)
    return gradients.flatten(1).square().sum(1).pow(power / 2).mean()


#: The penalty of each constraint, (critic, real, fake, rng) to the term without its weight.
PENALTIES: Mapping[Constraint | None, Callable[..., Tensor]] = {
    "gradient_penalty": gradient_penalty,
    "one_sided_penalty": one_sided_penalty,
}


def _two_sided(grad_norms: Tensor) -> Tensor:
    return grad_norms - 1


def _one_sided(grad_norms: Tensor) -> Tensor:
    return (grad_norms - 1).relu()


#: The residual that each penalty squares, as a function of the gradient norm. Where it is not 0,
#: its derivative is 1.
PENALTY_RESIDUALS: Mapping[Constraint | None, Callable[[Tensor], Tensor]] = {
    "gradient_penalty": _two_sided,
    "one_sided_penalty": _one_sided,
}


def zero_centred_penalty(
    critic: Critic, samples: Float[Tensor, "batch *sample"]
) -> Float[Tensor, ""]:
    """Compute half the mean of |grad f|^2: R1 at real samples, R2 at fake ones (Mescheder 2018).

    The result is without the weight gamma, but has the paper's factor 1/2 (eq. 9 and 10). The norm
    is of the gradient by a whole sample. It is differentiable by the critic's parameters, and
    constant in the samples.

    Args:
        critic: Maps samples [batch, *sample] to scores [batch].
        samples: Where to penalise.
    """
    gradients = _sample_gradients(critic, samples, create_graph=True)
    return gradients.flatten(1).square().sum(1).mean() / 2


def gradient_norms(
    critic: Critic, samples: Float[Tensor, "batch *sample"]
) -> Float[Tensor, " batch"]:
    """Compute the L2 norm of each score's gradient by its whole sample; not differentiable.

    A module is put into evaluation mode meanwhile, in which no score depends on its batch.

    Args:
        critic: Maps samples [batch, *sample] to scores [batch].
        samples: Where to measure.
    """
    with evaluating(critic):
        return _gradient_norms(critic, samples, create_graph=False)


def interpolate(
    real: Float[Tensor, "batch *sample"],
    fake: Float[Tensor, "batch *sample"],
    coefficients: Float[Tensor, " batch"],
) -> Float[Tensor, "batch *sample"]:
    """Interpolate linearly between each real and its fake sample: 0 gives the real, 1 the fake."""
    return torch.lerp(real, fake, coefficients.view(-1, *[1] * (real.ndim - 1)))


def coefficients_between(
    real: Float[Tensor, "batch *sample"], rng: torch.Generator
) -> Float[Tensor, " batch"]:
    """Draw one uniform interpolation coefficient in [0, 1) per sample."""
    return torch.rand(len(real), generator=rng, dtype=real.dtype, device=real.device)


def norms(gradients: Float[Tensor, "batch *sample"]) -> Float[Tensor, " batch"]:
    """Compute the L2 norm of each sample's gradient, at least 1e-6, so that it has a derivative."""
    return (gradients.flatten(1).square().sum(1) + _EPSILON).sqrt()


@contextmanager
def evaluating(network: Callable[..., Tensor]) -> Iterator[None]:
    """Put a module into evaluation mode, and then restore the mode of each of its parts.

    Does nothing for a callable that is not a module.
    """
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
    return norms(_sample_gradients(critic, samples, create_graph=create_graph))


def _sample_gradients(critic: Critic, samples: Tensor, *, create_graph: bool) -> Tensor:
    samples = samples.detach().requires_grad_()
    # Each score depends on its own sample alone: the gradient of the sum holds those of all scores.
    (gradients,) = torch.autograd.grad(critic(samples).sum(), samples, create_graph=create_graph)
    return gradients


def _layers(critic: nn.Module) -> Iterator[nn.Linear | _ConvNd]:
    return (layer for layer in critic.modules() if isinstance(layer, nn.Linear | _ConvNd))


def _refuse_unbounded(layer: nn.Linear | _ConvNd, constraint: Constraint | None) -> None:
    name = type(layer).__name__
    if not isinstance(layer.weight, nn.Parameter):
        raise ValueError(
            f"constraint {constraint} must find plain weights, got a {name} whose weight is "
            "parametrised, as by weight_norm: remove the parametrisation"
        )
    if isinstance(layer, _ConvNd) and layer.padding_mode != "zeros":
        raise ValueError(
            f"constraint {constraint} must find convolutions padded with zeros, got a {name} with "
            f"padding_mode {layer.padding_mode}, which uses a pixel twice: use zeros"
        )


def _patches_per_pixel(layer: nn.Linear | _ConvNd) -> int:
    """Count the patches of a convolution that contain one pixel, at most; 1 for a linear layer."""
    if isinstance(layer, nn.Linear):
        return 1
    # A transposed convolution is the adjoint of the one with the same kernel, and has its norm.
    sizes = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    return math.prod(
        math.ceil(kernel / (stride // math.gcd(stride, dilation)))
        for kernel, stride, dilation in sizes
    )


def _nearest_orthonormal(weight: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Compute U V^T of W = U S V^T, by Newton-Schulz iterations, or by the SVD if they are slow.

    x <- (3 x - x x^T x) / 2 (Björck & Bowie 1971) maps each singular value s to (3 s - s^3) / 2,
    which converges to 1 from all s in (0, sqrt(3)).
    """
    wide = weight if weight.shape[0] <= weight.shape[1] else weight.mT
    identity = torch.eye(len(wide), dtype=wide.dtype, device=wide.device)
    gram = wide @ wide.mT
    # s^2 - 1 is at most the norm below, so that every s^2 / limit is at most 2.
    limit = ((1 + (gram - identity).norm()) / 2).clamp_min(1)
    x, gram = wide / limit.sqrt(), gram / limit
    for _ in range(_MAX_ITERATIONS):
        if (gram - identity).norm() <= _ORTHONORMAL_TOLERANCE:
            break
        x = torch.addmm(x, gram, x, beta=1.5, alpha=-0.5)
        gram = x @ x.mT
    else:
        if not wide.isfinite().all():
            return weight
        u, _, vh = torch.linalg.svd(wide, full_matrices=False)
        x = u @ vh
    return x if wide is weight else x.mT
