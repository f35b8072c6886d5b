"""The ground metric: in which space the independent critics measure the distance of two samples.

Vectors are compared as they are. Images are first mapped by fixed features, because between raw
pixels a blurred average of real images is nearer to them than they are to each other (Stanczuk
2021, arXiv 2103.01678), under any linear map. The distance between features is a ground metric as
good as any norm for a Wasserstein GAN (Adler & Lunz 2018, arXiv 1806.06621).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast, final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from trainables.config import ObjectiveConfig
from trainables.data import Data, MappedParts, as_floats, as_tensor
from trainables.networks import BadNetwork, build_extractor, in_one_line
from trainables.training import seeded

#: The share of each block of :class:`OrientedEnergies` in the mean squared distance from the mean.
SHARES = {"coarse": 0.55, "order 1": 0.25, "order 2": 0.15, "high-pass": 0.05}
#: A block is not amplified further: one in which real images hardly differ would be mostly noise.
MAX_BLOCK_LIPSCHITZ = 64.0
#: Numbers of a batch that is mapped at once, in the images. Larger ones leave the CPU's cache.
MAX_ELEMENTS_PER_BATCH = 2**18
#: Images of which the check of a custom extractor measures the Lipschitz constant, and the size of
#: the noise that is added to them, relative to their distance.
NUM_CHECKED, CHECKED_NOISE = 64, (1e-2, 1e-1)

#: Width, wavelength and standard deviation of the filters, in pixels.
_WIDTH, _WAVELENGTH, _SIGMA = 7, 4.0, 1.8
_LOW_PASS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
#: Before every second pixel is left out; of even length, for the centre of two pixels.
_HALVING = (1 / 8, 3 / 8, 3 / 8, 1 / 8)
#: Luminance first, then two differences of colours; normalised, distances stay as they are.
_OPPONENT = ((1, 1, 1), (1, -1, 0), (1, 1, -2))


class Extractor(nn.Module):
    """A fixed map of samples [n, *sample_shape] to blocks of features, each [n, length].

    Attributes:
        shares: The share of each block in the mean squared distance of real samples from their
            mean.
        lipschitz: An upper bound of each block's Lipschitz constant; infinite if there is none.
    """

    shares: tuple[float, ...]
    lipschitz: tuple[float, ...]


@final
class OrientedEnergies(Extractor):
    """Coarse pixels, and how much of each orientation and scale there is at each place.

    A scattering network of two orders (Bruna & Mallat 2013, arXiv 1203.1513) with blocks of fixed
    weight. With J = log2(side) - 3 scales, at least 2 and at most 4, the blocks are:

    - coarse: the image, averaged to a grid of 7x7 or 8x8.
    - order 1: at each scale, the modulus of four quadrature pairs of 7x7 Gabor filters on the
      image that was low-passed and halved as often, averaged to the grid. Differences of colours
      only have those of the coarser scales, on a grid of 4x4.
    - order 2: the same filters at every coarser scale on each of these maps of the luminance,
      averaged to 4x4.
    - high-pass: the moduli of Haar's diagonal detail and of the image less its low-pass, averaged
      to the grid. The Gabor filters do not see a checkerboard.

    Every border is a mirror. The set of filters equals its mirror images, so that the Lipschitz
    constant of each stage is the largest sum over the filters of their squared Fourier transforms.
    """

    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        """Expect images [channels, height, width] with sides of at least 8."""
        super().__init__()
        channels, *sides = sample_shape
        self._num_scales = min(max(int(math.log2(min(sides))) - 3, 2), 4)
        self._grid = 7 if min(sides) % 7 == 0 and min(sides) % 8 else 8
        self._sides = [sides]
        while len(self._sides) < self._num_scales:
            self._sides.append([-(-side // 2) for side in self._sides[-1]])
        opponent = functional.normalize(torch.tensor(_OPPONENT, dtype=torch.float64))
        self._add("opponent", opponent if channels == 3 else torch.eye(channels))
        envelope, *waves = _filters()
        for side in {side for sides in self._sides for side in sides}:
            low_pass = _mirrored(side, torch.tensor(_LOW_PASS))
            self._add(f"low_pass_{side}", low_pass.T)
            self._add(f"halve_{side}", _mirrored(side, torch.tensor(_HALVING))[::2].T)
            filters = [_mirrored(side, taps).T for taps in (envelope, *waves)]
            self._add(f"filters_{side}", torch.cat(filters, 1))
            for grid in {min(self._grid, side), min(4, side)}:
                self._add(f"pool_{side}_{grid}", _averages(side, grid).T)
        for side in {side // 2 for side in sides}:
            self._add(f"pool_{side}_{min(self._grid, side)}", _averages(side, self._grid).T)
        self.shares = tuple(SHARES.values())
        self.lipschitz = self._lipschitz()

    def _add(self, name: str, matrix: Tensor) -> None:
        self.register_buffer(name, matrix.float().contiguous())

    def forward(self, samples: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n _"], ...]:
        """Map images to the four blocks."""
        samples = torch.einsum("dc,nchw->ndhw", self.opponent, samples)
        luminance, chroma = samples[:, :1], samples[:, 1:]
        orders: tuple[list[Tensor], list[Tensor]] = [], []
        for scale, low in enumerate(self._pyramid(luminance, self._num_scales)):
            energies = self._energies(low)
            orders[0].append(self._pool(energies, self._grid))
            coarser = self._pyramid(energies, self._num_scales - scale)[1:]
            orders[1].extend(self._pool(self._energies(maps), 4) for maps in coarser)
        if chroma.shape[1]:
            coarser = self._pyramid(chroma, self._num_scales)[1:]
            orders[0].extend(self._pool(self._energies(maps), 4) for maps in coarser)
        residue = (luminance - self._separable(luminance, "low_pass")).abs()
        high = [self._pool(maps, self._grid) for maps in (residue, _haar(luminance).abs())]
        coarse = [self._pool(samples, self._grid)]
        blocks = (coarse, *orders, high)
        return tuple(torch.cat([part.flatten(1) for part in block], 1) for block in blocks)

    def _pyramid(self, images: Tensor, num_scales: int) -> list[Tensor]:
        """Return the images and their low-passed halves, of so many scales."""
        scales = [images]
        while len(scales) < num_scales:
            scales.append(self._separable(scales[-1], "halve"))
        return scales

    def _energies(self, images: Tensor) -> Tensor:
        """Return the moduli of all orientations: [n, c, h, w] to [n, c * orientations, h, w].

        As the envelope of the filters is round, they are sums of products of a filter along the
        rows and one along the columns: by matrices, much faster than convolutions of one channel.
        """
        height, width = images.shape[2:]
        rows = images @ self.get_buffer(f"filters_{width}")
        envelope, *waves = rows.unflatten(-1, (-1, width)).unbind(-2)
        g, *along = self.get_buffer(f"filters_{height}").unflatten(1, (-1, height)).unbind(1)

        def filtered(maps: Tensor, matrix: Tensor) -> Tensor:
            return (maps.mT @ matrix).mT

        c, s, cd, sd = waves
        upright = _modulus(filtered(c, g), filtered(s, g))
        level = _modulus(*(filtered(envelope, wave) for wave in along[:2]))
        cc, ss = filtered(cd, along[2]), filtered(sd, along[3])
        sc, cs = filtered(sd, along[2]), filtered(cd, along[3])
        falling, rising = _modulus(cc - ss, sc + cs), _modulus(cc + ss, sc - cs)
        return torch.stack([upright, rising, level, falling], 2).flatten(1, 2)

    def _separable(self, images: Tensor, name: str) -> Tensor:
        """Multiply the rows and the columns by the matrices of a name."""
        height, width = images.shape[2:]
        rows = images @ self.get_buffer(f"{name}_{width}")
        return (rows.mT @ self.get_buffer(f"{name}_{height}")).mT

    def _pool(self, maps: Tensor, grid: int) -> Tensor:
        """Average over the cells of a grid, of at most so many cells a side."""
        height, width = maps.shape[2:]
        rows = maps @ self.get_buffer(f"pool_{width}_{min(grid, width)}")
        return (rows.mT @ self.get_buffer(f"pool_{height}_{min(grid, height)}")).mT

    def _lipschitz(self) -> tuple[float, ...]:
        """Bound each block's Lipschitz constant by sums of products of the stages' constants."""
        gain = _largest_response()
        sides, grid = self._sides, self._grid
        order_1 = order_2 = 0.0
        for scale, scaled in enumerate(sides):
            # Luminance and differences of colours together have the images' squared distance.
            order_1 += gain * max(self._pool_gain(scaled, grid), self._pool_gain(scaled, 4))
            order_2 += sum(gain**2 * self._pool_gain(s, 4) for s in sides[scale + 1 :])
        halves = [side // 2 for side in sides[0]]
        high = self._pool_gain(sides[0], grid) + self._pool_gain(halves, grid)
        return tuple(map(math.sqrt, (self._pool_gain(sides[0], grid), order_1, order_2, high)))

    def _pool_gain(self, sides: Sequence[int], grid: int) -> float:
        """Return the squared norm of the averages over cells."""
        matrices = (self.get_buffer(f"pool_{side}_{min(grid, side)}") for side in sides)
        return math.prod(float(torch.linalg.matrix_norm(m.double(), 2)) ** 2 for m in matrices)


@final
class Whole(Extractor):
    """A custom extractor as one block."""

    def __init__(self, network: nn.Module) -> None:
        """Expect a network from samples [n, *sample_shape] to features [n, ...]."""
        super().__init__()
        self.network = network
        self.shares, self.lipschitz = (1.0,), (math.inf,)

    def forward(self, samples: Float[Tensor, "n *sample"]) -> tuple[Float[Tensor, "n _"], ...]:
        """Map samples to one block."""
        return (self.network(samples).flatten(1),)


@final
class Ground(nn.Module):
    """Map samples [n, *sample_shape] to [n, d], between which the L2 norm is the ground metric."""

    def __init__(
        self, extractor: Extractor, gains: Sequence[float], sample_shape: tuple[int, ...]
    ) -> None:
        """Expect a factor for each block of the extractor, and the shape of a sample."""
        super().__init__()
        self.sample_shape = sample_shape
        self._extractor = extractor
        self._gains = tuple(gains)

    @torch.no_grad()
    def forward(self, samples: Float[Tensor, "n *sample"]) -> Float32[Tensor, "n d"]:
        """Map samples, in batches of fixed size."""
        size = max(1, MAX_ELEMENTS_PER_BATCH // math.prod(samples.shape[1:]))
        return torch.cat([self._map(batch) for batch in samples.split(size)])

    @torch.no_grad()
    def lengths(self) -> list[int]:
        """Return the number of features in each block."""
        return [block.shape[1] for block in self._extractor(torch.zeros(1, *self.sample_shape))]

    def _map(self, samples: Tensor) -> Tensor:
        blocks = self._extractor(samples)
        return torch.cat([b * gain for b, gain in zip(blocks, self._gains, strict=True)], 1)


def with_ground(data: Data, objective: ObjectiveConfig) -> Data:
    """Map the real samples that score trials, once; return the data with them as ``mapped``.

    The factors of the blocks are those by which ``data.critic_train`` has the same mean squared
    distance from its mean as between pixels, in the blocks' shares. So they depend on real samples
    alone, and the unit stays the L2 norm of a sample.

    Args:
        data: The data. Vectors are returned as they are, and so are small images, and all data
            under ``ground: pixels``.
        objective: The objective, of which the ground metric is used.

    Raises:
        BadNetwork: if a custom extractor cannot be built.
    """
    name = objective.ground_of(data.sample_shape)
    if name is None:
        return replace(data, mapped=None)
    if data.mapped is not None and data.mapped.ground == name:
        return data
    extractor = _extractor(objective, data.sample_shape)
    plain = Ground(extractor, [1.0] * len(extractor.shares), data.sample_shape)
    critic_train = _map_part(plain, data.critic_train)
    lengths = plain.lengths()
    blocks = np.split(critic_train, np.cumsum(lengths)[:-1], axis=1)
    size = spread(as_floats(as_tensor(data.critic_train)).flatten(1).numpy())
    gains = [
        block_gain(share, size, spread(block), bound)
        for share, block, bound in zip(extractor.shares, blocks, extractor.lipschitz, strict=True)
    ]
    critic_train *= np.repeat(np.asarray(gains, np.float32), lengths)
    ground = Ground(extractor, gains, data.sample_shape)
    critic_eval, final = (_map_part(ground, part) for part in (data.critic_eval, data.final))
    bounds = (gain * bound for gain, bound in zip(gains, extractor.lipschitz, strict=True))
    lipschitz = math.hypot(*bounds)
    mapped = MappedParts(critic_train, critic_eval, final, name, tuple(gains), lipschitz)
    return replace(data, mapped=mapped)


def ground_of(
    data: Data, objective: ObjectiveConfig, device: torch.device | str = "cpu"
) -> Ground | None:
    """Build the map of generated samples for data from :func:`with_ground`; ``None``: none.

    Raises:
        BadNetwork: if a custom extractor cannot be built.
    """
    if data.mapped is None:
        return None
    extractor = _extractor(objective, data.sample_shape)
    return Ground(extractor, data.mapped.gains, data.sample_shape).to(device)


def check_ground(data: Data, objective: ObjectiveConfig) -> str | None:
    """Check a custom extractor on real samples, before a search starts.

    Returns:
        A line about its features; ``None`` without a custom extractor.

    Raises:
        BadNetwork: if it cannot be built or called, if its features are not one finite float32
            tensor with a row for each sample, or if they depend on chance or on the other samples.
    """
    if objective.features is None:
        return None
    extractor = cast(Whole, _extractor(objective, data.sample_shape))
    samples = as_floats(as_tensor(data.critic_train[:NUM_CHECKED]))
    features = _checked_features(extractor, samples)
    if not torch.equal(features, _checked_features(extractor, samples)):
        raise _bad("must map equal samples to equal features, got others at a second call")
    again = cast(Whole, _extractor(objective, data.sample_shape))
    if not torch.equal(features, _checked_features(again, samples)):
        raise _bad("must map equal samples to equal features, got others from a second instance")
    half = _checked_features(extractor, samples[: len(samples) // 2])
    if not torch.allclose(half, features[: len(half)], rtol=1e-3, atol=1e-5):
        raise _bad("must map each sample by itself, but its features depend on the whole batch")
    slope = _largest_slope(extractor, samples, features)
    if not 0 < slope < math.inf:
        raise _bad("must map different samples to different features, got equal ones")
    return (
        f"features: {objective.features} maps a sample to {features.shape[1]} numbers; largest "
        f"ratio of distances {slope:.3g} between {len(samples)} real samples and noisy copies, "
        "before scaling"
    )


def _extractor(objective: ObjectiveConfig, sample_shape: tuple[int, ...]) -> Extractor:
    if objective.features is None:
        return OrientedEnergies(sample_shape).eval()
    with seeded(0):  # where its weights are random, they are the same in every process
        return Whole(build_extractor(objective.features, sample_shape)).eval()


def _bad(text: str) -> BadNetwork:
    return BadNetwork("features", f"the extractor of features {text}")


@torch.no_grad()
def _checked_features(extractor: Whole, samples: Tensor) -> Tensor:
    try:
        features = extractor.network(samples)
    except Exception as error:
        shape = tuple(samples.shape)
        raise _bad(
            f"must accept samples of shape {shape}, but raised {in_one_line(error)}"
        ) from error
    if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != len(samples):
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise _bad(f"must return one tensor [{len(samples)}, length], got {got}")
    if features.dtype != torch.float32:
        raise _bad(f"must return torch.float32, got {features.dtype}")
    if not features.isfinite().all():
        raise _bad("must return finite numbers, got nan or inf for real samples")
    return features.flatten(1)


def _largest_slope(extractor: Whole, samples: Tensor, features: Tensor) -> float:
    """Measure the largest ratio of distances between features and between samples."""
    rng = torch.Generator().manual_seed(0)
    flat = samples.flatten(1)
    sizes = torch.pdist(flat)
    ratios = [(torch.pdist(features) / sizes)[sizes > 0]]
    for share in CHECKED_NOISE:
        noise = torch.randn(samples.shape, generator=rng)
        noise *= share * sizes.mean() / math.sqrt(flat.shape[1])
        moved = _checked_features(extractor, samples + noise) - features
        ratios.append(moved.norm(dim=1) / noise.flatten(1).norm(dim=1))
    return max(float(r.max()) for r in ratios if len(r))


def _map_part(ground: Ground, part: np.ndarray) -> np.ndarray:
    size = max(1, MAX_ELEMENTS_PER_BATCH // math.prod(part.shape[1:]))
    batches = as_tensor(part).split(size)
    return np.concatenate([ground(as_floats(batch)).numpy() for batch in batches])


def spread(rows: np.ndarray) -> float:
    """Return the mean squared distance of rows from their mean."""
    return float(rows.var(axis=0, dtype=np.float64).sum())


def block_gain(share: float, samples: float, block: float, bound: float) -> float:
    """Return the factor of a block, from the spreads of the samples and of the block."""
    largest = MAX_BLOCK_LIPSCHITZ / bound if bound < math.inf else 1.0
    gain = math.sqrt(share * samples / block) if block > 0 else math.inf
    return gain if bound == math.inf and block > 0 else min(gain, largest)


def _filters() -> Float[Tensor, "5 width"]:
    """Return the filters along one axis: the envelope, and a cosine and a sine for each of two.

    The first two are those of the orientations along the axes, the others of the diagonals. All
    four waves have mean 0, and so have the filters of images that are made of them. The squares of
    each quadrature pair of the latter sum to 1.
    """
    at = torch.arange(_WIDTH, dtype=torch.float64) - _WIDTH // 2
    envelope = torch.exp(-(at**2) / (2 * _SIGMA**2))
    filters = [envelope / envelope.norm()]
    for wavelength in (_WAVELENGTH, _WAVELENGTH * math.sqrt(2)):
        phase = 2 * math.pi / wavelength * at
        cosine = envelope * phase.cos()
        cosine -= envelope * (cosine.sum() / envelope.sum())
        pair = torch.stack([cosine, envelope * phase.sin()])
        filters.extend(pair / pair.norm())
    return torch.stack(filters)


def _largest_response() -> float:
    """Return the largest sum over all filters of images of their squared Fourier transforms.

    It is computed on a grid of frequencies so fine that the error is below a thousandth, which is
    added.
    """
    g, c, s, cd, sd = torch.fft.fft(_filters(), n=256).abs().square()
    # cc - ss and cc + ss together have twice the squares of cc and ss, and so on.
    axes, diagonals = c + s, cd + sd
    total = torch.outer(g, axes) + torch.outer(axes, g) + 2 * torch.outer(diagonals, diagonals)
    return 1.001 * float(total.max())


def _mirrored(side: int, taps: Tensor) -> Float[Tensor, "side side"]:
    """Return the matrix of a correlation whose borders are mirrors, which repeat the last pixel."""
    columns = torch.arange(side)[:, None] + torch.arange(len(taps)) - (len(taps) - 1) // 2
    columns %= 2 * side
    columns = torch.minimum(columns, 2 * side - 1 - columns)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    return matrix.scatter_add_(1, columns, taps.double().expand(side, -1))


def _averages(side: int, grid: int) -> Float[Tensor, "grid side"]:
    """Return the matrix of the averages over ``grid`` cells, or over as many as there are."""
    eye = torch.eye(side, dtype=torch.float64)[None]
    return functional.adaptive_avg_pool1d(eye, min(grid, side))[0].T


def _modulus(even: Tensor, odd: Tensor) -> Tensor:
    # torch.hypot takes ten times as long; both arguments are used up.
    return even.square_().add_(odd.square_()).sqrt_()


def _haar(images: Tensor) -> Tensor:
    """Return Haar's diagonal detail of each 2x2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in images.shape[2:])
    top, bottom = images[:, :, :height:2, :width], images[:, :, 1:height:2, :width]
    detail = top - bottom
    return (detail[..., ::2] - detail[..., 1::2]) / 2
