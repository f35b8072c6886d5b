"""Provenance of a search's results: ``provenance.json``, one entry per session.

A resume may run under other versions or on another machine, so each session appends an entry.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tuner.storage import read_json, write_atomically

PROVENANCE = "provenance.json"
#: A session's facts by name; what could not be determined is missing.
Session = Mapping[str, str]

_ROOT = Path(__file__).parents[2]
_DISTRIBUTIONS = ("wgan-tuner", "torch", "ray", "optuna", "mlflow")
#: What a session records, in this order, by its label in the text.
_LABELS = {
    "time": "time",
    "wgan-tuner": "wgan-tuner",
    "git_commit": "commit",
    "python": "Python",
    "torch": "torch",
    "cuda": "CUDA",
    "ray": "Ray",
    "optuna": "Optuna",
    "mlflow": "MLflow",
    "host": "host",
    "os": "system",
    "cpu": "CPU",
    "gpu": "GPU",
    "command": "command",
    "data": "data fingerprint",
}
_VERSIONS = ("wgan-tuner", "git_commit", "python", "torch", "cuda", "ray", "optuna", "mlflow")
_ASIDE = ("command", "data")
#: What no two sessions share, and so tells nothing of a difference.
_OF_ONE_SESSION = ("time", "command")
#: Sessions that the file keeps, the latest; bytes of a file and characters of a value that are
#: read: the folder may be a stranger's.
_MAX_SESSIONS, _MAX_BYTES, _MAX_CHARS = 500, 1 << 20, 200
_MAX_COMMAND_CHARS = 1000
#: Seconds for git and for nvidia-smi: of a broken file system or driver they may never return.
_TIMEOUT_S = 10.0
_CPU_INFO = Path("/proc/cpuinfo")
_GPU_INFOS = Path("/proc/driver/nvidia/gpus")


def append_session(run_dir: Path, num_cpus: int, data: str | None = None) -> None:
    """Append the session that starts now to a search's ``provenance.json``.

    CUDA is not initialised: the driver must not occupy a GPU.

    Args:
        run_dir: The search's folder.
        num_cpus: The CPUs that this process may use.
        data: The fingerprint of the data.

    Raises:
        OSError: if the file cannot be written.
    """
    sessions = [*read_sessions(run_dir), this_session(num_cpus, data)][-_MAX_SESSIONS:]
    write_atomically(run_dir / PROVENANCE, json.dumps(sessions, indent=1) + "\n")


def read_sessions(run_dir: Path) -> list[Session]:
    """Read a search's sessions, the first one first; a damaged file counts as empty."""
    path = run_dir / PROVENANCE
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return []
    entries = (entry for entry in read_json(path, list) if isinstance(entry, dict))
    sessions = [
        {name: _clean(name, entry[name]) for name in _LABELS if isinstance(entry.get(name), str)}
        for entry in entries
    ]
    return [session for session in sessions if session]


def this_session(num_cpus: int, data: str | None = None) -> Session:
    """Describe this process and its machine."""
    from torch.version import cuda  # that of the build; a search has imported torch by then

    facts = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": _git_commit(_ROOT),
        "python": platform.python_version(),
        **{name: _version(name) for name in _DISTRIBUTIONS},
        "cuda": cuda,
        "host": socket.gethostname(),
        "os": f"{platform.system()} {platform.release()}",
        "cpu": f"{num_cpus} x {_cpu_model()}",
        "gpu": ", ".join(f"{n} x {name}" for name, n in Counter(_gpu_names()).items()) or None,
        "command": _command(),
        "data": data,
    }
    return {name: _clean(name, fact) for name in _LABELS if (fact := facts[name])}


def provenance_text(sessions: Sequence[Session]) -> str | None:
    """Describe the last session, and by what other sessions differ from it; ``None`` for none."""
    if not sessions:
        return None
    *_, last = sessions
    versions = [f"{_LABELS[name]} {_shown(last, name)}" for name in _VERSIONS if name in last]
    machine = ", ".join(last[name] for name in ("os", "cpu", "gpu") if name in last)
    text = f"Run by {', '.join(versions)}"
    text += f"; on {last.get('host', 'an unnamed host')} ({machine or 'unknown machine'})."
    text += "".join(
        f" {_LABELS[name].capitalize()}: {last[name]}." for name in _ASIDE if name in last
    )
    if len(sessions) > 1:
        differing = _differing(sessions)
        detail = f"they differ in {'; '.join(differing)}" if differing else "all alike"
        text += f" {len(sessions)} sessions: {detail}."
    return text


def _differing(sessions: Sequence[Session]) -> list[str]:
    """List the facts that are not the same in all sessions, with up to four values each."""
    texts = []
    for name in (name for name in _LABELS if name not in _OF_ONE_SESSION):
        values = list(dict.fromkeys(_shown(session, name) for session in sessions))
        if len(values) > 1:
            more = [f"{len(values) - 4} more"] if len(values) > 4 else []
            texts.append(f"{_LABELS[name]} ({', '.join([*values[:4], *more])})")
    return texts


def _shown(session: Session, name: str) -> str:
    """Return a fact as text; a commit is shortened."""
    fact = session.get(name, "unknown")
    if name != "git_commit":
        return fact
    commit, _, changed = fact.partition("-")
    return commit[:10] + (" with uncommitted changes" if changed else "")


def _clean(name: str, text: str) -> str:
    most = _MAX_COMMAND_CHARS if name == "command" else _MAX_CHARS
    return re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text))[:most]


def _command() -> str:
    """Return how this process was started, with the interpreter's name in place of its path.

    It holds no secret: a place whose address has one is refused before a session begins.
    """
    interpreter, *arguments = sys.orig_argv
    return shlex.join([Path(interpreter).name, *arguments])


def _version(distribution: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(distribution)
    return None  # this program itself, run from a checkout that is not installed


def _git_commit(root: Path) -> str | None:
    """Return the commit of a checkout, with ``-dirty`` if tracked files differ from it."""
    if not (root / ".git").exists():
        return None  # installed; a repository further up would be another project's
    # Without the index's lock: another git may be running.
    command = ["git", "--no-optional-locks", "-C", str(root), "describe"]
    return _output([*command, "--always", "--dirty", "--abbrev=40", "--exclude=*"])


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        info = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
        if (model := re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)) is not None:
            return model[1]
    return platform.processor() or platform.machine() or "unknown CPU"


def _gpu_names() -> Iterable[str]:
    """Return the names of NVIDIA's GPUs, as the kernel's driver or else its library has them."""
    names = []
    with contextlib.suppress(OSError):
        for info in sorted(_GPU_INFOS.glob("*/information")):
            if model := re.search(r"^Model:\s*(.+)$", info.read_text(), re.MULTILINE):
                names.append(model[1].strip())
    if names or shutil.which("nvidia-smi") is None:
        return names
    listed = _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return listed.splitlines() if listed else []


def _output(command: Sequence[str]) -> str | None:
    """Return what a command prints; ``None`` if it fails."""
    # A git hook's variables would name another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S, env=environment
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() or None
