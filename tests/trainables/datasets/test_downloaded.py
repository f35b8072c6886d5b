"""torchvision's datasets, from files made here, missing, damaged or impossible to download."""

import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from made_datasets import IDX, make, pixels, write_idx

from trainables.config import DOWNLOADED, DataConfig
from trainables.datasets.downloaded import load_downloaded
from trainables.datasets.errors import BadData


def read(config: DataConfig, notes: list[str] | None = None) -> np.ndarray:
    notes = notes if notes is not None else []
    return load_downloaded(config, None, lambda done, total: None, notes.append)


def files_below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("dataset", IDX)
def test_grey_images_are_the_training_set_pixel_for_pixel(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = read(make(dataset, tmp_path, monkeypatch))
    assert np.array_equal(loaded, pixels(700, 28, 28)[:, None])


def test_cifar10_has_its_colours_and_rows_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = read(make("cifar10", tmp_path, monkeypatch))
    assert np.array_equal(loaded, pixels(700, 3, 32, 32))


@pytest.mark.parametrize("dataset", DOWNLOADED)
def test_missing_files_are_named_with_the_way_out(dataset: str, tmp_path: Path) -> None:
    name = {"cifar10": "data_batch_1", "celeba": "img_align_celeba"}.get(dataset, "train-images")
    match = f"{name}.* are not in {tmp_path}: set data.download: true, or put {dataset}'s files"
    with pytest.raises(BadData, match=match) as caught:
        read(DataConfig(dataset=dataset, path=str(tmp_path)))
    assert caught.value.key == "download"


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_without_a_network_the_error_is_one_line_and_no_file_is_left_behind(
    dataset: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def unreachable(url: str, *_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", unreachable)
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", lambda url, **_: url)
    notes: list[str] = []
    with pytest.raises(BadData, match=r"could not be downloaded into .*no route to host") as caught:
        read(DataConfig(dataset=dataset, path=str(tmp_path / "data"), download=True), notes)
    assert caught.value.key == "download"
    assert "\n" not in str(caught.value)
    assert notes == [f"downloading {dataset} into {tmp_path / 'data'}"]
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_downloaded_files_are_moved_into_place_once_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also next to existing files, and without torchvision's progress bar."""

    def fetch(self: Any) -> None:
        sys.stderr.write("a progress bar")
        write_idx(Path(self.raw_folder), pixels(5, 28, 28))

    monkeypatch.setattr("torchvision.datasets.MNIST.download", fetch)
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "raw" / "mine.txt").write_text("kept")
    loaded = read(DataConfig(dataset="mnist", path=str(tmp_path), download=True))
    assert np.array_equal(loaded, pixels(5, 28, 28)[:, None])
    assert "MNIST/raw/mine.txt" in files_below(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"MNIST"}
    assert capfd.readouterr() == ("", "")


def test_an_interrupted_download_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(self: Any) -> None:
        write_idx(Path(self.raw_folder), pixels(5, 28, 28))
        raise KeyboardInterrupt

    monkeypatch.setattr("torchvision.datasets.MNIST.download", broken_off)
    with pytest.raises(KeyboardInterrupt):
        read(DataConfig(dataset="mnist", path=str(tmp_path), download=True))
    assert files_below(tmp_path) == set()


@pytest.mark.parametrize("dataset", DOWNLOADED)
def test_damaged_files_are_refused(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make(dataset, tmp_path, monkeypatch)
    for path in tmp_path.rglob("*"):
        if path.is_file() and ("train" in path.name or "batch" in path.name or "jpg" in path.name):
            path.write_bytes(path.read_bytes()[:-500])
    match = f"must hold {dataset}'s files as they were published.*: delete them"
    with pytest.raises(BadData, match=match) as caught:
        read(config)
    assert caught.value.key == "path"
