"""Draw samples as a PNG: images in a grid, vectors in plots of their distribution.

Vectors of one or two numbers are a scatter plot. Longer ones are projected onto the two principal
components of the real samples, above their correlations and the quantiles of each column.
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from trainables.data import as_floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Limits of a row of real or of generated images: their number, and its width in pixels.
MAX_COLUMNS, MAX_PIXELS = 8, 1024
#: Real or generated points in a scatter plot.
NUM_POINTS = 1024
#: Columns of which correlations and quantiles are drawn, the first ones.
MAX_VECTOR_COLUMNS = 64
#: Quantiles of a column: the ends of a thin line, those of a thick one, and the mark between.
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_COLOURS = {"real": "#0072B2", "generated": "#D55E00"}
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
        real: Images [n, 1 or 3, height, width] in [-1, 1] or of bytes, or vectors [n, d]. Samples
            beyond :func:`num_drawn` are not drawn.
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
        points, labels = _projected(samples, {"generated": samples})
        _scatter(points, labels, file)
        return
    columns = columns or math.ceil(math.sqrt(len(samples)))
    num_missing = -len(samples) % columns
    black = samples.new_full((num_missing, *samples.shape[1:]), -1)
    _save(_grid(torch.cat([samples, black]), columns), file, 512)


def save_pairs(
    above: Float[Tensor, "n channel height width"],
    below: Float[Tensor, "n channel height width"],
    file: Path | io.BytesIO,
) -> None:
    """Draw images side by side, each above another one, as a PNG."""
    num = min(len(above), len(below))
    both = torch.cat([part[:num].detach().float().cpu() for part in (above, below)])
    _save(_grid(both, num), file, 128)


def _columns(width: int) -> int:
    return max(1, min(MAX_COLUMNS, MAX_PIXELS // width))


def _draw_images(real: Tensor, generated: Tensor, path: Path) -> None:
    columns = _columns(real.shape[3])
    halves = [_grid(images, min(len(images), columns)) for images in (real, generated)]
    gap = torch.full((halves[0].shape[0], 4, halves[0].shape[2]), 255, dtype=torch.uint8)
    _save(torch.cat([halves[0], gap, halves[1]], dim=1), path)


def _save(
    pixels: UInt8[Tensor, "height width channel"],
    file: Path | BinaryIO | io.BytesIO,
    min_height: int = 256,
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
    points, labels = _projected(real, {"real": real, "generated": generated})
    if real.shape[1] <= 2:
        _scatter(points, labels, path)
        return
    figure = _figure(8.0, 10.0)
    lefts, width = (0.09, 0.56), 0.36
    panels = [figure.add_axes((left, 0.69, width, 0.28)) for left in lefts]
    _scatter_into(panels, points, labels)
    drawn = min(real.shape[1], MAX_VECTOR_COLUMNS)
    for left, (name, cloud) in zip(
        lefts, {"real": real, "generated": generated}.items(), strict=True
    ):
        axes = figure.add_axes((left, 0.34, width, 0.28))
        matrix = _correlations(cloud[:, :drawn]).numpy()
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axes.set(title=f"correlations of columns: {name}", xlabel="column")
    figure.colorbar(image, cax=figure.add_axes((0.935, 0.34, 0.015, 0.28)), ticks=(-1, 0, 1))
    axes = figure.add_axes((0.09, 0.05, 0.87, 0.22))
    _draw_quantiles(axes, real[:, :drawn], generated[:, :drawn])
    figure.savefig(path, dpi=100, format="png")


def _projected(
    basis: Float[Tensor, "n d"], clouds: Mapping[str, Float[Tensor, "_ d"]]
) -> tuple[dict[str, Float[Tensor, "_ 2"]], tuple[str, str]]:
    """Project vectors onto two axes, and name these.

    Vectors of one number get y = 0; from three numbers on the axes are the first two principal
    components of ``basis``.
    """
    dim = basis.shape[1]
    if dim <= 2:
        padded = {name: functional.pad(cloud, (0, 2 - dim)) for name, cloud in clouds.items()}
        return padded, ("column 0", "column 1" if dim == 2 else "")
    centre = basis.nan_to_num().mean(0)
    _, lengths, components = torch.linalg.svd(basis.nan_to_num() - centre, full_matrices=False)
    shares = lengths.square() / lengths.square().sum().clamp_min(1e-30)
    labels = [f"principal component {i + 1} ({shares[i]:.0%})" for i in range(2)]
    points = {name: (cloud - centre) @ components[:2].T for name, cloud in clouds.items()}
    return points, (labels[0], labels[1])


def _correlations(samples: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Return the correlations of the columns; NaN, drawn blank, for those that are constant."""
    centred = samples.double() - samples.double().mean(0)
    deviations = centred.square().mean(0).sqrt()
    # The mean of equal numbers may miss them by a rounding error.
    is_constant = (samples == samples[:1]).all(0)
    deviations = deviations.masked_fill(is_constant, math.nan)
    return (centred.T @ centred) / len(samples) / torch.outer(deviations, deviations)


def _draw_quantiles(
    axes: "Axes", real: Float[Tensor, "n d"], generated: Float[Tensor, "n d"]
) -> None:
    """Draw the quantiles of each column, in deviations of the real samples from their mean."""
    mean, deviation = real.double().mean(0), real.double().std(0)
    is_constant = (real == real[:1]).all(0)
    columns = torch.arange(real.shape[1])[~is_constant]
    levels = torch.tensor(_QUANTILES, dtype=torch.float64)
    for shift, name, cloud in ((-0.15, "real", real), (0.15, "generated", generated)):
        scaled = ((cloud.double() - mean) / deviation)[:, columns].nan_to_num()
        lowest, low, middle, high, highest = scaled.quantile(levels, 0).numpy()
        x, colour = (columns + shift).numpy(), _COLOURS[name]
        axes.vlines(x, lowest, highest, linewidth=1, color=colour, label=name)
        axes.vlines(x, low, high, linewidth=3, color=colour)
        axes.plot(x, middle, "_", markersize=8, color=colour)
    left_out = int(is_constant.sum())
    note = f"; {left_out} constant in the real samples left out" if left_out else ""
    axes.set(
        title=f"5, 25, 50, 75 and 95% quantiles of columns{note}",
        xlabel="column",
        ylabel="real deviations from the mean",
    )
    axes.legend(loc="upper right", fontsize="small")


def _figure(width: float, height: float) -> "Figure":
    """Make a figure whose parts get fixed places: matplotlib's own layout draws all twice."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=None)
    FigureCanvasAgg(figure)
    return figure


def _scatter(
    points: Mapping[str, Float[Tensor, "_ 2"]], labels: tuple[str, str], file: Path | BinaryIO
) -> None:
    width = 4.0 * len(points)
    figure = _figure(width, 4.0)
    panels = figure.subplots(1, len(points), sharex=True, sharey=True, squeeze=False)[0]
    figure.subplots_adjust(0.75 / width, 0.13, 1 - 0.15 / width, 0.92, wspace=0.08)
    _scatter_into(panels, points, labels)
    figure.savefig(file, dpi=100, format="png")


def _scatter_into(
    panels: Sequence["Axes"], points: Mapping[str, Float[Tensor, "_ 2"]], labels: tuple[str, str]
) -> None:
    """Draw each cloud into a panel of its own; all have the axes that suit the first."""
    first = next(iter(points.values()))
    x_limits, y_limits = (_limits(first[:, axis]) for axis in range(2))
    aspect = "equal" if x_limits == y_limits else "auto"
    for axes, (title, cloud) in zip(panels, points.items(), strict=True):
        axes.plot(cloud[:, 0], cloud[:, 1], "o", markersize=1.7, markeredgewidth=0)
        axes.set(title=title, aspect=aspect, xlim=x_limits, ylim=y_limits, xlabel=labels[0])
    panels[0].set_ylabel(labels[1])


def _limits(values: Float[Tensor, " n"]) -> tuple[float, float]:
    """Return the limits of an axis: fixed for data in [-1, 1], else around most of the values."""
    values = values[values.isfinite()]
    if len(values) == 0 or values.abs().max() <= MAX_COORDINATE:
        return -MAX_COORDINATE, MAX_COORDINATE
    low, high = values.double().quantile(torch.tensor([0.005, 0.995]).double()).tolist()
    margin = 0.1 * (high - low) or 1.0
    return low - margin, high + margin
