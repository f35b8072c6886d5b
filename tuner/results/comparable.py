"""Tell whether the numbers of several searches compare."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tuner.errors import BadInput, Fault
from tuner.results.provenance import read_sessions
from tuner.results.search_folder import check_is_search
from tuner.space import read_saved_spec


def check_comparable(run_dirs: Sequence[Path]) -> None:
    """Check that searches measure ``w1`` alike: from the same data, at the same last rung.

    That is their data and the split, what the objective compares, how the critics of a rung are
    trained, and the generator steps after which a trial is complete.

    Raises:
        BadInput: if one differs from the first, with all differences; or is no search.
    """
    first, *others = run_dirs
    expected = _measure(first)
    for run_dir in others:
        faults = [
            Fault(key, f"is {value} here and {expected[key]} in {first}")
            for key, value in _measure(run_dir).items()
            if value != expected[key]
        ]
        if faults:
            way_out = "w1 does not compare between these searches: compare each by itself"
            raise BadInput(str(run_dir), [*faults, Fault("", way_out)])


def _measure(run_dir: Path) -> Mapping[str, str]:
    """Return what defines the ``w1`` of a search, by key."""
    check_is_search(run_dir)
    spec = read_saved_spec(run_dir / "spec.yaml")
    objective = spec.objective
    sessions = read_sessions(run_dir)
    # Sessions of earlier versions did not record it.
    data = next((session["data"] for session in reversed(sessions) if "data" in session), None)
    values = {
        "data": data or spec.data.model_dump(mode="json", exclude_none=True),
        "objective.ground": objective.compared,
        "objective.critic_steps": objective.critic_steps,
        "objective.num_critics": objective.num_critics,
        "objective.scaled_critic_lr": objective.scaled_critic_lr,
        "asha": f"{spec.asha.rungs[-1]} generator steps to the last rung",
    }
    return {key: str(value) for key, value in values.items()}
