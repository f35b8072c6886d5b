"""The words beside a report's figures: each sentence says only what the numbers bear out."""

from collections.abc import Sequence
from typing import Any

from tuner.page.facts import (
    Facts,
    WrongPick,
    wrong_pick,
)
from tuner.page.figures import MOST_CURVES, shown
from tuner.page.ladder import ladder
from tuner.page.spaces import MOST_LINES, MOST_SLICES
from tuner.page.style import number, short
from tuner.results import trials_text
from tuner.study import MIN_RESAMPLES, MIN_TRIALS, Importance

_SECTIONS = (
    ("answer", "Answer"),
    ("next", "What next"),
    ("curves", "Learning curves"),
    ("mattered", "What mattered"),
    ("methods", "Methods"),
    ("critic", "Own critics"),
    ("samples", "Samples"),
    ("table", "All trials"),
)
_KINDS = ("training.loss", "training.constraint", "networks.architecture")


def trials(facts: Facts) -> dict[str, Any]:
    """The words of the figures that show the trials as they went."""
    num, drawn = len(facts.curves), len(shown(facts, MOST_CURVES))
    note = f"Of {num:,} scored trials {drawn:,} are drawn: the best half, and an even choice."
    rows = [row for row in ladder(facts) if row.entered]
    brackets = facts.search.spec.asha.brackets
    many = f" Of {brackets} brackets, the later ones pass over the first rungs." * (brackets > 1)
    has_cut = any(r.out_of_time for r in rows)  # a column that most searches do not need
    ends = ["stopped", *["out of time"] * has_cut, "diverged", "failed", "under way"]
    head = ["rung", "entered", "went on", *ends]
    return {
        "curves_note": note if drawn < num else "",
        "ladder_note": " To go on from the last one is to be completed." + many,
        "ladder_head": [*head, "best w1", "median w1"],
        "ladder": [
            [
                *(f"{n:,}" for n in (r.steps, r.entered, r.went_on, r.stopped)),
                *[f"{r.out_of_time:,}"] * has_cut,
                *(f"{n:,}" for n in (r.diverged, r.failed, r.under_way)),
                *("-" if w1 is None else f"{w1:.4g}" for w1 in (r.best, r.median)),
            ]
            for r in rows
        ],
        "methods": [(f"fig-method-{i}", short(k)) for i, k in enumerate(method_keys(facts))],
        "first_rung": f"{facts.first_scored_rung:,}",
        "last_rung": f"{facts.last_rung:,}",
        "sections": [s for s in _SECTIONS if s[0] != "methods" or method_keys(facts)],
        **_critics(facts),
    }


def method_keys(facts: Facts) -> list[str]:
    """The kinds that are searched, where any trial has a score to show."""
    domains = facts.search.spec.domains
    return [key for key in _KINDS if key in domains] if facts.curves else []


def critic_rungs(facts: Facts) -> list[int]:
    """The rungs at which the two orders are compared: where all are, and where the best are."""
    if not facts.curves:
        return []
    rungs = [facts.first_scored_rung, facts.last_rung]
    return [s for s in dict.fromkeys(rungs) if facts.w1_at(s)]


def _critics(facts: Facts) -> dict[str, Any]:
    rungs = critic_rungs(facts)
    picks = [pick for steps in rungs if (pick := wrong_pick(facts, steps)) is not None]
    notes = [
        "A critic's own estimate is K times the distance, for a K of its own that its constraint, "
        "architecture and learning rates set. Here is each trial's beside w1."
    ]
    if not picks:
        notes.append("It takes two scored trials to compare the orders.")
    return {
        "critic_notes": [*notes, *map(_pick_text, picks)],
        "critics": [(f"fig-critic-{i}", f"At step {steps:,}") for i, steps in enumerate(rungs)],
    }


def _pick_text(pick: WrongPick) -> str:
    start = f"At step {pick.steps:,}, of {pick.num_trials:,} trials, "
    alike = f"Of all pairs of trials, both order {pick.alike:.0%} alike (half would by chance)."
    if pick.trial.number == pick.best.number:
        return f"{start}both pick trial {pick.best.trial_id}. {alike}"
    return (
        f"{start}the lowest own estimate is that of trial {pick.trial.trial_id} "
        f"({number(pick.estimate)}): by w1 it is number {pick.place:,}, at {number(pick.w1)} "
        f"instead of the {number(pick.best_w1)} of trial {pick.best.trial_id}. {alike}"
    )


_EVALUATOR_TITLES = {"forest": "what makes the difference", "top quarter": "what makes the best"}
_EVALUATOR_NOTES = {
    "forest": "mean decrease of impurity in a random forest",
    "top quarter": "PED-ANOVA: what tells the best quarter from the rest",
}


def importance(scope: str, evaluator: str, steps: int, num: int, id_: str) -> dict[str, str]:
    """The title of a figure of importances, and what is below it."""
    whose = "All scored trials" if scope == "all" else "Completed trials"
    what = f"{num:,} trials, by w1 at step {steps:,}; {_EVALUATOR_NOTES[evaluator]}."
    lacking = f"{trials_text(num)}: too few to tell, it takes {MIN_TRIALS}."
    title = f"{whose}: {_EVALUATOR_TITLES[evaluator]}"
    return {"id": id_, "title": title, "note": what if id_ else lacking}


def space(
    facts: Facts,
    num_keys: int,
    num_slices: int,
    rankings: Sequence[Sequence[Importance]],
) -> dict[str, Any]:
    """The words of what mattered."""
    drawn, scored = len(shown(facts, MOST_LINES)), len(facts.curves)
    return {
        "num_searched": num_keys,
        "importance_notes": _importance_notes([row for ranking in rankings for row in ranking]),
        "slices_note": f"The {MOST_SLICES} that mattered most, of {num_keys}."
        if num_slices < num_keys and num_slices == MOST_SLICES
        else "",
        "parallel_note": f"Of {scored:,} trials {drawn:,} are drawn." if drawn < scored else "",
        "parallel_px": 110 * min(10, num_keys + 2),
    }


def _importance_notes(rows: Sequence[Importance]) -> list[str]:
    notes = [
        "Optuna's evaluators, on the ranks of the scores. Bars add up to 100%, whatever the "
        "hyperparameters explain; lines are 95% intervals, by resampling the trials; a mark shows "
        "what shuffled scores give, and a grey bar is no longer than that. The sampler chose where "
        "to look, so that these tell of this search more than of the method."
    ]
    if len({row.num_trials for row in rows}) > 1:
        notes.append(
            "A hyperparameter that only some trials have is judged among those, so that the bars "
            "add up to more than 100%."
        )
    if rows and any(row.low is None for row in rows):
        notes.append(
            f"Some lack an interval: there was no time for {MIN_RESAMPLES} resamples. Run "
            "python -m tuner.report once the machine has less to do."
        )
    return notes
