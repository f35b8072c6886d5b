"""Load the files of a checkpoint, and detect damaged ones, as a full disk leaves them.

A generator is also loaded from the safetensors file that :mod:`trainables.exporting` writes.
"""

import json
import pickle
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

if TYPE_CHECKING:
    import torch
    from pyarrow.fs import FileSystem

#: The files of a checkpoint, and the keys of each.
STATE = "state.pt"
GENERATOR = "generator.pt"
#: What ends the name of a safetensors file, and the keys of its metadata that are JSON.
_SAFETENSORS, _JSON_KEYS = ".safetensors", ("networks", "sample_shape", "scale")
_KEYS = {STATE: ("state", "metrics"), GENERATOR: ("state_dict", "networks", "sample_shape")}


class DamagedCheckpointError(Exception):
    """A file of a checkpoint that is not as it was saved.

    Attributes:
        path: The file.
        fault: A predicate, such as "is empty", that follows the file's name.
    """

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(path, fault)  # both, so that it can be pickled
        self.path = path
        self.fault = fault

    def __str__(self) -> str:
        """Return the file, its fault and the way out."""
        return (
            f"{self.path} must be as it was saved, but it {self.fault}: copy it again, or use an "
            "earlier checkpoint"
        )


@final
@dataclass(frozen=True)
class Identity:
    """The trial that a checkpoint is of, kept in each of its files.

    Attributes:
        name: The name of its search and its number, as ``gp_00003``.
        config: Its configuration as plain data, in ``state.pt``.
    """

    name: str
    config: Mapping[str, Any] | None = None

    def kept(self) -> dict[str, Any]:
        """Return what a file keeps."""
        return {"trial": self.name} | ({} if self.config is None else {"config": self.config})

    def fault_of(self, saved: Mapping[str, Any]) -> str | None:
        """Describe whose a file is, as "is of trial gp_00004"; ``None`` if it is of this trial.

        Args:
            saved: The content of the file. One of an earlier version does not say whose it is, and
                a configuration may lack values that an earlier version did not know.
        """
        if saved.get("trial", self.name) != self.name:
            return f"is of trial {saved['trial']!s:.120}"
        if self.config is not None and not _is_part(saved.get("config", {}), self.config):
            return "is of another configuration"
        return None


def _is_part(saved: Any, config: Any) -> bool:
    if not isinstance(saved, Mapping) or not isinstance(config, Mapping):
        return saved == config
    return all(key in config and _is_part(value, config[key]) for key, value in saved.items())


@runtime_checkable
class Saved(Protocol):
    """The folder of a checkpoint in some file system; Ray's ``Checkpoint`` is one."""

    @property
    def path(self) -> str:
        """Return the path in its file system."""
        ...

    @property
    def filesystem(self) -> "FileSystem":
        """Return its file system."""
        ...

    def as_directory(self) -> AbstractContextManager[str]:
        """Give a local folder with its files."""
        ...


@contextmanager
def newest_whole(
    checkpoints: Iterable[Saved], identity: Identity | None = None
) -> Iterator[tuple[Path | None, list[str]]]:
    """Find the first checkpoint that is whole.

    Args:
        checkpoints: The newest first.
        identity: The trial that they must be of; ``None`` for any.

    Yields:
        Its folder, ``None`` where none is whole; and a note where any was passed over.
    """
    from pyarrow.fs import FileType

    faults = []
    for checkpoint in checkpoints:
        name = Path(checkpoint.path).name
        if checkpoint.filesystem.get_file_info(checkpoint.path).type == FileType.NotFound:
            faults.append(f"{name} is missing")
            continue
        with checkpoint.as_directory() as folder:
            what = damage(Path(folder), identity)
            if what is None:
                yield Path(folder), _passed_over(faults, f"resumed from {name}")
                return
        faults.append(f"{name} is damaged ({what})")
    yield None, _passed_over(faults, "started from scratch")


def _passed_over(faults: Sequence[str], then: str) -> list[str]:
    return [f"{', '.join(faults)}: {then}"] if faults else []


def damage(folder: Path, identity: Identity | None = None) -> str | None:
    """Describe the damage of a checkpoint, as "state.pt is empty"; ``None`` if it has none.

    Args:
        folder: The checkpoint. One that was saved at a rung must also have a ``generator.pt``.
        identity: The trial that it must be of; ``None`` for any.
    """
    try:
        saved = load_whole(folder / STATE, "meta", identity)
        if "w1" in saved["metrics"] or (folder / GENERATOR).exists():
            load_whole(folder / GENERATOR, "meta", identity)
    except DamagedCheckpointError as error:
        return f"{error.path.name} {error.fault}"
    return None


def load_whole(
    path: Path, device: "torch.device | str", identity: Identity | None = None
) -> dict[str, Any]:
    """Load ``state.pt`` or ``generator.pt`` after verifying its checksums.

    ``torch.load`` alone does not verify them. A safetensors file has none.

    Args:
        path: The file; it may have any name, and is a safetensors file if the name ends so.
        device: Where its tensors are put; those of a safetensors file are put on the CPU.
        identity: The trial that it must be of; ``None`` for any.

    Raises:
        DamagedCheckpointError: if the file is missing, truncated or altered, if it is of another
            trial, or if it holds more than tensors, numbers and text. No code in it is run.
    """
    import torch  # importing it takes seconds

    is_safetensors = path.suffix == _SAFETENSORS
    if not is_safetensors and (fault := _zip_fault(path)) is not None:
        raise DamagedCheckpointError(path, fault)
    try:
        if is_safetensors:
            saved = _load_safetensors(path)
        else:
            saved = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        fault = "holds more than tensors, numbers and text"
        raise DamagedCheckpointError(path, fault) from error
    except ModuleNotFoundError as error:
        way_out = f"{sys.executable} -m pip install {error.name}"
        raise DamagedCheckpointError(path, f"needs {error.name}: {way_out}") from error
    except Exception as error:  # a wrong byte in a header can make torch raise any type
        raise DamagedCheckpointError(path, _cannot_be_read(error)) from error
    missing = [key for key in _KEYS.get(path.name, ()) if not _has(saved, key)]
    if missing:
        raise DamagedCheckpointError(path, f"lacks {', '.join(missing)}")
    if not isinstance(saved, dict):
        raise DamagedCheckpointError(path, f"holds no mapping, but a {type(saved).__name__}")
    if identity is not None and (fault := identity.fault_of(saved)) is not None:
        raise DamagedCheckpointError(path, fault)
    return saved


def _load_safetensors(path: Path) -> dict[str, Any]:
    """Load a safetensors file as the content of the ``generator.pt`` that it was made of."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    facts = {key: json.loads(metadata[key]) for key in _JSON_KEYS if key in metadata}
    names = {"trial": metadata["trial"]} if "trial" in metadata else {}
    return {"state_dict": weights, **facts, **names}


def _zip_fault(path: Path) -> str | None:
    """Verify the zip file that ``torch.save`` writes, which has a CRC-32 of each member."""
    try:
        if path.stat().st_size == 0:
            return "is empty"
        with zipfile.ZipFile(path) as file:
            # torch would read a member that is marked as a folder as zeros.
            folders = [member.filename for member in file.infolist() if member.external_attr]
            altered = file.testzip() or (folders[0] if folders else None)
    except FileNotFoundError:
        return "is missing"
    except zipfile.BadZipFile as error:
        if str(error) != "File is not a zip file":  # the message for a file without an end
            return _cannot_be_read(error)
        with path.open("rb") as file:
            return "ends too early" if file.read(2) == b"PK" else "is no file of torch.save"
    except Exception as error:  # a wrong byte in a header can make zipfile raise any type
        return _cannot_be_read(error)
    return None if altered is None else f"has wrong bytes in {Path(altered).name}"


def _cannot_be_read(error: Exception) -> str:
    first_line = str(error).partition("\n")[0]
    return f"cannot be read ({type(error).__name__}: {first_line:.200})"


def _has(saved: object, key: str) -> bool:
    return isinstance(saved, dict) and key in saved
