"""Compare the trial that a search of images picks with the published defaults.

``python -m benchmarks.fidelity.image_search FILE --runs-dir DIR``

FILE is an ``.npz`` with ``images`` (uint8) and ``labels``. Half of them are the data of the search
``fashion_dcgan.yaml``. Its best trial and its first one, which has the values published with
WGAN-GP, are then trained again from fresh seeds, as long as in the search. They are judged by the
truths of ``image_pools.py``, which have seen other images only. Prints a table of Markdown. A
search in DIR that was interrupted is resumed; one that has ended is not run again. ``--set`` is
passed on to the search.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.fidelity.image_pools import NUM_SAMPLES, Images, Truths
from trainables.config import TrialConfig
from trainables.data import as_tensor
from trainables.training import TrainState, train
from tuner import retrain

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
    cpu_seconds: float
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


def judge(
    name: str, config: TrialConfig, steps: int, seed: int, images: Images, truths: Truths
) -> Judged:
    """Train a configuration from a seed, and measure its distances."""
    config = config.model_copy(update={"seed": seed})
    state = TrainState.create(config, images.data.sample_shape)
    (measured,) = list(train(state, config.training, as_tensor(images.data.train), [steps]))
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        latents = torch.randn(NUM_SAMPLES, state.latent_dim, generator=rng)
        generator = state.scored.eval()
        samples = torch.cat([generator(batch) for batch in latents.split(1000)])
    found = truths(samples.numpy())
    return Judged(name, seed, steps, measured.training_cpu_seconds, found)


def report(judged: Sequence[Judged], floor: dict[str, float]) -> str:
    """Write the table."""
    lines = [
        "| configuration | seed | generator steps | CPU s | LeNet-Fréchet | EfficientNet-Fréchet |",
        "|---|---|---|---|---|---|",
        f"| real images | | | | {floor['lenet']:.3g} | {floor['efficientnet']:.3g} |",
    ]
    for row in judged:
        lines.append(
            f"| {row.name} | {row.seed} | {row.generator_steps} | {row.cpu_seconds:.0f} "
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
    best, published = (retrain.find_origin(run_dir, trial) for trial in (None, PUBLISHED))
    if best.ranked_at is None:
        raise SystemExit(f"{run_dir} has no trial that completed")
    truths, judged = Truths(images), []
    longest = best.config.max_generator_steps
    for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
        for name, config, steps in (
            ("picked by the search", best.config, best.ranked_at),
            ("published defaults", published.config, longest),
        ):
            judged.append(judge(name, config, steps, seed, images, truths))
            print(judged[-1], file=sys.stderr, flush=True)
    print(report(judged, truths(images.data.train[:NUM_SAMPLES])))


if __name__ == "__main__":
    main()
