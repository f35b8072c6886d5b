"""The rungs of a search: how many trials set out for each, and how they left it."""

import statistics
from dataclasses import dataclass
from typing import final

from tuner.page.facts import OUT_OF_TIME, Facts
from tuner.study import Trial


@final
@dataclass(frozen=True)
class Rung:
    """A rung and the way to it: ``entered`` trials set out, and each left in one of the ways."""

    steps: int
    entered: int
    went_on: int
    stopped: int
    out_of_time: int
    diverged: int
    failed: int
    under_way: int
    best: float | None
    median: float | None


def ladder(facts: Facts) -> list[Rung]:
    """The rungs, the first one first. To have gone on from the last is to be completed."""
    rows, below = [], -1
    for steps in facts.rungs:
        here = [t for t in facts.search.trials if below < 0 or _is_past(facts, t, below)]
        went_on = [t for t in here if _is_past(facts, t, steps)]
        left = [t for t in here if not _is_past(facts, t, steps)]
        ends = [OUT_OF_TIME if facts.fate(t) == OUT_OF_TIME else t.status for t in left]
        w1 = list(facts.w1_at(steps).values())
        rows.append(
            Rung(
                steps=steps,
                entered=len(here),
                went_on=len(went_on),
                stopped=ends.count("stopped"),
                out_of_time=ends.count(OUT_OF_TIME),
                diverged=ends.count("diverged"),
                failed=ends.count("failed"),
                under_way=ends.count(None),
                best=min(w1, default=None),
                median=statistics.median(w1) if w1 else None,
            )
        )
        below = steps
    return rows


def _is_past(facts: Facts, trial: Trial, steps: int) -> bool:
    if trial.status == "completed":
        return True
    # It reports next once it goes on: until then it has not left the rung.
    return trial.generator_steps > steps and steps < facts.last_rung
