"""Measure how well w1 ranks real trials on images: ``python -m benchmarks.fidelity.image_pools``.

Each FILE is an ``.npz`` with ``images`` (uint8) and ``labels``. A third of its images trains LeNets
by their labels, a sixth is what these truths compare with, and the other half is the data of a
search. Trains a pool of trials on it, judges them by truths that no critic enters, and writes to
``POOLS.md`` how far the truths agree with each other and with the numbers that might rank the
trials. FILE:N has a pool of N trials. All is cached, so that an interrupted run resumes.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import ot
import torch
from scipy.stats import kendalltau, rankdata

from benchmarks.fidelity import imagenet
from benchmarks.fidelity.pools import Member, pool
from benchmarks.fidelity.ranking import kendall_best_half, with_interval
from benchmarks.fidelity.truth import (
    exact_w1,
    frechet,
    load_labelled,
    network_features,
    sampler,
    train_classifier,
)
from trainables.config import ObjectiveConfig
from trainables.data import Data, as_tensor, split
from trainables.ground import ground_of, with_ground
from trainables.objective import score

PAGE = Path(__file__).with_name("POOLS.md")
NUM_LENETS = 2
#: Generated samples for the LeNets, and for the truths that cost more.
NUM_SAMPLES, NUM_COSTLY = 4000, 700
OWN, SHIPPED = "own critic's estimate", "energies (as shipped)"
OBJECTIVES: Mapping[str, Mapping[str, Any]] = {
    "pixels": {"ground": "pixels"},
    SHIPPED: {},
    "random convolutions": {"features": "benchmarks.fidelity.designs:RandomConvolutions"},
}
#: What is to be reached, or the agreement of the two truths less the second number.
TARGETS = {"pool": (0.85, 0.03), "best half": (0.75, 0.05)}
#: The trial that a number picks should be among so many that are best by the truth.
BEST_RANKS = 2
NAMES = {
    "lenet": "LeNet-Fréchet",
    "efficientnet": "EfficientNet-Fréchet",
    "kid": "EfficientNet-KID",
    "coverage": "1 - coverage",
    "w1": "exact pixel W1",
    "sliced": "sliced pixel W1",
}


@dataclass(frozen=True)
class Images:
    """The parts of a file: for the classifiers, for the truths, and for the search.

    ``searched`` are the images of ``data``, as they are in the file.
    """

    labelled: tuple[np.ndarray, np.ndarray]
    reference: np.ndarray
    data: Data
    searched: np.ndarray

    @classmethod
    def load(cls, path: Path) -> "Images":
        """Load a file and split it."""
        images, labels = load_labelled(path)
        order = np.random.default_rng(0).permutation(len(images))
        cut = [len(order) // 3, len(order) // 2]
        lenet, reference, rest = np.split(order, cut)
        data = split(images[rest], np.random.default_rng(0))
        with np.load(path) as file:
            searched = file["images"][rest]
        return cls((images[lenet], labels[lenet]), images[reference], data, searched)


class Truths:
    """Distances of generators from the reference images; the constructor trains the LeNets."""

    def __init__(self, images: Images) -> None:
        self._reference = images.reference
        self._lenets = [train_classifier(*images.labelled, seed) for seed in range(NUM_LENETS)]
        self._lenet_features = [network_features(net, images.reference) for net in self._lenets]
        self._network = imagenet.build_network()
        self._features = imagenet.features(self._network, images.reference[:NUM_COSTLY])

    def __call__(self, images: np.ndarray) -> dict[str, float]:
        """Judge images by all truths; lower is better."""
        lenet = [
            frechet(network_features(net, images), features)
            for net, features in zip(self._lenets, self._lenet_features, strict=True)
        ]
        features = imagenet.features(self._network, images[:NUM_COSTLY])
        num = min(NUM_COSTLY, len(self._reference), len(images))
        rows = [part[:num].reshape(num, -1).astype(float) for part in (self._reference, images)]
        return {
            "lenet": float(np.exp(np.mean(np.log(lenet)))),
            "efficientnet": imagenet.frechet(features, self._features),
            "kid": imagenet.kernel_distance(features, self._features),
            "coverage": 1 - imagenet.coverage(self._features, features),
            "w1": exact_w1(*rows),
            "sliced": float(ot.sliced_wasserstein_distance(*rows, n_projections=300, p=1, seed=0)),
        }


def measure(path: Path, num_trials: int, cache: Path) -> list[dict[str, Any]]:
    """Train, judge and score the trials of a pool; what the cache has is not done again.

    Returns:
        For each trial its ``name``, its ``truths`` and its ``scores``, with the CPU seconds of
        the latter and of training, in ``seconds``.
    """
    images, members = load_pool(path, num_trials, cache)
    rows = [Cached(cache / f"image-{member.fingerprint}.json") for member in members]
    truths: Truths | None = None
    for member, row in zip(members, rows, strict=True):
        if "truths" not in row.found:
            truths = truths or Truths(images)
            generated = sampler(member)(NUM_SAMPLES).astype(np.float32)
            row.keep("truths", truths(generated), f"{path.stem} {member.name}")
    for name, settings in OBJECTIVES.items():
        objective = ObjectiveConfig.model_validate(settings)
        key = f"{name} {_digest(objective)}"
        for member, row in zip(members, rows, strict=True):
            if key not in row.found:
                scored = _score(images.data, objective, member)
                row.keep(key, scored, f"{path.stem} {member.name} {name}")
            row.scores[name] = row.found[key]
    return [_row(member, row) for member, row in zip(members, rows, strict=True)]


def load_pool(path: Path, num_trials: int, cache: Path) -> tuple[Images, list[Member]]:
    """Load the images of a file and the trials on them; train those that the cache has not."""
    images = Images.load(path)
    channels, side, _ = images.data.sample_shape
    space = "images" if channels == 1 else "colour" if side < 64 else "large"
    return images, pool(f"{path.stem}-half", space, num_trials, 0, cache, _log, images.data)


class Cached:
    """What is known about a trial, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.scores: dict[str, dict[str, float]] = {}

    def keep(self, key: str, value: Mapping[str, float], name: str) -> None:
        """Add a result."""
        self.found[key] = value
        self._path.write_text(json.dumps(self.found))
        _log(f"{name}: {key} " + ", ".join(f"{k} {v:.3g}" for k, v in value.items()))


def _digest(objective: ObjectiveConfig) -> str:
    """Return a hash of all that a score at a rung depends on, and of no other key."""
    identity = [objective.ground, objective.features, asdict(objective.rung)]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]


def _score(data: Data, objective: ObjectiveConfig, member: Member) -> dict[str, float]:
    mapped = with_ground(data, objective)
    parts = (mapped.compared.critic_train, mapped.compared.critic_eval)
    critic_train, critic_eval = map(as_tensor, parts)
    ground = ground_of(mapped, objective)
    started_s = time.process_time()
    estimate = score(
        member.generate, member.latent_dim, critic_train, critic_eval, objective.rung, ground
    )
    return {
        "w1": estimate.w1,
        "stderr": estimate.w1_stderr,
        "seconds": time.process_time() - started_s,
    }


def _row(member: Member, row: Cached) -> dict[str, Any]:
    return {
        "name": member.name,
        "truths": row.found["truths"],
        "scores": {OWN: member.critic_estimate} | {k: v["w1"] for k, v in row.scores.items()},
        "seconds": {"training": member.training_cpu_seconds}
        | {k: v["seconds"] for k, v in row.scores.items()},
    }


def _log(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def report(name: str, trials: Sequence[Mapping[str, Any]]) -> str:
    """Write the tables of a pool."""
    truths = {key: np.array([t["truths"][key] for t in trials]) for key in NAMES}
    scores = {key: np.array([t["scores"][key] for t in trials]) for key in trials[0]["scores"]}
    seconds = {
        key: float(np.mean([t["seconds"][key] for t in trials])) for key in trials[0]["seconds"]
    }
    judges = ("lenet", "efficientnet", "kid")
    lines = [
        f"## {name}: {len(trials)} trials",
        "",
        f"LeNet-Fréchet from {truths['lenet'].min():.3g} to {truths['lenet'].max():.3g}. "
        f"{seconds['training']:.0f} CPU seconds to train a trial.",
        "",
        "Kendall between truths, over the pool and over the half that is best by the row's truth:",
        "",
        "| | " + " | ".join(NAMES[key] for key in judges) + " |",
        "|---|" + "---|" * len(judges),
    ]
    for row, values in truths.items():
        cells = [_agreement(values, truths[key]) if key != row else "" for key in judges]
        lines.append(f"| {NAMES[row]} | {' | '.join(cells)} |")
    lines += [
        "",
        "Kendall with the truths, over the pool and over the half that is best by the truth; the "
        "true rank of the trial that the number picks:",
        "",
        "| number | " + " | ".join(NAMES[key] for key in judges) + " | CPU s a score |",
        "|---|" + "---|" * (len(judges) + 1),
    ]
    for row, values in scores.items():
        cells = []
        for key in judges:
            cells.append(agreement_and_pick(truths[key], values))
        cost = f"{seconds[row]:.1f}" if row in seconds else ""
        lines.append(f"| {row} | {' | '.join(cells)} | {cost} |")
    pairs = [kendalltau(truths[a], truths[b])[0] for a, b in combinations(judges, 2)]
    lines += ["", f"Smallest agreement between these three truths: {min(pairs):.2f}."]
    return "\n".join(lines) + "\n"


def _agreement(truth: np.ndarray, values: np.ndarray) -> str:
    """Write Kendall's tau over the pool and over its best half, with 95% bootstrap intervals."""
    return " / ".join(
        f"{mean:.2f} [{low:.2f}, {high:.2f}]"
        for mean, low, high in (
            with_interval(statistic, [truth], [values])
            for statistic in (_kendall, kendall_best_half)
        )
    )


def agreement_and_pick(truth: np.ndarray, values: np.ndarray) -> str:
    """Write the agreement, and the true rank of the trial with the lowest value."""
    return f"{_agreement(truth, values)}; {_rank_of_pick(truth, values)} of {len(truth)}"


def _kendall(truth: np.ndarray, values: np.ndarray) -> float:
    return float(kendalltau(truth, values)[0])


def _rank_of_pick(truth: np.ndarray, values: np.ndarray) -> int:
    """Return the rank by the truth of the trial with the lowest value; 1 is the best."""
    return int(rankdata(truth, "min")[int(np.argmin(values))])


INTRODUCTION = """# Pools of real trials on images

Made by `python -m benchmarks.fidelity.image_pools` on one of two busy CPU cores; only the seconds
depend on that.

**The trials.** On grey images a third are MLPs, two thirds DCGANs of 8 or 16 channels, with 300
to 1,500 generator steps. On colour images all are such DCGANs, with 100 to 1,000 generator steps.
They have gradient penalties of one and two sides, clipping or spectral normalisation, learning
rates from 1e-4 to 3e-3, and batches of 32. A third is meant to get near the data: no clipping,
learning rates from 3e-4 to 1e-3, and the most steps; on colour images so is every trial from the
tenth on. Trials that diverge are replaced.

**The truths.** No critic enters them, and they have images of their own. LeNet-Fréchet is the
mean over two LeNets that were trained with labels. EfficientNet-Fréchet and KID (unbiased) are in
the features of EfficientNet-Lite0, trained on ImageNet, at 64 pixels, on 700 images. Coverage
(Naeem 2020) is in the same features. How far they agree with each other bounds how far a number
can agree with all of them. The intervals are 95% bootstrap intervals over trials.

**The numbers.** Energies are the objective as it is shipped, pixels the objective before, both
with the critics of a rung. Nothing was chosen on these pools. The shares of the energies were
chosen earlier, on other trials on MNIST; no choice was made on the other sets.
[GROUNDS.md](GROUNDS.md) has another design.
"""


def targets(pools: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Write the table of what is to be reached, with what is missed in bold.

    Kendall's tau of the number with a truth should be 0.85 over the pool, or the agreement of the
    two truths less 0.03; likewise over the best half. The pick should be among the best two.
    """
    numbers = {SHIPPED: "energies", "pixels": "pixels", OWN: "own critic"}
    head = ["images", "truth"]
    for part in (*TARGETS, "rank of the pick"):
        head += [f"{part}: target", *numbers.values()]
    lines = [
        "## Against the targets",
        "",
        "Kendall with a truth should be 0.85 over the pool and 0.75 over its best half, or the "
        "agreement of the two truths less 0.03 and less 0.05. Missed targets are in bold. Where "
        "the truths hardly agree, as in the best half of a small pool, a target says little.",
        "",
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
    ]
    for name, trials in pools.items():
        truths = {
            key: np.array([t["truths"][key] for t in trials]) for key in ("lenet", "efficientnet")
        }
        for key, other in (("lenet", "efficientnet"), ("efficientnet", "lenet")):
            cells = [f"{name}, {len(trials)} trials", NAMES[key]]
            for part, statistic in (("pool", _kendall), ("best half", kendall_best_half)):
                fixed, less = TARGETS[part]
                target = min(fixed, statistic(truths[key], truths[other]) - less)
                cells.append(f"{target:.2f}")
                for number in numbers:
                    values = np.array([t["scores"][number] for t in trials])
                    mean, low, high = with_interval(statistic, [truths[key]], [values])
                    interval = f" [{low:.2f}, {high:.2f}]" if number == SHIPPED else ""
                    cells.append(_bold(f"{mean:.2f}", mean < target, number) + interval)
            cells.append(f"{BEST_RANKS}")
            for number in numbers:
                rank = _rank_of_pick(truths[key], np.array([t["scores"][number] for t in trials]))
                cells.append(_bold(str(rank), rank > BEST_RANKS, number))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _bold(text: str, is_missed: bool, number: str) -> str:
    return f"**{text}**" if is_missed and number == SHIPPED else text


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the pools of all files, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE[:N]")
    parser.add_argument("--trials", type=int, default=24, help="trials in a pool without N")
    parser.add_argument("--cache", type=Path, default=Path(".fidelity"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    pools = {}
    for path, num in map(with_number, args.files):
        pools[path.stem] = measure(path, num or args.trials, args.cache)
    tables = [report(name, trials) for name, trials in pools.items()]
    PAGE.write_text("\n".join([INTRODUCTION, targets(pools), *tables]), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


def with_number(text: str) -> tuple[Path, int | None]:
    """Split FILE[:N] into the path and the number of trials."""
    path, _, num = text.rpartition(":")
    return (Path(path), int(num)) if path and num.isdigit() else (Path(text), None)


if __name__ == "__main__":
    main()
