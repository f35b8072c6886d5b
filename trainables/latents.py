"""Latents to look at a generator with: drawn at random, and on the way from one to another."""

import torch
from jaxtyping import Float
from torch import Tensor


def drawn(num: int, latent_dim: int, seed: int) -> Float[Tensor, "num latent"]:
    """Standard normal latents, which follow from the seed; more of them begin alike."""
    rng = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(latent_dim, generator=rng) for _ in range(num)])


def interpolated(
    start: Float[Tensor, "row latent"], end: Float[Tensor, "row latent"], num: int
) -> Float[Tensor, "row num latent"]:
    """Each row's way from start to end, both included, in equal steps of the angle between them.

    Spherical interpolation (White 2016, eq. 1): sin((1-t)a)/sin(a) start + sin(ta)/sin(a) end. A
    straight line would pass through latents far shorter than any that a Gaussian draws in many
    dimensions. Where the two lie on one line through the origin, the way is straight.

    Args:
        start: Latents, none of them zero.
        end: As many others.
        num: Latents on each way, at least 2.
    """
    one, other = (torch.nn.functional.normalize(way.double(), dim=1) for way in (start, end))
    # The arccosine of their product would lose half of its digits where they nearly lie on a line.
    angle = 2 * torch.atan2((one - other).norm(dim=1), (one + other).norm(dim=1))[:, None]
    t = torch.linspace(0, 1, num, dtype=torch.float64)
    on_a_line = torch.sin(angle) < 1e-6
    sine = torch.where(on_a_line, 1.0, torch.sin(angle))
    from_start, to_end = (
        torch.where(on_a_line, straight, torch.sin(straight * angle) / sine)[:, :, None]
        for straight in (1 - t, t)
    )
    way = from_start * start.double()[:, None] + to_end * end.double()[:, None]
    return way.to(start.dtype)
