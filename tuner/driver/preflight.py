"""Check that this machine and the folder of a search can run what its file says."""

import itertools
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from trainables.config import DataConfig, expand, variables
from tuner import tracking
from tuner.driver.resume import changes, read_saved
from tuner.errors import BadInput, Fault
from tuner.space import (
    MlflowConfig,
    ResourceConfig,
    ResultsConfig,
    SearchSpec,
    possible_values,
)
from tuner.storage import is_remote, location_faults

#: The folder of decoded images, in the folder of all searches.
DATA_CACHE = "data-cache"
#: What a database's address does not take for a part of its path.
_SPECIAL = re.compile(r"\?|%[0-9A-Fa-f]{2}")
_DEVICES = Path("/dev")
#: Devices of GPUs that cannot be counted by their names: in Windows' Linux, and AMD's.
_OTHER_GPUS = ("dxg", "kfd")
#: Files and folders in the folder of all searches that are not of one search.
RESERVED_NAMES = ("mlflow.db", "mlflow.db.lock", "mlflow-artifacts", DATA_CACHE)


def num_cpus() -> int:
    """Count the CPUs that affinity, cgroup's quota and LOKY_MAX_CPU_COUNT leave this process.

    Raises:
        BadInput: where LOKY_MAX_CPU_COUNT is not an integer.
    """
    from joblib import cpu_count  # a fifth of a second

    try:
        return cpu_count()
    except ValueError as error:
        given = os.environ.get("LOKY_MAX_CPU_COUNT")
        if given is None:
            raise
        message = f"LOKY_MAX_CPU_COUNT must be an integer, got {given!r}: correct or unset it"
        raise BadInput("environment", [Fault("", message)]) from error


def num_gpus() -> int:
    """Count the GPUs that this process may use, without initialising CUDA in it.

    NVIDIA's are counted without loading torch, where they have devices of their own.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    num_devices = len(list(_DEVICES.glob("nvidia[0-9]*")))
    if num_devices == 0 and any((_DEVICES / name).exists() for name in _OTHER_GPUS):
        from torch.cuda import device_count

        return device_count()
    if visible is None:
        return num_devices
    # CUDA reads the list up to the first invalid entry: people hide all GPUs by "-1".
    listed = itertools.takewhile(lambda v: v.strip() not in ("", "-1"), visible.split(","))
    return min(num_devices, len(list(listed)))


def machine_faults(resources: ResourceConfig) -> list[Fault]:
    """Check that a trial fits this machine: else the search would wait for resources forever."""
    faults = []
    for key, needed, available in (
        ("cpus_per_trial", resources.cpus_per_trial, num_cpus()),
        ("gpus_per_trial", resources.gpus_per_trial, num_gpus()),
    ):
        if not isinstance(needed, str) and needed > available:
            message = f"must be at most {available}, all that this machine has, got {needed:g}"
            faults.append(Fault(f"resources.{key}", f"{message}: lower it, or give --address"))
    return faults


def compiler_faults(training: Any) -> list[Fault]:
    """Check for the C++ compiler that ``torch.compile`` needs: it fails late, in the first step."""
    compilers = (os.environ.get("CXX", ""), "g++", "clang++")
    if True not in possible_values(training.compile) or any(map(shutil.which, compilers)):
        return []
    message = "needs a C++ compiler, and this machine has none: install g++, name one in CXX, or "
    return [Fault("training.compile", f"{message}set it to false")]


def folder_faults(results: ResultsConfig) -> list[Fault]:
    """Check that the folder of all searches can be created and written to."""
    try:
        folder = results.folder
    except ValueError as error:
        return [Fault("results.runs_dir", str(error))]
    if "\0" in results.runs_dir:
        return [Fault("results.runs_dir", f"must not hold a null byte, got {results.runs_dir!r}")]
    if (fault := _unwritable_name(str(folder))) is not None:
        return [Fault("results.runs_dir", fault)]
    try:
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):  # tried, as permissions say nothing about root
            return []
    except OSError as error:
        message = f"{folder} cannot be written to ({error.strerror}): give another by --runs-dir"
        return [Fault("results.runs_dir", message)]


def _unwritable_name(folder: str) -> str | None:
    """Describe why a folder's name cannot stand in the files and addresses of a search."""
    try:
        folder.encode()
    except UnicodeEncodeError:
        return (
            f"must have a name in UTF-8, got {folder!r}: rename it, or give another by --runs-dir"
        )
    if (special := _SPECIAL.search(folder)) is not None:
        rule = f"must not hold {special[0]!r}, which has a meaning in the address of MLflow's "
        return f"{rule}database, got {folder}: give another by --runs-dir"
    return None


def on_end_faults(results: ResultsConfig) -> list[Fault]:
    """Check that this machine has the program that is to be run at the end."""
    if results.on_end is None or shutil.which(results.on_end[0]) is not None:
        return []
    message = f"no program {results.on_end[0]!r} is found: correct it, or give its path"
    return [Fault("results.on_end", message)]


def storage_faults(results: ResultsConfig) -> list[Fault]:
    """Check the text of the storage's location, without accessing it."""
    if results.storage is None:
        return []
    try:
        location = results.location or ""
    except ValueError as error:
        return [Fault("results.storage", str(error))]
    messages = location_faults(location)
    if is_remote(location) and (named := variables(location)):
        rule = f"must not hold ${named[0]}: variables are replaced only in a folder"
        messages.append(f"{rule}; write its value")
    return [Fault("results.storage", message) for message in messages]


def address_faults(mlflow: MlflowConfig) -> list[Fault]:
    """Check the text of MLflow's address, without accessing it."""
    fault = tracking.address_fault(mlflow)
    return [] if fault is None else [Fault("mlflow.tracking_uri", fault)]


def path_faults(data: DataConfig) -> list[Fault]:
    """Check that the data's path can be expanded."""
    try:
        expand(data.path or "")
    except ValueError as error:
        return [Fault("data.path", str(error))]
    return []


def taken_fault(place: str) -> Fault:
    """Return the fault of a new search whose folder, here or in the storage, holds one already."""
    message = f"{place} already holds a search: add --resume to resume it, or start another by"
    return Fault("name", f"{message} --name")


def name_faults(runs_dir: Path, spec: SearchSpec, *, resume: bool) -> list[Fault]:
    """Check that a new search has a new name, and a resumed one the file that it began with."""
    saved = runs_dir / spec.name / "spec.yaml"
    if spec.name in RESERVED_NAMES or saved.parent.is_file():
        message = f"{saved.parent} is not the folder of a search: give another name by --name"
        return [Fault("name", message)]
    if not saved.exists():
        return []
    if not resume:
        return [taken_fault(str(saved.parent))]
    before, faults = read_saved(saved)
    if before is None:
        return faults
    return [change.fault() for change in changes(before, spec) if not change.is_allowed]
