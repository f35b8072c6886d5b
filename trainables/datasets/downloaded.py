"""torchvision's datasets: the files that it knows how to fetch, read from a folder."""

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
from trainables.datasets.image_folder import decoded, named

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
    """Read one of torchvision's training sets below ``config.path``; of CelebA, all images.

    MNIST and its like are [1, 28, 28], CIFAR-10 [3, 32, 32], CelebA [3, side, side].

    Raises:
        BadData: about ``download``, where files are missing and may not or cannot be fetched; about
            ``path``, where they are damaged.
    """
    root = Path(config.path or "")
    if missing := _missing(config.dataset, root):
        if not config.download:
            what = f"must be true where files are missing, and {', '.join(missing)} are not"
            way_out = f"set data.download: true, or put {config.dataset}'s files there"
            raise BadData("download", f"{what} in {root.resolve()}: {way_out}")
        note(f"fetching {config.dataset} into {root}")
        _fetch(config.dataset, root)
    if config.dataset == "celeba":
        folder = root / _CELEBA
        pixels, left_out = decoded(folder, config.side or 64, 3, cache_dir, progress, note)
        if left_out:
            raise _damaged(config.dataset, folder, f"not images: {named(left_out)}")
        return pixels
    try:
        pixels = np.asarray(_class(config.dataset)(root, train=True).data)
    # All that torchvision raises for files that are not what their names say.
    except _TORCHVISION_RAISES as error:
        raise _damaged(config.dataset, root, str(error) or type(error).__name__) from error
    return pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)


def _class(dataset: str) -> Any:
    from torchvision import datasets  # takes three seconds that other data need not wait

    return getattr(datasets, _CLASSES[dataset])


def _missing(dataset: str, root: Path) -> list[str]:
    """Name the files and folders that torchvision would look for, and not find."""
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


def _fetch(dataset: str, root: Path) -> None:
    """Fetch beside where the files belong, and move them when all are whole.

    torchvision takes a file that is there for a whole one, and an interrupted run leaves halves.
    """
    options = {"split": "all"} if dataset == "celeba" else {}
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".incomplete-") as scratch:
            with _quiet():
                _class(dataset)(scratch, download=True, **options)
            _move_into(Path(scratch), root)
    except Exception as error:  # whatever comes of a network, its servers and a disk
        with suppress(OSError):  # where there is anything in it, it stays
            root.rmdir()
        reason = " ".join(str(error).split()) or type(error).__name__
        what = f"{dataset} could not be fetched into {root.resolve()} ({reason})"
        way_out = "try again with a network, or put the files there and leave data.download out"
        raise BadData("download", f"{what}: {way_out}") from error


def _move_into(source: Path, target: Path) -> None:
    for path in source.iterdir():
        if path.is_dir() and (target / path.name).is_dir():
            _move_into(path, target / path.name)
        else:
            path.replace(target / path.name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torchvision's progress bars off a terminal that shows a progress of its own."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def _damaged(dataset: str, folder: Path, why: str) -> BadData:
    reason = " ".join(why.split())
    what = f"must hold {dataset}'s files as they were published, got {folder} ({reason})"
    return BadData("path", f"{what}: delete them, and fetch them anew")
