"""Every search space that ships, searched for real: on the CPU, with few steps and made-up data."""

import csv
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from trainables.config import TrialConfig, plain_number
from tuner.cli.status import ExitStatus
from tuner.search import main

FOLDER = Path(__file__).parents[2] / "search_spaces"
NUM_IMAGES = 500
TINY = {
    "training.batch_size": 8,
    "objective.critic_steps": 2,
    "objective.num_critics": 1,
    "objective.final_trials": 1,
    "objective.final_critic_steps": 2,
    "objective.final_cones": False,
    "objective.final_num_critics": 1,
    "search.max_concurrent_trials": 1,
    "asha.grace_generator_steps": 1,
    "asha.max_generator_steps": 3,
    "resources.gpus_per_trial": 0,
}


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def write_idx(raw: Path) -> None:
    """Write the four files of MNIST (yann.lecun.com/exdb/mnist), as torchvision reads them."""
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        images = pixels(NUM_IMAGES, 28, 28)
        header = struct.pack(">IIII", 0x803, *images.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = struct.pack(">II", 0x801, NUM_IMAGES) + bytes(NUM_IMAGES)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(labels)


def mnist(folder: Path) -> dict[str, object]:
    write_idx(folder / "data" / "MNIST" / "raw")
    return {"networks.generator_width": 64, "networks.critic_width": 64}


def fashion(folder: Path) -> dict[str, object]:
    write_idx(folder / "data" / "FashionMNIST" / "raw")
    return {"networks.generator_width": 16, "networks.critic_width": 16}


def cifar10(folder: Path) -> dict[str, object]:
    """Images of its shape in its place: torchvision knows the checksums of its own."""
    np.save(folder / "images.npy", pixels(NUM_IMAGES, 3, 32, 32))
    narrow = {"networks.generator_width": 8, "networks.critic_width": 8}
    return {"data": "{dataset: array, path: images.npy}", **narrow}


def small_images(folder: Path) -> dict[str, object]:
    """Images of half its side: there are many methods to try."""
    np.save(folder / "images.npy", pixels(NUM_IMAGES, 3, 16, 16))
    narrow = {"networks.generator_width": 8, "networks.critic_width": 8}
    return {"data": "{dataset: array, path: images.npy}", **narrow}


def own_images(folder: Path) -> dict[str, object]:
    images = folder / "path" / "to" / "images"
    images.mkdir(parents=True)
    for number, image in enumerate(pixels(NUM_IMAGES, 20, 16, 3)):
        Image.fromarray(image).save(images / f"{number}.png")
    return {"data.side": 16, "networks.generator_width": 32, "networks.critic_width": 32}


def nothing(folder: Path) -> dict[str, object]:
    return {}


#: What each needs besides ``TINY``.
PREPARE: dict[str, Callable[[Path], dict[str, object]]] = {
    **{"gp": nothing, "clip": nothing, "spectral": nothing, "mixed": nothing},
    **{"architectures": nothing, "gan_vs_wgan": nothing, "eight_gaussians": nothing},
    **{"reading_list": nothing, "fashion_dcgan": fashion},
    **{"mnist_dcgan": mnist, "cifar10_resnet": cifar10, "own_images": own_images},
    **{"all_gans_images": small_images},
}


def points_of(name: str) -> list[dict[str, object]]:
    """The initial points of a search space, each by the names of its hyperparameters."""
    document = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    points = document.get("initial_points", [])
    return [{**p.get("training", {}), **p.get("networks", {})} for p in points]


def check(name: str, run_dir: Path) -> None:
    with (run_dir / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    points = points_of(name)
    assert len(rows) == max(2, len(points))
    assert {row["status"] for row in rows} <= {"completed", "stopped"}
    for row, point in zip(rows, points, strict=False):
        found = {key: plain_number(row[key]) for key in point}
        assert found == {key: plain_number(value) for key, value in point.items()}
    best = yaml.safe_load((run_dir / "best.yaml").read_text())
    assert TrialConfig.model_validate(best).max_generator_steps == 3
    assert (run_dir / "best" / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_all_that_ship_are_here() -> None:
    assert set(PREPARE) == {path.stem for path in FOLDER.glob("*.yaml")}


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all of them, as a user has it."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("name", PREPARE)
def test_a_search_ends_well_and_begins_with_its_initial_points(
    name: str, tmp_path: Path, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(FOLDER / f"{name}.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    # Wide generators take minutes for the thousands of samples that a score is made of.
    monkeypatch.setattr("trainables.objective.MIN_GENERATED_SAMPLES", 32)
    monkeypatch.setattr("trainables.objective.MAX_GENERATED_ELEMENTS", 1)
    num_trials = max(2, len(points_of(name)))
    values = {**TINY, **PREPARE[name](tmp_path), "search.num_trials": num_trials}
    options = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    options += ["--runs-dir", str(runs_dir), "--local"]
    assert main([str(tmp_path / f"{name}.yaml"), *options]) == ExitStatus.DONE
    check(name, runs_dir / name)


def test_the_generator_that_own_images_describes_is_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its two lines uncommented, in the place of ``generator_width``, as it says."""
    text = (FOLDER / "own_images.yaml").read_text().replace("# generator", "generator")
    lines = [line for line in text.splitlines() if "generator_width:" not in line]
    (tmp_path / "space.yaml").write_text("\n".join(lines))
    (tmp_path / "my_networks.py").write_text("""
from math import prod
from torch import nn

class Generator(nn.Sequential):
    def __init__(self, latent_dim, sample_shape, channels, dropout):
        first, last = nn.Linear(latent_dim, channels), nn.Linear(channels, prod(sample_shape))
        super().__init__(first, nn.Dropout(dropout), last, nn.Unflatten(1, sample_shape))
""")
    own_images(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    options = ["--dry-run", "--set", "resources.gpus_per_trial=0"]
    assert main([str(tmp_path / "space.yaml"), *options]) == ExitStatus.DONE
    searched = "networks.generator_args.channels, networks.generator_args.dropout"
    assert searched in capsys.readouterr().out
