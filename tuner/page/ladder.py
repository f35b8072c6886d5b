"""Count the trials at each rung, by outcome."""

import statistics
from dataclasses import dataclass
from typing import final

from tuner.page.facts import OUT_OF_BUDGET, RUNNING, WAITING, Facts
from tuner.study import Trial


@final
@dataclass(frozen=True)
class Rung:
    """A rung, and the outcomes of the ``entered`` trials that started towards it.

    ``best`` and ``median`` are the ``w1`` of the trials that were scored at the rung.
    """

    steps: int
    entered: int
    continued: int
    stopped: int
    out_of_budget: int
    diverged: int
    failed: int
    running: int
    waiting: int
    best: float | None
    median: float | None


def ladder(facts: Facts) -> list[Rung]:
    """Return the rungs in ascending order. Trials that continued past the last are completed."""
    rows, below = [], -1
    for steps in facts.rungs:
        entered = [t for t in facts.search.trials if below < 0 or _is_past(facts, t, below)]
        continued = [t for t in entered if _is_past(facts, t, steps)]
        left = [t for t in entered if not _is_past(facts, t, steps)]
        ends = ["stopped" if (f := facts.outcome(t)).startswith("stopped") else f for t in left]
        w1 = list(facts.w1_at(steps).values())
        rows.append(
            Rung(
                steps=steps,
                entered=len(entered),
                continued=len(continued),
                stopped=ends.count("stopped"),
                out_of_budget=ends.count(OUT_OF_BUDGET),
                diverged=ends.count("diverged"),
                failed=ends.count("failed"),
                running=ends.count(RUNNING),
                waiting=ends.count(WAITING),
                best=min(w1, default=None),
                median=statistics.median(w1) if w1 else None,
            )
        )
        below = steps
    return rows


def _is_past(facts: Facts, trial: Trial, steps: int) -> bool:
    if trial.status == "completed":
        return True
    # The first report past the rung shows that the trial continued.
    return trial.generator_steps > steps and steps < facts.last_rung
