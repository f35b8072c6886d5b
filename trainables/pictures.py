"""Samples as a picture: what a person looks at beside the numbers."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

#: Samples of each kind in a picture of images, and in a scatter plot of points.
NUM_IMAGES, NUM_POINTS = 64, 1024


def save_samples(
    real: Float[Tensor, "n *sample"], generated: Float[Tensor, "n *sample"], path: Path
) -> None:
    """Draw real samples on the left and generated ones on the right, as a PNG.

    Args:
        real: Data in [-1, 1]; images ``[n, 1 or 3, height, width]``, or vectors, of which the
            first two coordinates are drawn.
        generated: As many samples of a generator.
        path: Where to write; its folder exists.
    """
    draw = _draw_images if real.ndim == 4 else _draw_points
    draw(real.detach().cpu(), generated.detach().cpu(), path)


def _draw_images(real: Tensor, generated: Tensor, path: Path) -> None:
    # Not torchvision's make_grid: importing it would cost every worker three seconds.
    from PIL import Image

    halves = [_grid(images[:NUM_IMAGES]) for images in (real, generated)]
    gap = torch.full((halves[0].shape[0], 4, halves[0].shape[2]), 255, dtype=torch.uint8)
    both = torch.cat([halves[0], gap, halves[1]], dim=1)
    scale = max(1, 256 // both.shape[0])  # an 8x8 digit of 8 pixels is too small to judge
    both = both.repeat_interleave(scale, dim=0).repeat_interleave(scale, dim=1)
    Image.fromarray(both.squeeze(2).numpy()).save(path)


def _grid(images: Float[Tensor, "n channel height width"]) -> Tensor:
    """Images in [-1, 1] as one of bytes, [rows * (height + 1), columns * (width + 1), channel]."""
    columns = min(len(images), int(NUM_IMAGES**0.5))
    images = images[: len(images) // columns * columns]
    pixels = images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    padded = torch.nn.functional.pad(pixels, (0, 1, 0, 1))
    rows = padded.unflatten(0, (-1, columns))  # row, column, channel, height, width
    return rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)


def _draw_points(real: Tensor, generated: Tensor, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, points, title in zip(
        figure.subplots(1, 2, sharex=True, sharey=True),
        (real, generated),
        ("real", "generated"),
        strict=True,
    ):
        axes.scatter(points[:NUM_POINTS, 0], points[:NUM_POINTS, 1], s=3, linewidths=0)
        axes.set(title=title, aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5))
    figure.savefig(path, dpi=100)
