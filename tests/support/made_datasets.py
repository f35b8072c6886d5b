"""Small files of every dataset: a few hundred random images each."""

import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.config import DATASETS, DataConfig

NUM_IMAGES = 700
IDX = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def make(dataset: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """Write the files of a dataset into a folder; return a configuration that loads them."""
    if dataset in IDX:
        write_idx(folder / IDX[dataset] / "raw", pixels(NUM_IMAGES, 28, 28))
    elif dataset == "cifar10":
        write_cifar10(folder, pixels(NUM_IMAGES, 3, 32, 32), monkeypatch)
    elif dataset == "celeba":
        write_images(folder / "celeba" / "img_align_celeba", pixels(NUM_IMAGES, 22, 18, 3), ".jpg")
        return DataConfig(dataset="celeba", path=str(folder), side=16)
    elif dataset == "image_folder":
        write_images(folder, pixels(NUM_IMAGES, 20, 16, 3), ".png")
        return DataConfig(dataset="image_folder", path=str(folder), side=12)
    elif dataset == "array":
        np.save(folder / "images.npy", pixels(NUM_IMAGES, 9, 9))
        return DataConfig(dataset="array", path=str(folder / "images.npy"))
    given = {"path": str(folder)} if "path" in DATASETS.get(dataset, {}) else {}
    return DataConfig.model_validate({"dataset": dataset, **given})


def write_images(folder: Path, images: np.ndarray, suffix: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:06d}{suffix}")


def write_idx(folder: Path, images: np.ndarray) -> None:
    """Write the four files of MNIST, in its documented format, with one test image."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", images), ("t10k", images[:1])):
        header = struct.pack(">IIII", 0x803, *part.shape)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + part.tobytes())
        labels = struct.pack(">II", 0x801, len(part)) + bytes(len(part))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(labels)


def write_cifar10(folder: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the seven files of CIFAR-10, and patch their checksums into torchvision."""
    from torchvision import datasets  # which takes seconds

    cifar10, sums = datasets.CIFAR10, {}
    (folder / cifar10.base_folder).mkdir(parents=True, exist_ok=True)

    def write(name: str, content: dict) -> None:
        written = pickle.dumps(content)
        (folder / cifar10.base_folder / name).write_bytes(written)
        sums[name] = hashlib.md5(written).hexdigest()

    names = [name for name, _ in cifar10.train_list]
    for name, part in zip(names, np.array_split(images, len(names)), strict=True):
        write(name, {"data": part.reshape(len(part), -1), "labels": [0] * len(part)})
    write("test_batch", {"data": images[:1].reshape(1, -1), "labels": [0]})
    write("batches.meta", {"label_names": ["thing"]})
    monkeypatch.setattr(cifar10, "train_list", [[name, sums[name]] for name in names])
    monkeypatch.setattr(cifar10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(cifar10, "meta", cifar10.meta | {"md5": sums["batches.meta"]})
