"""Checks that involve more than one section of a search space.

Every check is given the sections that are valid by themselves. A section that is missing has faults
of its own, so that no check draws conclusions from it.
"""

from collections.abc import Mapping
from typing import Any

from trainables.config import CRITIC_FREE, GENERATOR_ALONE, no_estimate
from tuner.errors import Fault
from tuner.space.domains import Choice, Range, flat, grid_values, possible_values
from tuner.space.sections import BUDGETS

#: The limit for a grid that is run to its end.
MAX_GRID_POINTS = 100_000


def cross_section_faults(sections: Mapping[str, Any]) -> list[Fault]:
    """List the faults between sections that are each valid."""
    return [*_objective_faults(sections), *_pack_faults(sections), *_end_faults(sections)]


def _objective_faults(sections: Mapping[str, Any]) -> list[Fault]:
    """Check that trials ranked by their own critics all have the same critic."""
    if "objective" not in sections or sections["objective"].name != "critic_estimate":
        return []
    losses = possible_values(sections["training"].loss) if "training" in sections else ()
    if free := [loss for loss in losses if loss in CRITIC_FREE]:
        return [Fault("objective.name", no_estimate(free[0]).removeprefix("objective.name "))]
    searched = [
        f"{section}.{field}"
        for section in ("networks", "training")
        for field, value in flat(sections.get(section, ()))
        if isinstance(value, Range | Choice)
    ]
    at_fault = [key for key in searched if ".".join(key.split(".")[:2]) not in GENERATOR_ALONE]
    if not at_fault:
        return []
    is_one = len(at_fault) == 1
    rule = f"must not be critic_estimate while {', '.join(at_fault)} {'is' if is_one else 'are'} "
    reason = "searched: its scale depends on the critic, so that trials would differ by more than "
    way_out = f"their generators: fix {'it' if is_one else 'them'}, or give independent_critic"
    return [Fault("objective.name", rule + reason + way_out)]


def _pack_faults(sections: Mapping[str, Any]) -> list[Fault]:
    """Check that every batch size that may be drawn is a multiple of every pack."""
    if "training" not in sections:
        return []
    training = sections["training"]
    sizes, packs = (_whole_values(v) for v in (training.batch_size, training.pack))
    indivisible = ((s, p) for p in packs if p > 1 for s in sizes if s % p)
    if (first := next(indivisible, None)) is None:
        return []
    size, pack = first
    rule = f"must be a multiple of pack, which {size} is not of {pack}: "
    return [Fault("training.batch_size", rule + "list multiples with choice, or change pack")]


def _whole_values(value: Any) -> tuple[Any, ...]:
    is_searched = isinstance(value, Range | Choice)
    return tuple(grid_values(value) or ()) if is_searched else (value,)


def _end_faults(sections: Mapping[str, Any]) -> list[Fault]:
    """Check that the search ends: by its trials, a budget, or the last point of its grid."""
    search = sections.get("search")
    if search is None:
        return []
    faults = _gpu_faults(sections)
    if search.sampler == "grid":
        return [*faults, *_grid_faults(sections)]
    if search.num_trials is None and not search.budgets:
        message = f"needs num_trials or a budget ({', '.join(BUDGETS)}), got none: give one or more"
        return [Fault("search", message)]
    return faults


def _gpu_faults(sections: Mapping[str, Any]) -> list[Fault]:
    """Check that trials use what is budgeted, or the budget would never end the search."""
    resources = sections.get("resources")
    if sections["search"].gpu_hours is None or resources is None or resources.counted_gpus > 0:
        return []
    message = "needs trials with GPUs, but resources.gpus_per_trial is 0: raise that, or give "
    return [Fault("search.gpu_hours", f"{message}time_budget_s or generator_steps")]


def _grid_faults(sections: Mapping[str, Any]) -> list[Fault]:
    points, faults = 1, []
    for section in ("networks", "training"):
        for field, value in flat(sections.get(section, ())):
            if not isinstance(value, Range | Choice):
                continue
            if (axis := grid_values(value)) is None:
                rule = "is a range of real numbers, and a grid needs a finite space: "
                way_out = "list its values with choice, or give another search.sampler"
                faults.append(Fault(f"{section}.{field}", rule + way_out))
            points *= len(axis or (0,))
    if points > MAX_GRID_POINTS:
        rule = f"grid must have at most {MAX_GRID_POINTS:,} points, got {points:,}"
        faults.append(Fault("search.sampler", f"{rule}: narrow the space, or give random"))
    return faults
