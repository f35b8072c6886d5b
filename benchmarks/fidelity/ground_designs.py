"""Compare designs of the ground metric of images, on batteries and on pools of real trials.

``python -m benchmarks.fidelity.ground_designs --pools FILE[:N]... --batteries FILE...``

A design is the share of each block of the energies in the distance. Every FILE is an ``.npz`` with
``images`` (uint8) and ``labels``. Truths and trials are those of ``image_pools.py``, the
distortions those of the short ``battery.py``; pixels and the shipped design are measured in the
same run. Writes ``GROUNDS.md``; figures are cached by file, trial and level.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.fidelity import battery, image_pools
from benchmarks.fidelity.pools import Member
from trainables.data import Data, as_floats, as_tensor
from trainables.ground import (
    MAX_ELEMENTS_PER_BATCH,
    SHARES,
    OrientedEnergies,
    block_gain,
    spread,
)
from trainables.objective import score

PAGE = Path(__file__).with_name("GROUNDS.md")
#: A reading of these two levels, of which the first should be the lower.
COMPARED = ("checkerboard 0.2", "copies of 1")


@dataclass(frozen=True)
class GroundDesign:
    """The shares of coarse pixels, energies of order 1 and 2, and the high-pass."""

    shares: tuple[float, ...]

    def __str__(self) -> str:
        """Write the design; the cache knows it by this name."""
        return "shares " + " ".join(f"{share:.2f}" for share in self.shares)


SHIPPED = GroundDesign(tuple(SHARES.values()))
DESIGNS = (GroundDesign((0.7, 0.18, 0.11, 0.01)),)


class Blocks:
    """Map images to the blocks of the energies, before these are weighted."""

    def __init__(self, data: Data) -> None:
        shape = data.sample_shape
        self.energies = OrientedEnergies(shape).eval()
        self._size = max(1, MAX_ELEMENTS_PER_BATCH // math.prod(shape))
        self.critic_train, self.critic_eval = (
            self(as_tensor(part)) for part in (data.critic_train, data.critic_eval)
        )
        self.spread = spread(as_floats(as_tensor(data.critic_train)).flatten(1).numpy())

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        """Map images [n, c, h, w] to blocks [n, length]."""
        parts = [self.energies(batch) for batch in as_floats(images).split(self._size)]
        return [torch.cat(blocks) for blocks in zip(*parts, strict=True)]

    def weighted(self, design: GroundDesign) -> Callable[[list[Tensor]], Tensor]:
        """Return the map of blocks to rows [n, length], fitted to the real images."""
        parts = zip(design.shares, self.critic_train, self.energies.lipschitz, strict=True)
        gains = [
            block_gain(share, self.spread, spread(block.numpy()), bound)
            for share, block, bound in parts
        ]
        return lambda blocks: torch.cat(
            [gain * block for gain, block in zip(gains, blocks, strict=True)], 1
        )


def fit_design(design: GroundDesign) -> battery.FitGround:
    """Return a ground metric that the battery can fit."""

    def fit(data: Data) -> battery.Ground:
        blocks = Blocks(data)
        weighted = blocks.weighted(design)
        real = map(weighted, (blocks.critic_train, blocks.critic_eval))
        return battery.Ground(lambda images: weighted(blocks(torch.from_numpy(images))), *real)

    return fit


def measure_pool(path: Path, num_trials: int, cache: Path) -> list[dict[str, Any]]:
    """Score the trials of a pool by every design; what the cache has is not measured again."""
    trials = image_pools.measure(path, num_trials, cache)
    images, members = image_pools.load_pool(path, num_trials, cache)
    blocks: Blocks | None = None
    for trial, member in zip(trials, members, strict=True):
        row = image_pools.Cached(cache / f"ground-{member.fingerprint}.json")
        missing = [design for design in DESIGNS if str(design) not in row.found]
        if missing:
            blocks = blocks or Blocks(images.data)
            generated = _generated(member, blocks)
            for design in missing:
                w1 = _score(blocks.weighted(design), generated, blocks)
                row.keep(str(design), {"w1": w1}, f"{path.stem} {member.name}")
        trial["scores"] |= {str(design): row.found[str(design)]["w1"] for design in DESIGNS}
    return trials


def _generated(member: Member, blocks: Blocks) -> list[Tensor]:
    """Map the samples of both draws of a score, which are the same for all designs."""
    rng = torch.Generator().manual_seed(battery.RUNG.seed + 1)
    parts = []
    for _ in range(2):
        latents = torch.randn(battery.RUNG.num_generated, member.latent_dim, generator=rng)
        parts += [blocks(member.generate(batch)) for batch in latents.split(1024)]
    return [torch.cat(block) for block in zip(*parts, strict=True)]


def _score(
    weighted: Callable[[list[Tensor]], Tensor], generated: list[Tensor], blocks: Blocks
) -> float:
    rows = iter(weighted(generated))

    def draw(latents: Tensor) -> Tensor:
        return torch.stack(list(islice(rows, len(latents))))

    real = (weighted(part) for part in (blocks.critic_train, blocks.critic_eval))
    return score(draw, 1, *real, battery.RUNG).w1


def report_pools(pools: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Write the table of pools: Kendall with two truths, and the ranks of the picks."""
    truths = ("lenet", "efficientnet")
    heads = [
        f"{name}, {len(trials)} trials: {image_pools.NAMES[truth]}"
        for name, trials in pools.items()
        for truth in truths
    ]
    lines = [f"| number | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for number in ("pixels", image_pools.SHIPPED, *map(str, DESIGNS)):
        cells = [_agreement(trials, truth, number) for trials in pools.values() for truth in truths]
        lines.append(f"| {_named(number)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _agreement(trials: Sequence[Mapping[str, Any]], truth: str, number: str) -> str:
    distances = np.array([trial["truths"][truth] for trial in trials])
    values = np.array([trial["scores"][number] for trial in trials])
    return image_pools.agreement_and_pick(distances, values)


def report_batteries(batteries: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the table of batteries."""
    lines = [
        "| images | number | neighbours in order | undisputed pairs in order "
        f"| mixture: largest deviation | Kendall with LeNet-Fréchet | {' | '.join(COMPARED)} |",
        "|---|---|---|---|---|---|" + "---|" * len(COMPARED),
    ]
    for name, found in batteries.items():
        for number in (*battery.GROUNDS, *map(str, DESIGNS)):
            orders = (battery.adjacent(found, number), battery.undisputed(found, number))
            counts = [f"{o.right} of {o.right + len(o.wrong)}" for o in orders]
            readings = [f"{found['levels'][key]['w1'][number]:.3g}" for key in COMPARED]
            cells = [
                *counts,
                f"{battery.mixture_spread(found, number):.0%}",
                f"{battery.kendall(found, number):.2f}",
                *readings,
            ]
            lines.append(f"| {name} | {_named(number)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _named(number: str) -> str:
    is_shipped = number in (image_pools.SHIPPED, battery.SHIPPED)
    return f"{SHIPPED} (energies, as shipped)" if is_shipped else number


def measure_battery(path: Path, cache: Path) -> dict[str, Any]:
    """Measure the levels of a short battery by every design, and by pixels."""
    grounds = {str(design): fit_design(design) for design in DESIGNS}
    found = battery.measure(path, cache, is_short=True, grounds={**battery.GROUNDS, **grounds})
    levels = {k: row for k, row in found["levels"].items() if grounds.keys() <= row["w1"].keys()}
    return {**found, "levels": levels}


INTRODUCTION = """# Designs of the ground metric of images

Made by `python -m benchmarks.fidelity.ground_designs`, with the critics of a rung. A design has the
shares of its blocks in the mean squared distance: coarse pixels, energies of order 1 and of order
2, high-pass. The truths and the trials are those of [POOLS.md](POOLS.md), the distortions those of
[BATTERY.md](BATTERY.md): the ends of each ladder and the levels of undisputed pairs.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all designs, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pools", nargs="+", metavar="FILE[:N]", default=[])
    parser.add_argument("--batteries", nargs="+", type=Path, metavar="FILE", default=[])
    parser.add_argument("--trials", type=int, default=24, help="trials in a pool without N")
    parser.add_argument("--cache", type=Path, default=Path(".fidelity"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    pools = {
        path.stem: measure_pool(path, num or args.trials, args.cache)
        for path, num in map(image_pools.with_number, args.pools)
    }
    batteries = {path.stem: measure_battery(path, args.cache) for path in args.batteries}
    parts = [
        INTRODUCTION,
        "## Pools\n\nKendall with a truth, over the pool and over the half that is best by the "
        "truth, with 95% bootstrap intervals over trials; the true rank of the pick.\n",
        report_pools(pools),
        "## Batteries\n\nTwo levels within two standard errors of their difference are a tie and "
        f"are not counted. A {COMPARED[0]} should read less than {COMPARED[1]}.\n",
        report_batteries(batteries),
    ]
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
