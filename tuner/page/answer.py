"""The words at the top of a report: what is best, at what cost, beside what, and how lucky.

Each sentence says only what the search's numbers bear out.
"""

import shlex
from collections.abc import Sequence
from typing import Any

from tuner import results
from tuner.page.baseline import Baseline
from tuner.page.facts import OUT_OF_TIME, UNDER_WAY, Cost, Facts, cost, last_common_rung
from tuner.page.hints import best_config
from tuner.page.style import number
from tuner.results import clock, ties_text
from tuner.retrain import Retrained, luck_text, seed_spread
from tuner.space import dump_yaml
from tuner.study import Trial


def answer(
    facts: Facts, defaults: Sequence[Baseline], seeds: Sequence[Retrained]
) -> dict[str, Any]:
    """The top of the page: what is best, at what cost, and beside what."""
    search, best = facts.search, facts.search.best
    return {
        "name": search.spec.name,
        "state": search.state,
        "lead": _lead(facts),
        "best": None if best is None else _best(facts, best),
        "verdict": _verdict(facts, best, defaults),
        "config": best_config(facts),
        "full_config": best and dump_yaml(best.config.applied()).strip(),
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
        f"A search of {len(spec.domains)} hyperparameters on {spec.data.dataset}, by {by}; lower "
        f"is better. w1 estimates the Wasserstein-1 distance from the data, in their own units."
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


def _verdict(facts: Facts, best: Trial | None, defaults: Sequence[Baseline]) -> list[str]:
    search = facts.search
    if best is None:
        return [_no_best(facts)]
    texts = []
    if best.final is not None:
        ties = ties_text(best, search.trials)
        texts.append(f"It is {ties}." if ties else "No other trial of the final is tied with it.")
    else:
        texts.append("It has not been through the final, so that its score is of its rung alone.")
    w1 = facts.curves.get(best.number, {}).get(best.generator_steps)
    if w1 is not None:
        stderr = facts.stderr_at_rung
        error_text = "" if stderr is None else f" ± {results.half_width(stderr):.2g} (95%)"
        texts.append(f"At its last rung, step {best.generator_steps:,}: {w1:.4g}{error_text}.")
        texts += _beside_floor(facts, w1, stderr or 0.0)
    texts += _cut_off(facts)
    return [_headline(facts, best, defaults), " ".join(texts)]


def _headline(facts: Facts, best: Trial, defaults: Sequence[Baseline]) -> str:
    """Did it work: the best beside the papers' default point that did best."""
    there = [b for b in defaults if b.steps is not None and b.w1 is not None]
    if not there:
        return "There is no trial of the papers' default point to set the best beside."
    near = min(there, key=lambda b: (-(b.steps or 0), b.w1))
    if near.trial is not None and near.trial.number == best.number:
        return f"The best is the papers' default point of {near.method} itself."
    of = f" ({near.method})" if len(defaults) > 1 else ""
    beside = _ratio(near.w1 or 0.0, near.best_w1 or 0.0)
    best_of = (
        "the best of the papers' default points"
        if len(there) > 1
        else ("the papers' default point")
    )
    return (
        f"Its w1 is {beside} than that of {best_of}{of}: {number(near.best_w1)} against "
        f"{number(near.w1)}, both at step {near.steps:,}."
    )


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


def _cut_off(facts: Facts) -> list[str]:
    if not (ahead := facts.cut_off):
        return []
    first = ahead[0]
    more = f" Ahead were {len(ahead) - 1} more that it ended." if len(ahead) > 1 else ""
    return [
        f"The time budget ended trial {first.trial.trial_id} while it was ahead of the best: "
        f"{number(first.w1)} against {number(first.best_w1)}, both at step {first.steps:,}.{more}"
    ]


def _stats(spent: Cost, facts: Facts) -> list[tuple[str, str, str]]:
    trials = facts.search.trials
    fates = [facts.fate(t) if t.status == "stopped" else t.status or UNDER_WAY for t in trials]
    fates = ["stopped" if fate.startswith("stopped") else fate for fate in fates]
    names = ("completed", "stopped", OUT_OF_TIME, "diverged", "failed", UNDER_WAY)
    counts = [(fates.count(name), name) for name in names]
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
        _row(
            f"papers' default point, {b.method}", b.trial, b.trial is best, b.steps, b.w1, b.best_w1
        )
        for b in defaults
        if best is not None and b.trial is not None
    ]
    median = facts.median
    if best is not None and median is not None and len(facts.completed) > 1:
        steps = last_common_rung(facts, median, best)
        w1 = [None if steps is None else facts.curves[t.number][steps] for t in (median, best)]
        what = f"median of the {len(facts.completed)} completed trials"
        rows.append(_row(what, median, median is best, steps, *w1))
    return rows


def _row(
    what: str,
    trial: Trial,
    is_best: bool,
    steps: int | None,
    w1: float | None,
    best_w1: float | None,
) -> dict[str, str]:
    ratio = "not comparable: no rung that both reached"
    if is_best:
        ratio = "this very trial"
    elif w1 is not None and best_w1 is not None:
        ratio = _ratio(w1, best_w1)
    return {
        "what": what,
        "trial": trial.trial_id,
        "steps": "-" if steps is None else f"{steps:,}",
        "w1": "-" if w1 is None else f"{w1:.4g}",
        "best_w1": "-" if best_w1 is None else f"{best_w1:.4g}",
        "ratio": ratio,
    }


def _ratio(w1: float, best_w1: float) -> str:
    which = "lower" if best_w1 <= w1 else "higher"
    if min(w1, best_w1) <= 0:  # an estimate may be: shares of it say nothing
        return f"{abs(w1 - best_w1):.4g} {which}"
    return f"{abs(1 - best_w1 / w1):.0%} {which}"


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
    last, found = seeds[-1], seed_spread(seeds[-1].w1)
    text = (
        f"Trained again with {found.num} other seeds to step {last.generator_steps:,}, its w1 was "
        f"{found.mean:.4g} ± {found.mean_error:.2g} (95%) in the mean, with a standard deviation "
        f"of {found.sd:.2g}, from {found.low:.4g} to {found.high:.4g}."
    )
    own = facts.curves.get(best.number, {}).get(last.generator_steps)
    if own is None:
        return [text, "The search has no score of it at that step to set beside these."]
    told = luck_text(own, last.w1)
    return [text, f"{told[0].upper()}{told[1:]}."]
