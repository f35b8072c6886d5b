"""Draw samples as a PNG: images in a grid, vectors in a scatter plot."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from trainables.data import as_floats

#: Limits of a row of real or of generated images: their number, and its width in pixels.
MAX_COLUMNS, MAX_PIXELS = 8, 1024
#: Real or generated points in a scatter plot.
NUM_POINTS = 1024
#: The ends of the axes for points in about [-1, 1].
MAX_COORDINATE = 1.5


def num_drawn(sample_shape: tuple[int, ...]) -> int:
    """Return how many real, and how many generated, samples of this shape a picture shows."""
    return _columns(sample_shape[2]) ** 2 if len(sample_shape) == 3 else NUM_POINTS


def save_samples(
    real: Float32[Tensor, "_ *sample"] | UInt8[Tensor, "_ *sample"],
    generated: Float[Tensor, "_ *sample"],
    path: Path,
) -> None:
    """Draw real samples on the left and generated ones on the right, as a PNG.

    Args:
        real: Images [n, 1 or 3, height, width] in [-1, 1] or of bytes, or vectors [n, d], of which
            the first two coordinates are drawn. Samples beyond :func:`num_drawn` are not.
        generated: As many samples of a generator.
        path: The file to write, in an existing folder.
    """
    draw = _draw_images if real.ndim == 4 else _draw_points
    num = num_drawn(tuple(real.shape[1:]))
    draw(as_floats(real[:num]).cpu(), generated[:num].detach().float().cpu(), path)


def save_generated(
    samples: Float[Tensor, "n *sample"], file: Path | BinaryIO, columns: int | None = None
) -> None:
    """Draw all given samples of a generator row by row, as a PNG.

    Args:
        samples: Samples, as for :func:`save_samples`.
        file: The file to write, a path in an existing folder or an open file.
        columns: Images per row; by default the picture is nearly square.
    """
    samples = samples.detach().float().cpu()
    if samples.ndim != 4:
        _scatter({"generated": samples}, file)
        return
    columns = columns or math.ceil(math.sqrt(len(samples)))
    num_missing = -len(samples) % columns
    black = samples.new_full((num_missing, *samples.shape[1:]), -1)
    _save(_grid(torch.cat([samples, black]), columns), file, 512)


def _columns(width: int) -> int:
    return max(1, min(MAX_COLUMNS, MAX_PIXELS // width))


def _draw_images(real: Tensor, generated: Tensor, path: Path) -> None:
    columns = _columns(real.shape[3])
    halves = [_grid(images, min(len(images), columns)) for images in (real, generated)]
    gap = torch.full((halves[0].shape[0], 4, halves[0].shape[2]), 255, dtype=torch.uint8)
    _save(torch.cat([halves[0], gap, halves[1]], dim=1), path)


def _save(
    pixels: UInt8[Tensor, "height width channel"], file: Path | BinaryIO, min_height: int = 256
) -> None:
    """Write a picture; enlarge it by a whole factor to about ``min_height`` if it is lower."""
    # Not torchvision's make_grid: importing it would cost every worker three seconds.
    from PIL import Image

    scale = max(1, min_height // pixels.shape[0])
    pixels = pixels.repeat_interleave(scale, dim=0).repeat_interleave(scale, dim=1)
    Image.fromarray(pixels.squeeze(2).numpy()).save(file, format="PNG")


def _grid(images: Float[Tensor, "n channel height width"], columns: int) -> Tensor:
    """Arrange images in [-1, 1] as bytes [rows * (height + 1), columns * (width + 1), channel].

    An incomplete last row is left out.
    """
    images = images[: len(images) // columns * columns]
    pixels = images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    padded = functional.pad(pixels, (0, 1, 0, 1))
    rows = padded.unflatten(0, (-1, columns))  # row, column, channel, height, width
    return rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)


def _draw_points(real: Tensor, generated: Tensor, path: Path) -> None:
    _scatter({"real": real, "generated": generated}, path)


def _scatter(clouds: Mapping[str, Tensor], file: Path | BinaryIO) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(clouds), 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(clouds), sharex=True, sharey=True, squeeze=False)[0]
    # Vectors of one number get y = 0.
    points = [functional.pad(cloud, (0, max(0, 2 - cloud.shape[1]))) for cloud in clouds.values()]
    x_limits, y_limits = (_limits(points[0][:, axis]) for axis in range(2))
    aspect = "equal" if x_limits == y_limits else "auto"
    for axes, title, cloud in zip(panels, clouds, points, strict=True):
        axes.scatter(cloud[:, 0], cloud[:, 1], s=3, linewidths=0)
        axes.set(title=title, aspect=aspect, xlim=x_limits, ylim=y_limits)
    figure.savefig(file, dpi=100, format="png")


def _limits(values: Float[Tensor, " n"]) -> tuple[float, float]:
    """Return the limits of an axis: fixed for data in [-1, 1], else around most of the values."""
    values = values[values.isfinite()]
    if len(values) == 0 or values.abs().max() <= MAX_COORDINATE:
        return -MAX_COORDINATE, MAX_COORDINATE
    low, high = values.double().quantile(torch.tensor([0.005, 0.995]).double()).tolist()
    margin = 0.1 * (high - low) or 1.0
    return low - margin, high + margin
