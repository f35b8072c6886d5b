"""Load the datasets that torchvision can download."""

import io
import pickle
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from trainables.config import DataConfig
from trainables.datasets.errors import BadData, Note, Progress
from trainables.datasets.image_folder import decode, list_names

_CLASSES = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR10",
    "celeba": "CelebA",
}
_TORCHVISION_RAISES = (
    *(AssertionError, EOFError, OSError, RuntimeError, ValueError, LookupError, TypeError),
    *(struct.error, pickle.UnpicklingError),
)
_CELEBA = Path("celeba", "img_align_celeba")


def load_downloaded(
    config: DataConfig, cache_dir: Path | None, progress: Progress, note: Note
) -> UInt8[np.ndarray, "n channels height width"]:
    """Load one of torchvision's training sets from ``config.path``; of CelebA, all images.

    Samples of the MNIST variants are [1, 28, 28], of CIFAR-10 [3, 32, 32], of CelebA
    [3, side, side].

    Args:
        config: Which dataset, and its folder.
        cache_dir: Where decoded CelebA images are cached; ``None`` caches none.
        progress: Called with the number of CelebA images decoded, and the number of all.
        note: Called before a download, and if the cache cannot be used.

    Raises:
        BadData: with key ``download``, if files are missing and may not or cannot be downloaded;
            with key ``path``, if they are damaged.
    """
    root = Path(config.path or "")
    if missing := _missing(config.dataset, root):
        if not config.download:
            rule = f"must be true where files are missing, and {', '.join(missing)} are not"
            way_out = f"set data.download: true, or put {config.dataset}'s files there"
            raise BadData("download", f"{rule} in {root.resolve()}: {way_out}")
        note(f"downloading {config.dataset} into {root}")
        _download(config.dataset, root)
    if config.dataset == "celeba":
        folder = root / _CELEBA
        pixels, left_out = decode(folder, config.side or 64, 3, cache_dir, progress, note)
        if left_out:
            raise _damaged(config.dataset, folder, f"not images: {list_names(left_out)}")
        return pixels
    try:
        pixels = np.asarray(_class(config.dataset)(root, train=True).data)
    # torchvision raises all of these for damaged files.
    except _TORCHVISION_RAISES as error:
        raise _damaged(config.dataset, root, str(error) or type(error).__name__) from error
    return pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)


def _class(dataset: str) -> Any:
    from torchvision import datasets  # importing it takes three seconds

    return getattr(datasets, _CLASSES[dataset])


def _missing(dataset: str, root: Path) -> list[str]:
    """List the files and folders that torchvision needs and that do not exist."""
    if dataset == "celeba":
        needed = [_CELEBA]
    elif dataset == "cifar10":
        kind = _class(dataset)
        names = [name for name, _ in kind.train_list + kind.test_list] + [kind.meta["filename"]]
        needed = [Path(kind.base_folder, name) for name in names]
    else:
        names = [Path(name).stem for name, _ in _class(dataset).resources]
        needed = [Path(_CLASSES[dataset], "raw", name) for name in names]
    return [str(path) for path in needed if not (root / path).exists()]


def _download(dataset: str, root: Path) -> None:
    """Download into a scratch folder, and move the files into place once all are complete.

    torchvision takes an existing file for complete, and an interrupted download leaves parts.
    """
    options = {"split": "all"} if dataset == "celeba" else {}
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".incomplete-") as scratch:
            with _quiet():
                _class(dataset)(scratch, download=True, **options)
            _move_into(Path(scratch), root)
    except Exception as error:  # networks, servers and disks fail in many ways
        with suppress(OSError):  # a folder that is not empty stays
            root.rmdir()
        reason = " ".join(str(error).split()) or type(error).__name__
        fault = f"{dataset} could not be downloaded into {root.resolve()} ({reason})"
        way_out = "check the network, or put the files there and leave data.download out"
        raise BadData("download", f"{fault}: {way_out}") from error


def _move_into(source: Path, target: Path) -> None:
    for path in source.iterdir():
        if path.is_dir() and (target / path.name).is_dir():
            _move_into(path, target / path.name)
        else:
            path.replace(target / path.name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide torchvision's progress bars: the terminal already shows one."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def _damaged(dataset: str, folder: Path, reason: str) -> BadData:
    rule = f"must hold {dataset}'s files as they were published"
    actual = f"got {folder} ({' '.join(reason.split())})"
    return BadData("path", f"{rule}, {actual}: delete them, and download them again")
