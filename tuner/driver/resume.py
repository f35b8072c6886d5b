"""Compare a search that is to be resumed with the search that its folder holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import BadInput, Fault
from tuner.space import SearchSpec, load_yaml, read_saved_spec, validate, with_earlier_values
from tuner.storage import in_use

if TYPE_CHECKING:
    from trainables.data import Data

#: The keys and sections that may change, as no number of any trial follows from them: how many
#: trials there are, where and how fast they run, how often they report, and where results go.
#: Reports and checkpoints between rungs draw no random numbers.
MAY_CHANGE = (
    "search.num_trials",
    "search.time_budget_s",
    "search.generator_steps",
    "search.gpu_hours",
    "objective.final_seeds",
    "resources.",
    "reporting.",
    "results.runs_dir",
    "results.on_end",
    "mlflow.",
    "tracking.",
)


@dataclass(frozen=True)
class Change:
    """A key of a search whose value has changed; ``None`` where it has none."""

    key: str
    before: Any
    now: Any

    @property
    def is_allowed(self) -> bool:
        """Return whether a resume may make this change."""
        return self.key.startswith(MAY_CHANGE)

    def fault(self) -> Fault:
        """Return the fault of a change that is not allowed."""
        message = f"was {self.before!r} when this search began, is now {self.now!r}"
        way_out = "set it back to resume, or start another search by --name"
        return Fault(self.key, f"{message}: {way_out}")

    def __str__(self) -> str:
        """Return the change in words."""
        return f"{self.key} is now {self.now!r}, was {self.before!r}"


def read_saved(saved: Path) -> tuple[SearchSpec | None, list[Fault]]:
    """Read the search that a folder holds.

    A key that the file lacks has its default: an earlier version may not have known it.

    Args:
        saved: The search's ``spec.yaml``.

    Returns:
        The search and no faults; or ``None`` and the faults, if this version cannot resume it.

    Raises:
        BadInput: if the file cannot be read as a mapping.
    """
    document = with_earlier_values(load_yaml(saved)[0])
    spec, unsupported = validate(document)  # a sampler of an earlier version, say
    way_out = "which cannot be resumed by this version: start another search by --name"
    return spec, [Fault(f.where, f"{f.message} in {saved}, {way_out}") for f in unsupported]


def changes(before: SearchSpec, spec: SearchSpec) -> list[Change]:
    """List what differs between a search as it is saved and as it is requested."""
    was, now = _flat(before.resolved()), _flat(spec.resolved())
    return [
        Change(key, was.get(key), now.get(key))
        for key in sorted(was.keys() | now.keys())
        if was.get(key) != now.get(key)
    ]


def check_data(fingerprint: str, data: "Data") -> None:
    """Check that the data are those of a search: with others, or another split, trials differ.

    Args:
        fingerprint: The fingerprint of the data that the search began with.
        data: The data now.

    Raises:
        BadInput: if they are not.
    """
    if data.fingerprint() != fingerprint:
        message = "are not those that this search began with: restore them to resume"
        raise BadInput("--resume", [Fault("data", f"{message}, or start another search by --name")])


def preview(run_dir: Path, spec: SearchSpec, data: "Data") -> list[str]:
    """Return what a resume would say first; nothing is written.

    Args:
        run_dir: The search's folder.
        spec: The search, as requested and checked.
        data: Its data.

    Raises:
        BadInput: if the resume would be refused.
    """
    if not (run_dir / "spec.yaml").exists():
        return [f"{run_dir} holds no search yet: --resume would start it"]
    from tuner.results import read_snapshot, trials_text

    saved = read_saved_spec(run_dir / "spec.yaml")
    lines = [f"changed: {change}" for change in changes(saved, spec)]
    if not (run_dir / "study.log").exists():
        return lines
    search = read_snapshot(run_dir)
    if search.is_running:
        raise in_use(run_dir)
    if search.data is not None:
        check_data(search.data, data)
    num_ended = sum(trial.status is not None for trial in search.trials)
    resumed = f"{len(search.trials) - num_ended} to resume"
    return [
        *lines,
        f"{run_dir} holds {trials_text(len(search.trials))}: {num_ended} ended, {resumed}",
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
