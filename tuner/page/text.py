"""Write the text next to the figures of a report."""

from collections.abc import Sequence
from typing import Any

from tuner.page.facts import OUT_OF_BUDGET, RUNNING, WAITING, CriticPick, Facts, critic_pick
from tuner.page.figures import MAX_CURVES, select_trials
from tuner.page.ladder import ladder
from tuner.page.spaces import MAX_LINES, MAX_SLICES
from tuner.page.style import number, short
from tuner.page.timeline import timeline_note
from tuner.page.training import select_training
from tuner.results import trials_text
from tuner.study import MIN_RESAMPLES, MIN_TRIALS, Importance

_SECTIONS = (
    ("answer", "Answer"),
    ("next", "Next steps"),
    ("curves", "Learning curves"),
    ("mattered", "Importances"),
    ("methods", "Methods"),
    ("critic", "Own critics"),
    ("samples", "Samples"),
    ("table", "All trials"),
)
_METHOD_KEYS = ("training.loss", "training.constraint", "networks.architecture")


def trials(facts: Facts) -> dict[str, Any]:
    """Return the template values for the sections about the trials."""
    num, drawn = len(facts.curves), len(select_trials(facts, MAX_CURVES))
    note = (
        f"Of {num:,} scored trials {drawn:,} are drawn: the best, and evenly spaced ones of the "
        "others."
    )
    rows = [row for row in ladder(facts) if row.entered]
    brackets = facts.search.spec.asha.brackets
    several = f" The search has {brackets} brackets, and all but the first skip rungs."
    # Most searches do not need these columns.
    has_cut, has_waiting = any(r.out_of_budget for r in rows), any(r.waiting for r in rows)
    ends = ["stopped", *[OUT_OF_BUDGET] * has_cut, "diverged", "failed", RUNNING]
    ends += [WAITING] * has_waiting
    head = ["rung", "entered", "continued", *ends]
    return {
        "curves_note": note if drawn < num else "",
        "training_note": _training_note(facts),
        "timeline_note": timeline_note(facts),
        "ladder_note": " A trial that continues past the last rung is completed."
        + several * (brackets > 1),
        "ladder_head": [*head, "best w1", "median w1"],
        "ladder": [
            [
                *(f"{n:,}" for n in (r.steps, r.entered, r.continued, r.stopped)),
                *[f"{r.out_of_budget:,}"] * has_cut,
                *(f"{n:,}" for n in (r.diverged, r.failed, r.running)),
                *[f"{r.waiting:,}"] * has_waiting,
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
    """Return the searched keys that define a method, if any trial has a score."""
    domains = facts.search.spec.domains
    return [key for key in _METHOD_KEYS if key in domains] if facts.curves else []


def critic_rungs(facts: Facts) -> list[int]:
    """Return the rungs at which the own critics are compared with ``w1``: the first and last."""
    if not facts.curves:
        return []
    rungs = [facts.first_scored_rung, facts.last_rung]
    return [s for s in dict.fromkeys(rungs) if facts.w1_at(s)]


def _critics(facts: Facts) -> dict[str, Any]:
    rungs = critic_rungs(facts)
    picks = [pick for steps in rungs if (pick := critic_pick(facts, steps)) is not None]
    notes = [
        "The estimate of a trial's own critic is K times the distance, and K differs between "
        "trials with the constraint, the architecture and the learning rates. The figures show "
        "the estimate of each trial against its w1."
    ]
    if not picks:
        notes.append("The comparison of the two orders needs two scored trials.")
    return {
        "critic_notes": [*notes, *map(_pick_text, picks)],
        "critics": [(f"fig-critic-{i}", f"At step {steps:,}") for i, steps in enumerate(rungs)],
    }


def _training_note(facts: Facts) -> str:
    drawn, num = len(select_training(facts)), sum(bool(r) for r in facts.search.reports.values())
    return "" if drawn == num else f"Of {num:,} trials {drawn:,} are drawn."


def _pick_text(pick: CriticPick) -> str:
    start = f"At step {pick.steps:,}, of {pick.num_trials:,} trials, "
    alike = f"Both order {pick.alike:.0%} of all pairs of trials alike (50% by chance)."
    if pick.trial.number == pick.best.number:
        return f"{start}both pick trial {pick.best.trial_id}. {alike}"
    return (
        f"{start}the lowest own estimate is that of trial {pick.trial.trial_id} "
        f"({number(pick.estimate)}). By w1 that trial has place {pick.place:,}, with "
        f"{number(pick.w1)} against the {number(pick.best_w1)} of trial {pick.best.trial_id}. "
        f"{alike}"
    )


_EVALUATOR_TITLES = {
    "forest": "importance for all differences",
    "top quarter": "importance for the best quarter",
}
_EVALUATOR_NOTES = {
    "forest": "mean decrease of impurity in a random forest",
    "top quarter": "PED-ANOVA, the best quarter against the rest",
}


def importance(scope: str, evaluator: str, steps: int, num: int, id_: str) -> dict[str, str]:
    """Return the title and the note of a figure of importances.

    Args:
        scope: ``all`` or ``completed``.
        evaluator: The evaluator.
        steps: The rung.
        num: The number of trials.
        id_: The figure's id, or an empty string if it was not drawn.
    """
    group = "All scored trials" if scope == "all" else "Completed trials"
    note = f"{num:,} trials, by w1 at step {steps:,}; {_EVALUATOR_NOTES[evaluator]}."
    too_few = f"{trials_text(num)}: too few, at least {MIN_TRIALS} are needed."
    title = f"{group}: {_EVALUATOR_TITLES[evaluator]}"
    return {"id": id_, "title": title, "note": note if id_ else too_few}


def space(
    facts: Facts,
    num_keys: int,
    num_slices: int,
    rankings: Sequence[Sequence[Importance]],
) -> dict[str, Any]:
    """Return the template values for the section about the search space."""
    drawn, scored = len(select_trials(facts, MAX_LINES)), len(facts.curves)
    return {
        "num_searched": num_keys,
        "importance_notes": _importance_notes([row for ranking in rankings for row in ranking]),
        "slices_note": f"The {MAX_SLICES} most important of {num_keys} hyperparameters."
        if num_slices < num_keys and num_slices == MAX_SLICES
        else "",
        "parallel_note": _parallel_note(facts, drawn, scored),
        "parallel_px": 110 * min(10, num_keys + 2),
    }


def _parallel_note(facts: Facts, drawn: int, scored: int) -> str:
    notes = []
    if drawn < scored:
        notes.append(f"Of {scored:,} trials {drawn:,} are drawn, and only those can be selected.")
    keys = facts.search.spec.domains.keys()
    if any(keys - t.params.keys() for t in facts.search.trials):
        notes.append("A trial without a hyperparameter passes through the lower end of its axis.")
    return " ".join(notes)


def _importance_notes(rows: Sequence[Importance]) -> list[str]:
    notes = [
        "These are importances by Optuna's evaluators, computed from the ranks of the scores. The "
        "bars add up to 100%, however little the hyperparameters explain. Lines are 95% intervals "
        "from resampled trials. A mark is the importance that shuffled scores reach by chance, and "
        "a bar that does not exceed it is grey. The sampler selected the trials, so the "
        "importances hold for this search rather than for the method."
    ]
    if len({row.num_trials for row in rows}) > 1:
        notes.append(
            "A hyperparameter that only some trials have is compared among those, so the bars add "
            "up to more than 100%."
        )
    if rows and any(row.low is None for row in rows):
        notes.append(
            f"Some bars have no interval, since there was no time for {MIN_RESAMPLES} resamples. "
            "Run python -m tuner.report when the machine is less busy."
        )
    return notes
