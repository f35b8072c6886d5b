"""The words of a report: each sentence says only what the search's numbers bear out."""

import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from tuner import results
from tuner.display import clock
from tuner.importances import LEAST_RESAMPLES, MIN_TRIALS, Importance
from tuner.interactions import MIN_TRIALS as MIN_PAIRED
from tuner.interactions import Pair
from tuner.report_baseline import Baseline
from tuner.report_facts import (
    Cost, Facts, Retrained, WrongPick, cost, ladder, last_common_rung, wrong_pick,
)
from tuner.report_figures import MOST_CURVES, shown
from tuner.report_hints import best_config
from tuner.report_spaces import MOST_LINES, MOST_SLICES
from tuner.report_style import number, short
from tuner.study import Trial

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


def answer(
    facts: Facts, defaults: Sequence[Baseline], seeds: Sequence[Retrained]
) -> dict[str, Any]:
    """The top of the page: what is best, at what cost, and beside what."""
    search, best = facts.search, facts.search.best
    return {
        "name": search.spec.name,
        "state": search.state,
        "sections": [s for s in _SECTIONS if s[0] != "methods" or method_keys(facts)],
        "lead": _lead(facts),
        "best": None if best is None else _best(facts, best),
        "verdict": _verdict(facts, best),
        "config": best_config(facts),
        "full_config": best and yaml.safe_dump(best.config.applied(), sort_keys=False).strip(),
        "stats": _stats(cost(facts), facts),
        "comparison": _comparison(facts, defaults),
        "baseline_notes": _baseline_notes(defaults),
        "missing_yaml": "".join(b.yaml for b in defaults if b.trial is None and not b.excluded),
        "luck": _luck(facts, seeds),
        "luck_command": None
        if best is None or seeds
        else f"python -m tuner.train {shlex.quote(str(search.run_dir))} --seeds 5",
    }


def _lead(facts: Facts) -> str:
    spec = facts.search.spec
    by = "w1, by independent critics"
    if spec.objective.metric != "w1":
        by = f"{spec.objective.metric}, of the trials' own critics"
    return (
        f"A search of {len(spec.domains)} hyperparameters on {spec.data.dataset}, by {by}; lower is "
        f"better. w1 estimates the Wasserstein-1 distance from the data, in their own units."
    )


def _best(facts: Facts, best: Trial) -> dict[str, str]:
    if best.final is not None:
        w1, error = best.final["w1_final"], best.final["w1_final_stderr"]
        return _number_of(best, w1, error, "w1 by the final")
    w1 = facts.curves.get(best.number, {}).get(best.generator_steps)
    if w1 is None:
        metric = facts.search.spec.objective.metric
        return _number_of(best, best.score or 0.0, None, f"{metric} at its last rung")
    return _number_of(best, w1, facts.stderr_at_rung, "w1 at its last rung")


def _number_of(best: Trial, w1: float, error: float | None, unit: str) -> dict[str, str]:
    half = "" if error is None else f"{results.half_width(error):.2g}"
    return {"trial_id": best.trial_id, "w1": f"{w1:.4g}", "error": half, "unit": unit}


def _verdict(facts: Facts, best: Trial | None) -> list[str]:
    search = facts.search
    if best is None:
        return [_no_best(facts)]
    texts = []
    if best.final is not None:
        error = results.half_width(best.final["w1_final_stderr"])
        texts.append(f"By the final w1 is {best.final['w1_final']:.4g} ± {error:.2g} (95%).")
        ties = results.ties_text(best, search.trials)
        texts.append(f"It is {ties}." if ties else "No other trial of the final is tied with it.")
    else:
        texts.append("It has not been through the final, so that its score is of its rung alone.")
    w1 = facts.curves.get(best.number, {}).get(best.generator_steps)
    if w1 is not None:
        stderr = facts.stderr_at_rung
        error_text = "" if stderr is None else f" ± {results.half_width(stderr):.2g} (95%)"
        texts.append(f"At its last rung, step {best.generator_steps:,}: {w1:.4g}{error_text}.")
        texts += _beside_floor(facts, w1, stderr or 0.0)
    return [texts[0], " ".join(texts[1:])]


def _no_best(facts: Facts) -> str:
    counts = {s: sum(t.status == s for t in facts.search.trials) for s in ("diverged", "failed")}
    num = len(facts.search.trials)
    if not num:
        return "No trial has been proposed yet, so there is nothing to tell."
    for status, count in counts.items():
        if count == num:
            trials = "The only trial" if num == 1 else f"All {num} trials"
            return f"{trials} {status}: there is no best one. The table of trials says why."
    return f"None of {num} trial{'s' * (num > 1)} has completed, so there is no best one yet."


def _beside_floor(facts: Facts, w1: float, stderr: float) -> list[str]:
    floor = facts.search.floor
    if floor is None:
        return []
    between = results.half_width((stderr**2 + floor["w1_floor_stderr"] ** 2) ** 0.5)
    value = floor["w1_floor"]
    half = results.half_width(floor["w1_floor_stderr"])
    text = f"Real samples in the generator's place score {value:.4g} ± {half:.2g} there (the floor)"
    if w1 - value <= between:
        return [f"{text}, which the best cannot be told from."]
    return [f"{text}, and the best is above it by more than the error."]


def _stats(spent: Cost, facts: Facts) -> list[tuple[str, str, str]]:
    trials = facts.search.trials
    names = ("completed", "stopped", "diverged", "failed", None)
    counts = [(sum(t.status == s for t in trials), s or "under way") for s in names]
    of = facts.search.spec.num_trials
    asked = f" of {of:,}" if of and of != len(trials) else ""
    saved = f"{spent.saved_steps:,} steps that stopped trials did not train"
    final = f", {spent.final_s:,.0f} s of the final" if spent.final_s else ""
    return [
        ("trials", f"{len(trials):,}{asked}", ", ".join(f"{n} {s}" for n, s in counts if n)),
        ("wall time", clock(spent.wall_s), "h:mm:ss, over all sittings"),
        (
            "CPU time of the trials",
            f"{spent.training_cpu_s + spent.scoring_cpu_s:,.0f} s",
            f"{spent.training_cpu_s:,.0f} s training, {spent.scoring_cpu_s:,.0f} s scoring{final}",
        ),
        ("generator steps", f"{spent.generator_steps:,}", "over all trials"),
        ("saved by stopping early", f"{spent.saved_share:.0%}", saved),
    ]


def _comparison(facts: Facts, defaults: Sequence[Baseline]) -> list[dict[str, str]]:
    best = facts.search.best
    rows = [
        _row(f"papers' default point, {b.method}", b.trial, b.steps, b.w1, b.best_w1)
        for b in defaults
        if best is not None and b.trial is not None
    ]
    median = facts.median
    if best is not None and median is not None and len(facts.completed) > 1:
        steps = last_common_rung(facts, median, best)
        w1 = [None if steps is None else facts.curves[t.number][steps] for t in (median, best)]
        what = f"median of the {len(facts.completed)} completed trials"
        rows.append(_row(what, median, steps, *w1))
    return rows


def _row(
    what: str, trial: Trial, steps: int | None, w1: float | None, best_w1: float | None
) -> dict[str, str]:
    ratio = "not comparable: no rung that both reached"
    if w1 is not None and best_w1 is not None:
        if w1 == best_w1:
            ratio = "this very trial, or equal"
        elif min(w1, best_w1) <= 0:
            ratio = f"{abs(w1 - best_w1):.4g} {'lower' if best_w1 < w1 else 'higher'}"
        else:
            share = abs(1 - best_w1 / w1)
            ratio = f"{share:.0%} {'lower' if best_w1 < w1 else 'higher'}"
    return {
        "what": what,
        "trial": trial.trial_id,
        "steps": "-" if steps is None else f"{steps:,}",
        "w1": "-" if w1 is None else f"{w1:.4g}",
        "best_w1": "-" if best_w1 is None else f"{best_w1:.4g}",
        "ratio": ratio,
    }


def _baseline_notes(defaults: Sequence[Baseline]) -> list[str]:
    notes = []
    for b in defaults:
        if b.excluded:
            what = ", ".join(f"{key} {number(value)}" for key, value in b.excluded.items())
            notes.append(
                f"The papers' default point of {b.method} is not in this search: its ranges leave "
                f"out {what}. Widen them, and add the point to initial_points."
            )
        elif b.trial is None:
            notes.append(f"No trial had the papers' default point of {b.method}.")
    return notes


def _luck(facts: Facts, seeds: Sequence[Retrained]) -> list[str]:
    best = facts.search.best
    if best is None:
        return ["There is no best trial yet."]
    if not seeds:
        return [
            "A best trial is a lucky one until shown otherwise: it was trained with one seed, and "
            "chosen for its score. Train it again with others to see:"
        ]
    last = seeds[-1]
    sd = last.sd or 0.0
    steps = f"{last.generator_steps:,}"
    text = (
        f"Trained again with {len(last.w1)} seeds to step {steps}, its w1 was {last.mean:.4g} in the "
        f"mean, with a standard deviation of {sd:.2g}, from {min(last.w1):.4g} to {max(last.w1):.4g}."
    )
    own = facts.curves.get(best.number, {}).get(last.generator_steps)
    if own is None:
        return [text, "The search has no score of it at that step to set beside these."]
    below = sum(w1 < own for w1 in last.w1)
    where = f"The search's own score there, {own:.4g}, is"
    if own < last.mean - 2 * sd or not below:
        return [text, f"{where} below all but {below} of them: it was a lucky draw."]
    if own > last.mean + 2 * sd:
        return [text, f"{where} above most of them: it was, if anything, an unlucky draw."]
    return [text, f"{where} among them: no lucky draw."]


def trials(facts: Facts) -> dict[str, Any]:
    """The words of the figures that show the trials as they went."""
    num, drawn = len(facts.curves), len(shown(facts, MOST_CURVES))
    note = f"Of {num:,} scored trials {drawn:,} are drawn: the best half, and an even choice."
    rows = [row for row in ladder(facts) if row.entered]
    brackets = facts.search.spec.asha.brackets
    many = f" Of {brackets} brackets, the later ones pass over the first rungs." * (brackets > 1)
    head = ["rung", "entered", "went on", "stopped", "diverged", "failed", "under way"]
    return {
        "curves_note": note if drawn < num else "",
        "ladder_note": " To go on from the last one is to be completed." + many,
        "ladder_head": [*head, "best w1", "median w1"],
        "ladder": [
            [
                *(f"{n:,}" for n in (r.steps, r.entered, r.went_on, r.stopped)),
                *(f"{n:,}" for n in (r.diverged, r.failed, r.under_way)),
                *("-" if w1 is None else f"{w1:.4g}" for w1 in (r.best, r.median)),
            ]
            for r in rows
        ],
        "methods": [(f"fig-method-{i}", short(k)) for i, k in enumerate(method_keys(facts))],
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
    lacking = f"{num} trial{'s' * (num != 1)}: too few to tell, it takes {MIN_TRIALS}."
    title = f"{whose}: {_EVALUATOR_TITLES[evaluator]}"
    return {"id": id_, "title": title, "note": what if id_ else lacking}


def space(
    facts: Facts,
    pair: Pair | None,
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
        "pair_notes": _pair_notes(pair, num_keys),
        "parallel_note": f"Of {scored:,} trials {drawn:,} are drawn." if drawn < scored else "",
        "parallel_px": 110 * min(10, num_keys + 2),
    }


def _importance_notes(rows: Sequence[Importance]) -> list[str]:
    notes = [
        "Optuna's evaluators, on the ranks of the scores. Bars add up to 100%, whatever the "
        "hyperparameters explain; lines are 95% intervals, by resampling the trials; a mark shows "
        "what shuffled scores give, and a pale bar is no longer than that. The sampler chose where "
        "to look, so that these tell of this search more than of the method."
    ]
    if len({row.num_trials for row in rows}) > 1:
        notes.append(
            "A hyperparameter that only some trials have is judged among those, so that the bars "
            "add up to more than 100%."
        )
    if rows and any(row.low is None for row in rows):
        notes.append(
            f"Some lack an interval: there was no time for {LEAST_RESAMPLES} resamples. "
            "python -m tuner.report takes longer than the search's own end."
        )
    return notes


def _pair_notes(pair: Pair | None, num_keys: int) -> list[str]:
    if num_keys < 2:
        return ["There is no pair: one hyperparameter was searched."]
    if pair is None:
        return [
            f"It takes {MIN_PAIRED} scored trials, and two hyperparameters that all of them have."
        ]
    one, other = (short(key) for key in pair.keys)
    how = (
        f"{one} and {other}: picked from the pairs of those that mattered most, as the one whose "
        f"partial dependence in a random forest is furthest from the sum of its two parts "
        f"(Friedman & Popescu 2008). Over {pair.num_trials:,} trials their interaction is "
        f"{pair.strength:.1%} of the variance; the strongest of shuffled scores is "
        f"{pair.chance:.1%} in the mean"
    )
    told = "more than chance" if pair.strength > 1.5 * pair.chance else "so this may be chance"
    return [f"{how}: {told}."]
