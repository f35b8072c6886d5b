"""Data that are constant, and values that squeeze all others together."""

from pathlib import Path

import numpy as np
import pytest
from made_datasets import write_images
from PIL import Image

from trainables.config import DataConfig
from trainables.data import load
from trainables.datasets.errors import BadData
from trainables.datasets.ranges import note_outliers, note_outliers_by_column, refuse_equal

RNG = np.random.default_rng(0)


def notes_of(samples: np.ndarray) -> list[str]:
    notes: list[str] = []
    check = note_outliers_by_column if samples.ndim == 2 else note_outliers
    check(samples, "a.npy", notes.append)
    return notes


@pytest.mark.parametrize("extreme", [1e30, -9999.0, -np.finfo(np.float64).max])
def test_a_value_that_stands_for_a_missing_one_is_named_with_its_index(extreme: float) -> None:
    images = RNG.uniform(0, 1, (600, 4, 4))
    images[123, 2, 3] = extreme
    (note,) = notes_of(images)
    assert f"there is {extreme:g} at [123, 2, 3]: if it stands for a missing value" in note


def test_also_where_it_is_the_commonest_value() -> None:
    images = RNG.uniform(0, 1, (600, 4, 4))
    images[:, :, :3] = -9999
    (note,) = notes_of(images)
    assert "but there is -9999 at [0, 0, 0]" in note


def test_columns_with_an_extreme_value_are_named_with_its_row() -> None:
    table = RNG.standard_normal((1000, 9)) * 10.0 ** np.arange(9)
    assert notes_of(table) == []
    table[77, 2] = -1e7
    (note,) = notes_of(table)
    assert note.startswith("a.npy: column 2: most values lie between -")
    assert "but there is -1e+07 in row 77" in note
    table[5] = 1e30
    assert len(notes_of(table)) == 6
    assert notes_of(table)[-1] == "a.npy: likewise in 4 more columns"


@pytest.mark.parametrize(
    "samples",
    [
        RNG.integers(0, 2, (600, 5)),  # classes
        np.repeat([[0.0], [1.0], [2.0]], 200, axis=0),
        RNG.standard_normal((600, 5)),
        np.exp(RNG.standard_normal((600, 5))),  # a heavy tail
        np.where(RNG.uniform(size=(600, 5, 5)) < 0.9, 0.0, RNG.uniform(size=(600, 5, 5))),
    ],
    ids=["bits", "classes", "normal", "lognormal", "background"],
)
def test_usual_data_cause_no_note(samples: np.ndarray) -> None:
    assert notes_of(samples) == []


@pytest.mark.parametrize("dataset", ["digits", "eight_gaussians"])
def test_bundled_datasets_cause_no_note(dataset: str) -> None:
    notes: list[str] = []
    load(DataConfig(dataset=dataset), note=notes.append)
    assert notes == []


def folder_of(tmp_path: Path, images: np.ndarray) -> tuple[DataConfig, list[str]]:
    write_images(tmp_path, images, ".png")
    given = {"dataset": "image_folder", "path": str(tmp_path), "side": 8, "channels": 1}
    return DataConfig.model_validate(given), []


@pytest.mark.parametrize("largest", [1, 3, 20])
def test_masks_that_hold_numbers_of_classes_are_noted(tmp_path: Path, largest: int) -> None:
    """However few classes: as pixels they are nearly black, and nobody would see a difference."""
    np.save(tmp_path / "masks.npy", RNG.integers(0, 2, (600, 8, 8, 1), np.uint8) * largest)
    notes: list[str] = []
    given = {"dataset": "array", "path": str(tmp_path / "masks.npy")}
    load(DataConfig.model_validate(given), note=notes.append)
    (note,) = notes
    assert note.startswith(f"most pixels lie between 0 and {largest}, of 0 to 255")


def test_masks_of_black_and_white_cause_no_note(tmp_path: Path) -> None:
    np.save(tmp_path / "masks.npy", RNG.integers(0, 2, (600, 8, 8, 1), np.uint8) * 255)
    notes: list[str] = []
    load(DataConfig(dataset="array", path=str(tmp_path / "masks.npy")), note=notes.append)
    assert notes == []


def test_images_of_12_bits_in_16_are_noted(tmp_path: Path) -> None:
    config, notes = folder_of(tmp_path, RNG.integers(0, 4096, (500, 8, 8), np.uint16))
    load(config, note=notes.append)
    assert len(notes) == 1
    assert "most pixels lie between 0 and 16, of 0 to 255" in notes[0]


def test_images_of_16_bits_are_not(tmp_path: Path) -> None:
    config, notes = folder_of(tmp_path, RNG.integers(0, 65536, (500, 8, 8), np.uint16))
    load(config, note=notes.append)
    assert notes == []


def test_copies_of_one_image_are_refused(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 3).save(tmp_path / "first.png")
    for index in range(500):
        (tmp_path / f"{index}.png").symlink_to(tmp_path / "first.png")
    config, _ = folder_of(tmp_path, np.zeros((0, 8, 8), np.uint8))
    with pytest.raises(
        BadData, match="must hold samples that differ, got 501 equal ones"
    ) as caught:
        load(config)
    assert caught.value.key == "path"


def test_one_sample_that_differs_is_enough() -> None:
    samples = np.zeros((5000, 2))
    samples[4321, 1] = 1
    refuse_equal(samples, "path")
