"""Compare the trial that a search of images picks with the published defaults.

``python -m benchmarks.fidelity.image_search FILE --runs-dir DIR``

FILE is an ``.npz`` with ``images`` (uint8) and ``labels``. Half of them are the data of the search
``fashion_dcgan.yaml``. Its best trial and its first one, which has the values published with
WGAN-GP, are judged by the truths of ``image_pools.py``, which have seen other images only: as the
search has left them, and trained again from fresh seeds, as long as in the search. Prints a table
of Markdown. A search in DIR that was interrupted is resumed; one that has ended is not run again.
``--set`` is passed on to the search.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.fidelity.image_pools import NUM_SAMPLES, Images, Truths
from benchmarks.fidelity.truth import Sample
from trainables.config import TrialConfig
from trainables.data import as_tensor
from trainables.training import TrainState, train
from tuner import results, retrain

SPACE = Path(__file__).parents[2] / "search_spaces" / "fashion_dcgan.yaml"
NAME = "image_search"
PUBLISHED = "00000"
#: The seeds are far from those of a search, which counts its trials.
FIRST_SEED = 10_000


@dataclass(frozen=True)
class Judged:
    """A generator and its distances from images that no search has seen."""

    name: str
    seed: int
    generator_steps: int
    truths: dict[str, float]


def search(images: Images, runs_dir: Path, settings: Sequence[str] = ()) -> Path:
    """Run the search in a process of its own, and return its folder."""
    run_dir, path = runs_dir / NAME, runs_dir / f"{NAME}.npz"
    if (run_dir / "best.yaml").exists():
        return run_dir
    runs_dir.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, images=images.searched)
    command = [sys.executable, "-m", "tuner.search", str(SPACE), "--runs-dir", str(runs_dir)]
    command += ["--name", NAME, "--set", f"data={{dataset: array, path: {path.absolute()}}}"]
    command += [part for setting in settings for part in ("--set", setting)]
    subprocess.run([*command, *(["--resume"] if run_dir.exists() else [])], check=True)
    return run_dir


def train_again(config: TrialConfig, steps: int, seed: int, real: torch.Tensor) -> Sample:
    """Train a configuration from a seed."""
    state = TrainState.create(config.model_copy(update={"seed": seed}), tuple(real.shape[1:]))
    list(train(state, config.training, real, [steps]))
    return _sampler(state.scored.eval(), state.latent_dim)


def left_by(run_dir: Path, trial_id: str) -> Sample:
    """Load what a trial of a search has at its best rung."""
    snapshot = results.read_snapshot(run_dir)
    generator = results.generator_of_trial(snapshot, snapshot.trial(trial_id))
    return _sampler(generator, generator.latent_dim)


def _sampler(generate: Callable[[torch.Tensor], torch.Tensor], latent_dim: int) -> Sample:
    @torch.no_grad()
    def sample(num_samples: int) -> np.ndarray:
        latents = torch.randn(num_samples, latent_dim, generator=torch.Generator().manual_seed(7))
        return torch.cat([generate(batch) for batch in latents.split(1000)]).numpy()

    return sample


def report(judged: Sequence[Judged], floor: dict[str, float]) -> str:
    """Write the table."""
    lines = [
        "| configuration | seed | generator steps | LeNet-Fréchet | EfficientNet-Fréchet |",
        "|---|---|---|---|---|",
        f"| real images | | | {floor['lenet']:.3g} | {floor['efficientnet']:.3g} |",
    ]
    for row in judged:
        lines.append(
            f"| {row.name} | {row.seed} | {row.generator_steps} "
            f"| {row.truths['lenet']:.3g} | {row.truths['efficientnet']:.3g} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the search, train both configurations again, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--runs-dir", type=Path, default=Path(".fidelity"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    images = Images.load(args.file)
    run_dir = search(images, args.runs_dir, args.set)
    origins = {
        "picked by the search": retrain.find_origin(run_dir, None),
        "published defaults": retrain.find_origin(run_dir, PUBLISHED),
    }
    truths, judged = Truths(images), []

    def judge(name: str, seed: int, sample: Sample) -> None:
        steps = origins[name].ranked_at or 0
        judged.append(Judged(name, seed, steps, truths(sample(NUM_SAMPLES))))
        print(judged[-1], file=sys.stderr, flush=True)

    for name, origin in origins.items():
        judge(name, origin.config.seed, left_by(run_dir, str(origin.trial_id)))
    for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
        for name, origin in origins.items():
            steps = origin.ranked_at or origin.config.max_generator_steps
            judge(name, seed, train_again(origin.config, steps, seed, as_tensor(images.data.train)))
    print(report(judged, truths(images.data.train[:NUM_SAMPLES])))


if __name__ == "__main__":
    main()
