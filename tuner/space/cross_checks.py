"""What one section of a search space says of another: each may be right, and the two not agree.

Every check takes the sections that are right by themselves; one that is missing from them has
faults of its own, and nothing is concluded from it.
"""

from collections.abc import Mapping
from typing import Any

from trainables.config import GENERATOR_ALONE
from tuner.errors import Fault
from tuner.space.domains import Choice, Range, flat, grid_values

#: More points than this and a grid is not something to be run to its end.
MAX_GRID_POINTS = 100_000


def cross_section_faults(sections: Mapping[str, Any]) -> list[Fault]:
    """Every fault that lies between sections, none of it in one alone."""
    return [*_objective_faults(sections), *_end_faults(sections)]


def _objective_faults(sections: Mapping[str, Any]) -> list[Fault]:
    """Trials' own critics compare trials only where all of those critics are made alike."""
    if "objective" not in sections or sections["objective"].name != "critic_estimate":
        return []
    searched = [
        f"{section}.{field}"
        for section in ("networks", "training")
        for field, value in flat(sections.get(section, ()))
        if isinstance(value, Range | Choice)
    ]
    at_fault = [key for key in searched if ".".join(key.split(".")[:2]) not in GENERATOR_ALONE]
    if not at_fault:
        return []
    what = f"critic_estimate must not rank trials while {', '.join(at_fault)}"
    why = "searched: its scale follows from the critic, so that trials differ in it by more than"
    way_out = f"fix {'it' if len(at_fault) == 1 else 'them'}, or take independent_critic"
    verb = "is" if len(at_fault) == 1 else "are"
    return [Fault("objective.name", f"{what} {verb} {why} their generators: {way_out}")]


def _end_faults(sections: Mapping[str, Any]) -> list[Fault]:
    """A search must come to an end: by its trials, its time, or a grid's last point."""
    search = sections.get("search")
    if search is None:
        return []
    if search.sampler == "grid":
        return _grid_faults(sections)
    if search.num_trials is None and search.time_budget_s is None:
        what = "needs num_trials or time_budget_s, got neither: give one or both"
        return [Fault("search", what)]
    return []


def _grid_faults(sections: Mapping[str, Any]) -> list[Fault]:
    points, faults = 1, []
    for section in ("networks", "training"):
        for field, value in flat(sections.get(section, ())):
            if not isinstance(value, Range | Choice):
                continue
            if (axis := grid_values(value)) is None:
                what = "is a range of real numbers, and a grid needs a finite space: "
                way_out = "list its values with choice, or take another search.sampler"
                faults.append(Fault(f"{section}.{field}", what + way_out))
            points *= len(axis or (0,))
    if points > MAX_GRID_POINTS:
        what = f"grid must have at most {MAX_GRID_POINTS:,} points, got {points:,}"
        faults.append(Fault("search.sampler", f"{what}: narrow the space, or take random"))
    return faults
