"""Show how generated samples differ from real ones, and which training samples they resemble.

What is returned is plain data, to be kept and drawn later without the generator or the data.
"""

import base64
import io
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trainables.data import Data, as_floats, as_tensor
from trainables.diagnostics import MAX_SEARCHED_ELEMENTS, NUM_COMPARED, draw, nearest
from trainables.objective import Generate
from trainables.pictures import save_pairs

#: Columns that are shown, those that differ most; points of each in a figure, and bins.
NUM_COLUMNS, NUM_POINTS, NUM_BINS = 8, 300, 40
#: Columns whose correlations are compared, the ones that differ most.
NUM_CORRELATED = 24
#: Vectors that are drawn as lines, of real and of generated ones each, and positions of a line.
NUM_LINES, MAX_POSITIONS = 12, 200
#: Images whose nearest training images are shown.
NUM_NEIGHBOURS = 12
_DIGITS = 5


def compare(
    generate: Generate, latent_dim: int, data: Data, seed: int, device: torch.device
) -> dict[str, Any]:
    """Compare samples of a generator with unseen real ones; of images, with training images.

    Args:
        generate: Maps latents [batch, latent_dim] to samples [batch, *sample].
        latent_dim: Length of a latent vector.
        data: The data of the search.
        seed: Seed of the latents.
        device: Where to compute.

    Returns:
        Of vectors, those of :func:`compare_vectors`; of images, those of :func:`neighbours`.
    """
    generated = draw(generate, latent_dim, NUM_COMPARED, seed, device).nan_to_num()
    if len(data.sample_shape) == 3:
        most = max(1, MAX_SEARCHED_ELEMENTS // generated[0].numel())
        return neighbours(generated[:NUM_NEIGHBOURS], as_tensor(data.train)[:most].to(device))
    generated, real = generated.cpu().double(), as_tensor(data.final)[:NUM_COMPARED].double()
    if data.scale is not None:
        factor, offset = (torch.from_numpy(v) for v in (data.scale.factor, data.scale.offset))
        generated, real = (samples * factor + offset for samples in (generated, real))
    return compare_vectors(real, generated)


def compare_vectors(real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"]) -> dict[str, Any]:
    """Compare the columns of vectors.

    Returns:
        ``columns``: of those whose distributions differ most, the most first: ``index``,
        ``distance`` (the Wasserstein-1 distance of the column, in standard deviations of the real
        one), ``edges`` of the bins of a histogram, the shares ``real`` and ``generated`` in them,
        and the first ``real_points`` and ``generated_points``. ``correlations``: of pairs of
        columns, their indices and the correlations of the real and of the generated ones.
        ``positions``, ``real_lines`` and ``generated_lines``: whole vectors.
    """
    distances = column_distances(real, generated)
    order = distances.argsort(descending=True, stable=True)
    columns = []
    for index in order[:NUM_COLUMNS].tolist():
        parts = real[:, index], generated[:, index]
        columns.append(
            {
                "index": index,
                "distance": _rounded(distances[index]),
                **_histogram(*parts),
                "real_points": _rounded(parts[0][:NUM_POINTS]),
                "generated_points": _rounded(parts[1][:NUM_POINTS]),
            }
        )
    correlated = order[:NUM_CORRELATED].sort().values
    matrices = [torch.corrcoef(part[:, correlated].T) for part in (real, generated)]
    first, second = torch.triu_indices(len(correlated), len(correlated), 1)
    pairs = []
    if len(correlated) > 1:
        values = torch.stack([matrix[first, second] for matrix in matrices])
        kept = values.isfinite().all(0)  # a column that is constant has no correlations
        pairs = [
            [int(correlated[i]), int(correlated[j]), *_rounded(both)]
            for i, j, both in zip(first[kept], second[kept], values[:, kept].T, strict=True)
        ]
    num = real.shape[1]
    positions = torch.linspace(0, num - 1, min(num, MAX_POSITIONS)).round().long()
    lines = [_rounded(part[:NUM_LINES, positions]) for part in (real, generated)]
    return {
        "kind": "vectors",
        "num_columns": num,
        "columns": columns,
        "correlations": pairs,
        "positions": positions.tolist(),
        "real_lines": lines[0],
        "generated_lines": lines[1],
    }


def column_distances(
    real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"]
) -> Float[Tensor, " d"]:
    """Return the Wasserstein-1 distance of each column, in standard deviations of the real one.

    That of a column that is constant in the real samples is 0.
    """
    num = min(len(real), len(generated))
    sorted_ = [part[:num].sort(0).values for part in (real, generated)]
    spread = real.std(0)
    distance = (sorted_[0] - sorted_[1]).abs().mean(0) / spread
    return torch.where(spread > 0, distance, 0.0).nan_to_num(0.0, 0.0, 0.0)


def _histogram(real: Float[Tensor, " n"], generated: Float[Tensor, " m"]) -> dict[str, Any]:
    """Return the shares in bins; what lies far off the real ones is in the outer bins."""
    low, high = real.min().item(), real.max().item()
    # Of a constant column, too: bins need a width.
    width = max(high - low, 1e-6 * max(1.0, abs(low), abs(high)))
    first = max(min(low, generated.min().item()), low - width)
    last = max(min(max(high, generated.max().item()), high + width), first + width)
    edges = torch.linspace(first, last, NUM_BINS + 1, dtype=torch.float64)
    shares = {}
    for name, values in (("real", real), ("generated", generated)):
        inside = values.clamp(edges[0], edges[-1])
        shares[name] = _rounded(torch.histogram(inside, edges).hist / len(values))
    return {"edges": _rounded(edges), **shares}


def neighbours(generated: Float[Tensor, "n channel height width"], train: Tensor) -> dict[str, Any]:
    """Find the training image nearest to each generated one, by the norm of their difference.

    Returns:
        ``picture``: a PNG in base64, in which each generated image is above its nearest one;
        ``distances``: the norms, in values of pixels in [-1, 1].
    """
    distances, indices = nearest(generated, train)
    out = io.BytesIO()
    save_pairs(generated, as_floats(train[indices.to(train.device)]), out)
    picture = base64.b64encode(out.getvalue()).decode()
    return {"kind": "images", "picture": picture, "distances": _rounded(distances)}


def _rounded(values: Tensor) -> Any:
    if values.ndim:
        return [_rounded(value) for value in values]
    return float(f"{float(values):.{_DIGITS}g}")
