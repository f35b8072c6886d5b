"""Measure whether w1 orders distorted images as people would.

``python -m benchmarks.fidelity.battery FILE...``

Each ladder distorts real images in one way, more at every level, so that its order is beyond
dispute. Their distance from other real images is measured by the critics of a rung, between pixels
and under the ground metric, and by the Fréchet distance in the features of LeNets that were trained
with labels. Each FILE is an ``.npz`` with ``images`` (uint8) and ``labels``. Of those after
``--short`` only the ends of each ladder and the levels of the undisputed pairs are measured. Writes
``BATTERY.md`` and ``battery.png``; figures are cached by file and level.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

from benchmarks.fidelity.distortions import LADDERS, UNDISPUTED, Images, Level
from benchmarks.fidelity.truth import frechet, load_labelled, network_features, train_classifier
from trainables.config import ObjectiveConfig
from trainables.data import Data, split
from trainables.ground import ground_of, with_ground
from trainables.metrics import DEFAULT_GROUND
from trainables.objective import Score, score
from trainables.training import TrainState, train
from tuner.space import Choice, Domain, read_spec

PAGE = Path(__file__).with_name("BATTERY.md")
#: Of photographs alone, in every report on images.
REPORT_PICTURE = Path(__file__).parents[2] / "tuner" / "page" / "template" / "ground.png"
#: The search of which the cost of scoring is measured, and the generator steps that are timed.
SEARCH = Path(__file__).parents[2] / "search_spaces" / "mnist_dcgan.yaml"
TIMED_STEPS = 5
#: The ground metric as it is shipped; its failures are marked.
SHIPPED = DEFAULT_GROUND
RUNG = ObjectiveConfig().rung
#: Images of a level, and LeNets, whose Fréchet distances are averaged.
NUM_IMAGES, NUM_LENETS = 2000, 2
#: The distortions of the picture, as differently judged by pixels and by energies.
SHOWN: tuple[tuple[str, Level], ...] = (
    ("contrast", 0.9), ("shift", 1), ("noise", 0.2), ("two averaged", 0.35),
    ("blur", 1.0), ("PCA", 16), ("rectangles", 0.25), ("patch shuffle", 4),
)  # fmt: skip
#: Images among which those of the picture are distorted: an average of two needs others.
NUM_DRAWN_FROM = 500
MIXTURE = (0.1, 0.25, 0.5, 0.75, 1.0)
#: Largest share of scoring in the CPU time, and deviation in the mixture ladder, to be reached.
MAX_SHARE, MAX_SPREAD = 0.10, 0.05


@dataclass(frozen=True)
class Ground:
    """A map of images to rows, and the real images that it has mapped."""

    map: Callable[[Images], Tensor]
    critic_train: Tensor
    critic_eval: Tensor


#: Fits a ground metric to data.
FitGround = Callable[[Data], Ground]


def shipped_ground(name: str) -> FitGround:
    """Return the ground metric of a name of ``objective.ground``."""

    def fit(data: Data) -> Ground:
        objective = ObjectiveConfig.model_validate({"ground": name})
        data = with_ground(data, objective)
        ground = ground_of(data, objective)

        def mapped(images: Images) -> Tensor:
            samples = torch.from_numpy(images)
            return samples.flatten(1) if ground is None else ground(samples)

        parts = (data.compared.critic_train, data.compared.critic_eval)
        return Ground(mapped, *map(torch.from_numpy, parts))

    return fit


GROUNDS: Mapping[str, FitGround] = {name: shipped_ground(name) for name in ("pixels", SHIPPED)}


class Battery:
    """One file's images: a part that is distorted, and others that it is measured against."""

    def __init__(self, path: Path) -> None:
        images, labels = load_labelled(path)
        order = np.random.default_rng(0).permutation(len(images))
        # As many for the truth, for the critics, and to be distorted.
        lenet, rest = order[: len(order) // 3], order[len(order) // 3 :]
        source, held_out = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        self.source, self.labels = images[source[:NUM_IMAGES]], labels[source[:NUM_IMAGES]]
        self.reference = images[held_out]
        self._labelled = images[lenet], labels[lenet]
        half = len(held_out) * 2 // 3
        parts = (self.source, images[held_out[:half]], images[held_out[half:]], self.source)
        self.data = Data(*parts)

    @cached_property
    def lenets(self) -> list[nn.Sequential]:
        """Train the LeNets of the truth."""
        return [train_classifier(*self._labelled, seed) for seed in range(NUM_LENETS)]

    @cached_property
    def accuracy(self) -> list[float]:
        """Measure the share of the source that each LeNet classifies as it is labelled."""
        images = torch.from_numpy(self.source)
        return [float((net(images).argmax(1).numpy() == self.labels).mean()) for net in self.lenets]

    @cached_property
    def _features(self) -> list[np.ndarray]:
        return [network_features(net, self.reference) for net in self.lenets]

    def distorted(self, name: str, level: Level) -> Images:
        """Return the source at a level of a ladder; ``real`` is the source itself."""
        if name == "real":
            return self.source
        level = {(7, 32): 8, (7, 64): 8}.get((level, self.source.shape[2]), level)
        rng = np.random.default_rng(1)
        return LADDERS[name][0](self.source, self.labels, level, rng).astype(np.float32)

    def frechet(self, images: Images) -> list[float]:
        """Measure the distance of images from the held-out ones, by each LeNet."""
        return [
            frechet(network_features(net, images), features)
            for net, features in zip(self.lenets, self._features, strict=True)
        ]

    def score(
        self, images: Images, ground: Ground, other: Images | None = None, share: float = 0.0
    ) -> Score:
        """Score images, of which a share is replaced by others."""
        rows = ground.map(images)
        others = rows if other is None else ground.map(other)

        def draw(latents: Tensor) -> Tensor:
            uniform, second = torch.special.ndtr(latents).unbind(1)
            chosen = (uniform * len(rows)).long().clamp_max(len(rows) - 1)
            return torch.where((second < share)[:, None], others[chosen], rows[chosen])

        return score(draw, 2, ground.critic_train, ground.critic_eval, RUNG)


def measure(
    path: Path, cache: Path, is_short: bool = False, grounds: Mapping[str, FitGround] = GROUNDS
) -> dict[str, Any]:
    """Measure all levels of a file; what the cache has is not measured again.

    Returns:
        The ``accuracy`` of the LeNets; for each of ``levels`` the ``w1`` and its ``stderr`` by
        ground metric, and the Fréchet distance by each LeNet; the ``mixture`` ladder by ground
        metric. What the cache has of other levels and ground metrics is among it.
    """
    kept = cache / f"battery-{path.stem}.json"
    found = json.loads(kept.read_text()) if kept.exists() else {"levels": {}, "mixture": {}}
    battery = Battery(path)
    fitted: dict[str, Ground] = {}

    def ground(name: str) -> Ground:
        if name not in fitted:
            fitted[name] = grounds[name](battery.data)
        return fitted[name]

    for name, level in _levels(is_short):
        key = f"{name} {level}"
        row = found["levels"].get(key, {"w1": {}, "stderr": {}})
        missing = [g for g in grounds if g not in row["w1"]]
        if not missing and "frechet" in row:
            continue
        images = battery.distorted(name, level)
        for g in missing:
            estimate = battery.score(images, ground(g))
            row["w1"][g], row["stderr"][g] = estimate.w1, estimate.w1_stderr
        if "frechet" not in row:
            row["frechet"] = battery.frechet(images)
        found["levels"][key] = row
        _keep(kept, found, f"{path.stem} {key}: {row}")
    if "accuracy" not in found:
        found["accuracy"] = battery.accuracy
    for name in grounds:
        if name in found["mixture"]:
            continue
        other = battery.distorted("patch shuffle", 4)
        readings = [
            battery.score(battery.source, ground(name), other, share).w1 for share in MIXTURE
        ]
        found["mixture"][name] = readings
        _keep(kept, found, f"{path.stem} mixture, {name}: {readings}")
    return found


def _levels(is_short: bool = False) -> list[tuple[str, Level]]:
    """Return the levels to measure, by their ladders; the first is no distortion."""
    undisputed = {level for pair in UNDISPUTED for level in pair}
    levels: list[tuple[str, Level]] = [("real", 0)]
    for name, (_, ladder) in LADDERS.items():
        kept = {ladder[0], ladder[-1], *(level for other, level in undisputed if other == name)}
        levels += [(name, level) for level in ladder if level in kept or not is_short]
    return levels


def cost(path: Path) -> str:
    """Measure the CPU time of scoring at the first rung of a search of images, beside training."""
    spec = read_spec(SEARCH)
    config = spec.trial_config(spec.choose(lambda key, domain: _lowest(domain)), seed=0)
    images, _ = load_labelled(path)
    data = split(images, np.random.default_rng(0))
    state = TrainState.create(config, data.sample_shape)
    started_s = time.process_time()
    list(train(state, config.training, torch.from_numpy(data.train), [TIMED_STEPS]))
    rung = spec.asha.rungs[0]
    training_s = (time.process_time() - started_s) / TIMED_STEPS * rung
    shares, map_ms = [], 0.0
    for ground in GROUNDS:
        objective = ObjectiveConfig.model_validate({"ground": ground})
        mapped = with_ground(data, objective)
        found = ground_of(mapped, objective)
        parts = (mapped.compared.critic_train, mapped.compared.critic_eval)
        parts = [torch.from_numpy(part) for part in parts]
        if found is not None:
            images_s = time.process_time()
            found(torch.from_numpy(images))
            map_ms = (time.process_time() - images_s) / len(images) * 1e3
        started_s = time.process_time()
        score(state.scored, state.latent_dim, *parts, objective.rung, found)
        seconds = time.process_time() - started_s
        share = seconds / (training_s + seconds)
        marked = _marked(f"{share:.1%}", share > MAX_SHARE, ground)
        shares.append(f"{ground} {seconds:.1f} s ({marked})")
    return (
        f"CPU time at the first rung of `{SEARCH.name}`, at the low end of its ranges, on "
        f"{path.stem}: {training_s:.0f} s of training to step {rung} (from {TIMED_STEPS} steps); "
        f"scoring by {', by '.join(shares)} of both; the target is {MAX_SHARE:.0%}. The map takes "
        f"{map_ms:.2g} ms an image of {' x '.join(map(str, images.shape[1:]))}."
    )


def _lowest(domain: Domain) -> Any:
    return domain.choice[0] if isinstance(domain, Choice) else domain.low


def _keep(path: Path, found: Mapping[str, object], text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Order:
    """How many of some pairs are in order, those that are not in words, and how many are ties.

    The pairs whose readings are within two standard errors of their difference are ties.
    """

    right: int
    wrong: list[str]
    ties: int


def adjacent(found: Mapping, ground: str) -> Order:
    """Compare the neighbouring levels of all ladders; ties are neither right nor wrong."""
    right, wrong, ties = 0, [], 0
    for name, (_, levels) in LADDERS.items():
        keys = [key for level in levels if (key := f"{name} {level}") in found["levels"]]
        for near, far in pairwise(keys):
            gap, is_tie = _gap(found, ground, near, far)
            ties += is_tie
            right += gap > 0 and not is_tie
            wrong += [f"{near} over {far}"] if gap <= 0 and not is_tie else []
    return Order(right, wrong, ties)


def undisputed(found: Mapping, ground: str) -> Order:
    """Compare the undisputed pairs; ties are right or wrong, too."""
    pairs = [tuple(f"{name} {level}" for name, level in pair) for pair in UNDISPUTED]
    gaps = [_gap(found, ground, near, far) for near, far in pairs]
    wrong = [
        f"{near} over {far}" for (near, far), (gap, _) in zip(pairs, gaps, strict=True) if gap <= 0
    ]
    return Order(len(pairs) - len(wrong), wrong, sum(is_tie for _, is_tie in gaps))


def _gap(found: Mapping, ground: str, near: str, far: str) -> tuple[float, bool]:
    """Return by how much a level reads more than another, and whether they are a tie."""
    first, second = found["levels"][near], found["levels"][far]
    gap = second["w1"][ground] - first["w1"][ground]
    error = math.hypot(first["stderr"][ground], second["stderr"][ground])
    return gap, abs(gap) <= 2 * error


def mixture_spread(found: Mapping, ground: str) -> float:
    """Return the largest deviation of estimate / weight from that at weight 1."""
    readings = found["mixture"][ground]
    return max(abs(w1 / a / readings[-1] - 1) for a, w1 in zip(MIXTURE, readings, strict=True))


def kendall(found: Mapping, ground: str) -> float:
    """Return Kendall's tau with the mean LeNet-Fréchet distance, over all levels."""
    rows = [row for key, row in found["levels"].items() if key != "real 0"]
    truths = [np.log(row["frechet"]).mean() for row in rows]
    return float(kendalltau(truths, [row["w1"][ground] for row in rows])[0])


def report(results: Mapping[str, Mapping]) -> str:
    """Write the page."""
    shortened = [n for n, found in results.items() if len(found["levels"]) < len(_levels())]
    short = [f"Only the ends and the undisputed pairs of {', '.join(shortened)}.", ""]
    lines = [
        "# A battery of distortions",
        "",
        "Made by `python -m benchmarks.fidelity.battery`, with the critics of a rung. "
        f"{len(_levels()) - 1} levels of {len(LADDERS)} ladders. Two levels within two "
        "standard errors of their difference are a tie; neighbours that tie are not counted. What "
        "a shift brings in is the mirror image of what it moves.",
        "",
        *(short if shortened else []),
        "## Against the targets",
        "",
        "All pairs should be in order, and estimate / weight of the mixture ladder should be "
        f"constant within {MAX_SPREAD:.0%}. What misses that under the shipped ground metric, "
        "energies, is in bold.",
        "",
        "| images | LeNets: right | Kendall between LeNets | ground | neighbours in order "
        "| out of order | ties | undisputed pairs in order | out of order | of all, ties "
        "| mixture: largest deviation | Kendall with LeNet-Fréchet |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        truths = np.array([r["frechet"] for k, r in found["levels"].items() if k != "real 0"])
        between = kendalltau(truths[:, 0], truths[:, 1])[0]
        right = ", ".join(f"{a:.1%}" for a in found["accuracy"])
        for ground in GROUNDS:
            neighbours, pairs = adjacent(found, ground), undisputed(found, ground)
            spread = mixture_spread(found, ground)
            deviation = _marked(f"{spread:.0%}", spread > MAX_SPREAD, ground)
            lines.append(
                f"| {name} | {right} | {between:.2f} | {ground} | {_counted(neighbours, ground)} | "
                f"{', '.join(neighbours.wrong)} | {neighbours.ties} | {_counted(pairs, ground)} | "
                f"{', '.join(pairs.wrong)} | {pairs.ties} | {deviation} | "
                f"{kendall(found, ground):.2f} |"
            )
    for name, found in results.items():
        lines += ["", f"## {name}", "", "| level | pixels | energies | LeNet-Fréchet |"]
        lines.append("|---|---|---|---|")
        for key, row in found["levels"].items():
            w1 = " | ".join(f"{row['w1'][g]:.3g} ± {2 * row['stderr'][g]:.1g}" for g in GROUNDS)
            lines.append(f"| {key} | {w1} | {np.exp(np.log(row['frechet']).mean()):.3g} |")
    return "\n".join(lines) + "\n"


def _counted(order: Order, ground: str) -> str:
    text = f"{order.right} of {order.right + len(order.wrong)}"
    return _marked(text, bool(order.wrong), ground)


def _marked(text: str, is_missed: bool, ground: str) -> str:
    return f"**{text}**" if is_missed and ground == SHIPPED else text


def draw(sets: Sequence[tuple[Path, Mapping]], picture: Path) -> None:
    """Draw a distorted image of each set in the order of pixels, and in that of the energies."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.2 + 1.75 * len(GROUNDS) * len(sets)), layout="constrained")
    parts = figure.subfigures(len(sets), squeeze=False)[:, 0]
    for part, (path, found) in zip(parts, sets, strict=True):
        images, labels = load_labelled(path)
        chosen = np.random.default_rng(0).permutation(len(images))[:NUM_DRAWN_FROM]
        images, labels = images[chosen], labels[chosen]
        distorted = {
            (name, level): LADDERS[name][0](images, labels, level, np.random.default_rng(1))[0]
            for name, level in SHOWN
        }
        for axes, ground in zip(part.subplots(len(GROUNDS), len(SHOWN) + 1), GROUNDS, strict=True):
            w1 = {s: found["levels"][f"{s[0]} {s[1]}"]["w1"][ground] for s in SHOWN}
            _show(axes[0], images[0], "real")
            axes[0].set_ylabel(f"{ground}:\nnear to far")
            for ax, shown in zip(axes[1:], sorted(SHOWN, key=w1.__getitem__), strict=True):
                name, level = shown
                _show(ax, distorted[shown], f"{name} {level}\nw1 {w1[shown]:.2g}")
    figure.savefig(picture, dpi=100)


def _show(ax: Any, image: np.ndarray, title: str) -> None:
    image = image.clip(-1, 1) / 2 + 0.5
    grey = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    ax.imshow(grey, cmap="gray", vmin=0, vmax=1)
    ax.set_title(title, fontsize=8)
    ax.set(xticks=[], yticks=[])


def _pictured(paths: Sequence[Path], results: Mapping[str, Mapping]) -> list[tuple[Path, Mapping]]:
    """Return the first set of grey images and the first in colour."""
    by_channels = {load_labelled(path)[0].shape[1]: path for path in reversed(paths)}
    return [(path, results[path.stem]) for _, path in sorted(by_channels.items())]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--short", nargs="+", type=Path, metavar="FILE", default=[])
    parser.add_argument("--cache", type=Path, default=Path(".fidelity"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    results = {path.stem: measure(path, args.cache) for path in args.files}
    results |= {path.stem: measure(path, args.cache, is_short=True) for path in args.short}
    page = f"{report(results)}\n## Cost\n\n{cost(args.files[0])}\n"
    PAGE.write_text(page, encoding="utf-8")
    pictured = _pictured(args.files, results)
    draw(pictured, PAGE.with_name("battery.png"))
    draw(pictured[-1:], REPORT_PICTURE)
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
