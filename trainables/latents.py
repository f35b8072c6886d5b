"""Latents for pictures of a generator's samples: random ones, and interpolations."""

import torch
from jaxtyping import Float
from torch import Tensor


def drawn(num: int, latent_dim: int, seed: int) -> Float[Tensor, "num latent"]:
    """Draw standard normal latents from a seed; a larger number begins with the same latents."""
    rng = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(latent_dim, generator=rng) for _ in range(num)])


def interpolated(
    start: Float[Tensor, "row latent"], end: Float[Tensor, "row latent"], num: int
) -> Float[Tensor, "row num latent"]:
    """Interpolate between pairs of latents, in equal steps of the angle, both ends included.

    Spherical interpolation (White 2016, eq. 1): sin((1-t)a)/sin(a) start + sin(ta)/sin(a) end. A
    straight line would pass through latents that are much shorter than samples of a Gaussian in
    many dimensions. Latents on one line through the origin are interpolated linearly.

    Args:
        start: The first latents, none of them zero.
        end: As many last latents, none of them zero.
        num: The number of latents per pair, at least 2.
    """
    one, other = (torch.nn.functional.normalize(ends.double(), dim=1) for ends in (start, end))
    # The arccosine of their product would lose half of the digits for nearly parallel latents.
    angle = 2 * torch.atan2((one - other).norm(dim=1), (one + other).norm(dim=1))[:, None]
    t = torch.linspace(0, 1, num, dtype=torch.float64)
    on_a_line = torch.sin(angle) < 1e-6
    sine = torch.where(on_a_line, 1.0, torch.sin(angle))
    from_start, to_end = (
        torch.where(on_a_line, straight, torch.sin(straight * angle) / sine)[:, :, None]
        for straight in (1 - t, t)
    )
    path = from_start * start.double()[:, None] + to_end * end.double()[:, None]
    return path.to(start.dtype)
