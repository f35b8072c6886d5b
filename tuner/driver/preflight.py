"""What a search needs besides a right file: this machine, and the folder it writes to."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.errors import BadInput, Fault
from tuner.space import Choice, ResourceConfig, SearchSpec, load_yaml, validate
from tuner.storage import location_faults

#: The folder of decoded images, in the folder of all searches.
DATA_CACHE = "data-cache"
#: What else stands there.
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
    """NVIDIA GPUs that this process may use, told without loading torch or Ray."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = len(list(Path("/dev").glob("nvidia[0-9]*")))
    if visible is None:
        return there
    # CUDA reads the list up to the first that is none: "-1" is how people hide all GPUs.
    listed = itertools.takewhile(lambda v: v.strip() not in ("", "-1"), visible.split(","))
    return min(there, len(list(listed)))


def machine_faults(resources: ResourceConfig) -> list[Fault]:
    """A trial that fits no node would be waited for without end."""
    faults = []
    for key, needed, there in (
        ("cpus_per_trial", resources.cpus_per_trial, num_cpus()),
        ("gpus_per_trial", resources.gpus_per_trial, num_gpus()),
    ):
        if not isinstance(needed, str) and needed > there:
            what = f"must be at most {there}, all that this machine has, got {needed:g}"
            faults.append(Fault(f"resources.{key}", f"{what}: lower it, or give --address"))
    return faults


def compiler_faults(training: Any) -> list[Fault]:
    """``torch.compile`` needs a C++ compiler, and says so at a trial's first step only."""
    asked = training.compile.choice if isinstance(training.compile, Choice) else (training.compile,)
    compilers = (os.environ.get("CXX", ""), "g++", "clang++")
    if True not in asked or any(shutil.which(name) for name in compilers):
        return []
    what = "needs a C++ compiler, and this machine has none: install g++, name one in CXX, or "
    return [Fault("training.compile", f"{what}leave it false")]


def folder_faults(runs_dir: Path) -> list[Fault]:
    """Whether the folder of all searches can be made and written to."""
    folder = runs_dir.absolute()
    if "\0" in str(folder):
        return [Fault("results.runs_dir", f"must not hold a null byte, got {str(runs_dir)!r}")]
    try:
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):  # tried, since permissions do not tell root
            return []
    except OSError as error:
        what = f"{folder} cannot be written to ({error.strerror}): choose another by --runs-dir"
        return [Fault("results.runs_dir", what)]


def storage_faults(location: str | None) -> list[Fault]:
    """What can be told of a storage location without looking there."""
    if location is None:
        return []

    return [Fault("results.storage", what) for what in location_faults(location)]


def name_faults(runs_dir: Path, spec: SearchSpec, *, resume: bool) -> list[Fault]:
    """A name stands for one search: a new one needs a new name, an old one its old file."""
    saved = runs_dir / spec.name / "spec.yaml"
    if spec.name in RESERVED_NAMES or saved.parent.is_file():
        what = f"{saved.parent} is not the folder of a search: choose another by --name"
        return [Fault("name", what)]
    if not saved.exists():
        return []
    if not resume:
        what = f"{saved.parent} already holds a search: go on with it by adding --resume"
        return [Fault("name", f"{what}, or start another by --name")]
    document = load_yaml(saved)[0]
    _, unsupported = validate(document)  # such as a sampler that only an earlier version had
    if unsupported:
        way_out = "which cannot be resumed by this version: start another search by --name"
        return [Fault(f.where, f"{f.what} in {saved}, {way_out}") for f in unsupported]
    was, now = _flat(document), _flat(spec.resolved())
    return [
        Fault(
            key,
            f"was {was.get(key)!r} when this search began, is now {now.get(key)!r}: "
            "set it back to resume, or start another search by --name",
        )
        for key in sorted(was.keys() | now.keys())
        if was.get(key) != now.get(key) and key != "results.runs_dir"
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
