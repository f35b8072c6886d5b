"""Measure how well w1 ranks real trials on images: ``python -m benchmarks.fidelity.image_pools``.

Each FILE is an ``.npz`` with ``images`` (uint8) and ``labels``. A third of its images trains LeNets
by their labels, a sixth is what these truths compare with, and the other half is the data of a
search. Trains a pool of trials on it, judges them by truths that no critic enters, and prints how
far the truths agree with each other and with the numbers that might rank the trials. All is cached,
so that an interrupted run resumes.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

NUM_LENETS = 2
#: Generated samples for the LeNets, and for the truths that cost more.
NUM_SAMPLES, NUM_COSTLY = 4000, 700
OBJECTIVES: Mapping[str, Mapping[str, Any]] = {
    "pixels": {"ground": "pixels"},
    "energies (as shipped)": {},
    "random convolutions": {"features": "benchmarks.fidelity.designs:RandomConvolutions"},
}
OWN = "own critic's estimate"
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
    """The parts of a file: for the classifiers, for the truths, and for the search."""

    labelled: tuple[np.ndarray, np.ndarray]
    reference: np.ndarray
    data: Data

    @classmethod
    def load(cls, path: Path) -> "Images":
        """Load a file and split it."""
        images, labels = load_labelled(path)
        order = np.random.default_rng(0).permutation(len(images))
        cut = [len(order) // 3, len(order) // 2]
        lenet, reference, rest = np.split(order, cut)
        data = split(images[rest], np.random.default_rng(0))
        return cls((images[lenet], labels[lenet]), images[reference], data)


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
    images = Images.load(path)
    members = pool(f"{path.stem}-half", "images", num_trials, 0, cache, _log, images.data)
    rows = [_Cached(cache / f"image-{member.fingerprint}.json") for member in members]
    truths: Truths | None = None
    for member, row in zip(members, rows, strict=True):
        if "truths" not in row.found:
            truths = truths or Truths(images)
            generated = sampler(member)(NUM_SAMPLES).astype(np.float32)
            row.keep("truths", truths(generated), f"{path.stem} {member.name}")
    for name, settings in OBJECTIVES.items():
        objective = ObjectiveConfig.model_validate(settings)
        digest = hashlib.sha256(objective.model_dump_json().encode()).hexdigest()[:8]
        for member, row in zip(members, rows, strict=True):
            if f"{name} {digest}" not in row.found:
                scored = _score(images.data, objective, member)
                row.keep(f"{name} {digest}", scored, f"{path.stem} {member.name} {name}")
            row.scores[name] = row.found[f"{name} {digest}"]
    return [_row(member, row) for member, row in zip(members, rows, strict=True)]


class _Cached:
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


def _row(member: Member, row: _Cached) -> dict[str, Any]:
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
            rank = int(rankdata(truths[key], "min")[int(np.argmin(values))])
            cells.append(f"{_agreement(truths[key], values)}; {rank} of {len(trials)}")
        cost = f"{seconds[row]:.1f}" if row in seconds else ""
        lines.append(f"| {row} | {' | '.join(cells)} | {cost} |")
    pairs = [kendalltau(truths[a], truths[b])[0] for a, b in combinations(judges, 2)]
    lines += ["", f"Smallest agreement between these three truths: {min(pairs):.2f}."]
    return "\n".join(lines) + "\n"


def _agreement(truth: np.ndarray, values: np.ndarray) -> str:
    """Write Kendall's tau over the pool and over its best half, with 95% bootstrap intervals."""

    def kendall(t: np.ndarray, v: np.ndarray) -> float:
        return float(kendalltau(t, v)[0])

    return " / ".join(
        f"{mean:.2f} [{low:.2f}, {high:.2f}]"
        for mean, low, high in (
            with_interval(statistic, [truth], [values])
            for statistic in (kendall, kendall_best_half)
        )
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables of all files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--trials", type=int, default=24, help="trials in a pool")
    parser.add_argument("--cache", type=Path, default=Path(".fidelity"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    for path in args.files:
        print(report(path.stem, measure(path, args.trials, args.cache)), flush=True)


if __name__ == "__main__":
    main()
