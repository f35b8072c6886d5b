"""Write the top section of a report: the best trial, its comparisons, the cost and luck."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.config import MIN_GROUND_SIDE, ObjectiveConfig
from trainables.metrics import CUSTOM_PREFIX
from tuner import results
from tuner.page.baseline import Baseline
from tuner.page.facts import (
    OUT_OF_BUDGET,
    RUNNING,
    WAITING,
    Cost,
    Facts,
    cost,
    last_common_rung,
)
from tuner.page.hints import best_config, seeds_command
from tuner.page.pictures import embedded
from tuner.page.style import number, short
from tuner.results import clock, rung_text, ties_text
from tuner.retrain import Retrained, luck_text, seed_spread
from tuner.space import METHOD_KEYS, dump_yaml
from tuner.study import Trial

#: The same distorted photographs, ordered by pixels and by energies; benchmarks.fidelity.battery
#: draws it.
_GROUND_PICTURE = Path(__file__).with_name("template") / "ground.png"
_ENERGIES_TEXTS = (
    "A Wasserstein distance between two sets of images is made of distances between two images, so "
    "these must mean what people see.",
    "Between pixels they do not: photographs that are blurred are no farther from real ones than "
    "other real ones are.",
    "w1 therefore compares features: the image on a coarse grid, and how much of each orientation "
    "and scale there is at each place, to which a blur or an average does harm.",
    "The features are fixed, and only real images set their scale, so all trials are measured by "
    "the same ruler.",
    "Nothing in them was learnt from other images, so they favour no kind of images.",
)


def answer(
    facts: Facts, defaults: Sequence[Baseline], seeds: Sequence[Retrained]
) -> dict[str, Any]:
    """Return the template values of the top section.

    Args:
        facts: The search.
        defaults: The published points.
        seeds: The scores of the best trial's configuration with other seeds.
    """
    search, best = facts.search, facts.search.best
    return {
        "name": search.spec.name,
        "state": search.state,
        "lead": _lead(facts),
        "ground_texts": _ENERGIES_TEXTS if _compares_energies(facts) else (),
        "ground_picture": embedded(_GROUND_PICTURE) if _compares_energies(facts) else None,
        "best": None if best is None else _best(facts, best, seeds),
        "verdict": _verdict(facts, best, defaults),
        "config": best_config(facts),
        "full_config": best and dump_yaml(best.config.applied()).strip(),
        "stats": _stats(cost(facts), facts),
        "comparison": _comparison(facts, defaults),
        "baseline_notes": _baseline_notes(defaults),
        "missing_yaml": "".join(b.yaml for b in defaults if b.trial is None and not b.excluded),
        "luck": _luck(facts, seeds),
        "luck_command": None
        if best is None or seeds or best.repeats
        else seeds_command(search.run_dir),
    }


def _lead(facts: Facts) -> str:
    spec = facts.search.spec
    metric = "w1, estimated by independent critics"
    if spec.objective.metric != "w1":
        metric = f"{spec.objective.metric}, estimated by the trials' own critics"
    return (
        f"A search of {len(spec.domains)} hyperparameters on {spec.data.dataset}, ranked by "
        f"{metric}; lower is better. w1 is an estimate of the Wasserstein-1 distance to the data, "
        f"in the units of the data. {_ground_text(spec.objective)}"
    )


def _ground_text(objective: ObjectiveConfig) -> str:
    """Say between what the distance is measured: w1 compares only where that is the same."""
    if objective.features is not None:
        return f"It is measured between the features {objective.features} of the samples."
    if objective.ground == "pixels":
        return "It is measured between the samples as they are."
    return (
        f"It is measured between the {objective.ground} of images with sides of {MIN_GROUND_SIDE} "
        "pixels or more, and between all other samples as they are."
    )


def _compares_energies(facts: Facts) -> bool:
    """Tell whether the images are so large that they are compared by energies.

    The final measures the distance between pixels of those that are compared by features.
    """
    is_default = facts.search.spec.objective.features is None
    return is_default and any("w1_pixels" in (t.final or {}) for t in facts.search.trials)


def _best(facts: Facts, best: Trial, seeds: Sequence[Retrained]) -> dict[str, str]:
    if seeds:  # the mean of fresh seeds is not selected for its luck, as the search's score is
        spread, steps = seed_spread(seeds[-1].w1), seeds[-1].generator_steps
        half = "" if math.isnan(spread.mean_error) else f"{spread.mean_error:.2g}"
        unit = f"mean w1 of {spread.num} fresh seeds at step {steps:,}"
        return {"trial_id": best.trial_id, "w1": f"{spread.mean:.4g}", "error": half, "unit": unit}
    if best.repeats is not None and (scores := best.repeats.scores):
        spread = seed_spread(scores)
        half = "" if math.isnan(spread.mean_error) else f"{spread.mean_error:.2g}"
        of_seeds = "w1 of 1 further seed" if spread.num == 1 else f"mean w1 of {spread.num} further"
        unit = f"{of_seeds}{' seeds' * (spread.num > 1)} in the final"
        return {"trial_id": best.trial_id, "w1": f"{spread.mean:.4g}", "error": half, "unit": unit}
    if best.final is not None:
        w1, error = best.final["w1_final"], best.final["w1_final_stderr"]
        return _best_values(best, w1, error, "w1 in the final")
    w1 = facts.curves.get(best.number, {}).get(best.best_rung or 0)
    if w1 is None:
        metric = facts.search.spec.objective.metric
        return _best_values(best, best.score or 0.0, None, f"{metric} at {rung_text(best)}")
    return _best_values(best, w1, facts.stderr_at_rung, f"w1 at {rung_text(best)}")


def _best_values(best: Trial, w1: float, error: float | None, unit: str) -> dict[str, str]:
    half = "" if error is None else f"{results.half_width(error):.2g}"
    return {"trial_id": best.trial_id, "w1": f"{w1:.4g}", "error": half, "unit": unit}


def _verdict(facts: Facts, best: Trial | None, defaults: Sequence[Baseline]) -> list[str]:
    search = facts.search
    if best is None:
        return [_no_best(facts)]
    texts = []
    if best.final is not None:
        ties = ties_text(best, search.trials)
        w1, error = best.final["w1_final"], results.half_width(best.final["w1_final_stderr"])
        if best.repeats is not None:
            repeats = results.repeats_text(best.repeats).replace("+-", "±")
            texts.append(f"Its configuration won: {repeats}.")
        own = "the w1 of its own training, whose generator is kept," if best.repeats else "its w1"
        texts.append(f"In the final {own} is {w1:.4g} ± {error:.2g} (95%).")
        texts.append(f"It is {ties}." if ties else "No other trial of the final is tied with it.")
        texts += _final_floor_texts(facts, best, w1)
    else:
        texts.append("It was not scored in the final: its only scores are those at its rungs.")
    w1 = facts.curves.get(best.number, {}).get(best.best_rung or 0)
    if w1 is not None:
        stderr = facts.stderr_at_rung
        error_text = "" if stderr is None else f" ± {results.half_width(stderr):.2g} (95%)"
        is_last = best.best_rung == best.last_rung
        rung = f"At its {'last' if is_last else 'best'} rung, step {best.best_rung:,}"
        texts.append(f"{rung}: {w1:.4g}{error_text}.")
        if not is_last:
            texts.append(f"After it, w1 rose to {best.last_score:.4g} at step {best.last_rung:,}.")
        texts += _floor_texts(facts, w1, stderr or 0.0)
    texts += _cut_off(facts)
    headline, diagnosis = _headline(facts, best, defaults), _diagnosis_texts(facts, best)
    return [headline, " ".join(texts), *([" ".join(diagnosis)] if diagnosis else [])]


def _diagnosis_texts(facts: Facts, best: Trial) -> list[str]:
    """Describe what w1 cannot tell about the best trial."""
    final, texts = best.final or {}, []
    if "copy_ratio" in final:
        texts.append(_copies_text(final))
    at_rung = facts.search.reports.get(best.number, {}).get(best.best_rung or 0, {})
    scores = (final.get("w1_final_train"), final.get("w1_final"))
    train, w1 = (at_rung.get("w1_train"), at_rung.get("w1")) if None in scores else scores
    if train is not None and w1 is not None:
        texts.append(
            f"Overfitting of the critics: on the real samples that they were trained on their "
            f"estimate is {train:.4g}, {_excess(train - w1)} w1 of {w1:.4g}, which is of unseen "
            "ones. This is due to the critics, not to the generator, and shrinks with more "
            "held-out data."
        )
    if "w1_pixels" in final:
        error = results.half_width(final["w1_pixels_stderr"])
        texts.append(
            f"Between pixels: its distance is {final['w1_pixels']:.4g} ± {error:.2g} (95%), by "
            "critics of a rung's budget on the data of the final. It ranks nothing."
        )
    custom = {
        name.removeprefix(CUSTOM_PREFIX): value
        for name, value in final.items()
        if name.startswith(CUSTOM_PREFIX)
    }
    if custom:
        values = ", ".join(f"{name} {value:.4g}" for name, value in custom.items())
        objective = facts.search.spec.objective
        texts.append(f"By {objective.metrics}: {values}, on the data of the final; none ranks.")
    return texts


def _copies_text(final: Mapping[str, float]) -> str:
    ratio, low, high = (final[f"copy_ratio{end}"] for end in ("", "_low", "_high"))
    verdict = "no sign that it repeats them"
    if high < 1:
        verdict = "it repeats them, at least in part" if high > 0.5 else "it repeats them"
    return (
        f"Memorising: its samples lie {ratio:.3g} times as far from the nearest training sample as "
        f"unseen real samples do ({low:.3g} to {high:.3g}, 95%), each relative to the nearest "
        f"held-out sample: {verdict}. Copies read 0, new samples about 1."
    )


def _excess(difference: float) -> str:
    return f"{abs(difference):.2g} {'above' if difference >= 0 else 'below'} the"


def _headline(facts: Facts, best: Trial, defaults: Sequence[Baseline]) -> str:
    """Compare the best trial with the published point, the best one if there are several."""
    scored = [b for b in defaults if b.steps is not None and b.w1 is not None]
    if not scored:
        return "No trial had a published point, so the best is not compared with one."
    baseline = min(scored, key=lambda b: (-(b.steps or 0), b.w1))
    trial, steps = baseline.trial, baseline.steps or 0
    if trial is None or trial.number == best.number:
        return f"The best is the published point of {baseline.method} itself."
    kind = "best of the published points, that" if len(scored) > 1 else "published point"
    name = f"the {kind} of {baseline.method}"
    ratio = _ratio(baseline.w1 or 0.0, baseline.best_w1 or 0.0)
    values = f"{number(baseline.best_w1)} against {number(baseline.w1)}"
    if steps == facts.last_rung:
        return f"Its w1 is {ratio} than that of {name}: {values}, both at the last rung."
    is_stopped = facts.outcome(trial).startswith("stopped")
    way_out = "; asha.spare_published: true would have it trained that far" * is_stopped
    return (
        f"At step {steps:,}, the last rung of {name} (trial {trial.trial_id}: "
        f"{facts.outcome(trial)}), its w1 was {ratio}: {values}. That trial's w1 at step "
        f"{facts.last_rung:,} is not known{way_out}."
    )


def _no_best(facts: Facts) -> str:
    counts = {s: sum(t.status == s for t in facts.search.trials) for s in ("diverged", "failed")}
    num = len(facts.search.trials)
    if not num:
        return "No trial has been proposed yet, so there is no best one."
    for status, count in counts.items():
        if count == num:
            trials = "The only trial" if num == 1 else f"All {num} trials"
            return f"{trials} {status}: there is no best one. The table of trials has the messages."
    return f"None of {num} trial{'s' * (num > 1)} has completed, so there is no best one yet."


def _final_floor_texts(facts: Facts, best: Trial, w1: float) -> list[str]:
    """Compare the best with real samples, both scored by the final's critics."""
    if (floor := facts.search.final_floor) is None:
        return []
    text = (
        f"The final's critics score real samples {floor.w1:.4g} ± "
        f"{results.half_width(floor.w1_stderr):.2g} (its floor)"
    )
    error = results.paired_error(best.final_readings, floor.readings)
    if error is None:
        return [f"{text}."]
    gap = f"{abs(w1 - floor.w1):.2g} ± {error.half_width:.2g}"
    if w1 - floor.w1 <= error.half_width:
        return [f"{text}: the best does not lie above that by more than the error ({gap})."]
    return [f"{text}: the best lies above that, by {gap}."]


def _floor_texts(facts: Facts, w1: float, stderr: float) -> list[str]:
    floor = facts.search.floor
    if floor is None:
        return []
    margin = results.half_width((stderr**2 + floor["w1_floor_stderr"] ** 2) ** 0.5)
    value = floor["w1_floor"]
    half = results.half_width(floor["w1_floor_stderr"])
    text = f"Real samples score {value:.4g} ± {half:.2g} at the same precision (the floor)"
    if w1 - value <= margin:
        return [f"{text}: the best does not differ from it by more than the error."]
    return [f"{text}: the best is above it by more than the error."]


def _cut_off(facts: Facts) -> list[str]:
    if not (cut_off := facts.cut_off):
        return []
    first, num_more = cut_off[0], len(cut_off) - 1
    more = f" It also ended {num_more} more that were ahead." if num_more else ""
    return [
        f"The budget ended trial {first.trial.trial_id} while it was ahead of the best: "
        f"{number(first.w1)} against {number(first.best_w1)}, both at step {first.steps:,}.{more}"
    ]


def _stats(spent: Cost, facts: Facts) -> list[tuple[str, str, str]]:
    trials = facts.search.trials
    outcomes = ["stopped" if (f := facts.outcome(t)).startswith("stopped") else f for t in trials]
    names = ("completed", "stopped", OUT_OF_BUDGET, "diverged", "failed", RUNNING, WAITING)
    counts = [(outcomes.count(name), name) for name in names]
    num_trials = facts.search.spec.num_trials
    total = f" of {num_trials:,}" if num_trials and num_trials != len(trials) else ""
    saved = f"{spent.saved_steps:,} steps that stopped trials did not train"
    parts = [(spent.training_cpu_s, "training"), (spent.scoring_cpu_s, "scoring")]
    parts += [(spent.final_cpu_s, "the final")] * bool(spent.final_cpu_s)
    return [
        ("trials", f"{len(trials):,}{total}", ", ".join(f"{n} {s}" for n, s in counts if n)),
        ("wall time", clock(spent.wall_s), "h:mm:ss, over all sessions"),
        (
            "CPU time of the trials",
            f"{sum(round(seconds) for seconds, _ in parts):,} s",  # so that the parts add up
            ", ".join(f"{round(seconds):,} s {name}" for seconds, name in parts),
        ),
        ("generator steps", f"{spent.generator_steps:,}", "over all trials"),
        ("saved by stopping early", f"{spent.saved_share:.0%}", saved),
    ]


def _comparison(facts: Facts, defaults: Sequence[Baseline]) -> list[dict[str, str]]:
    best = facts.search.best
    rows = [
        _row(f"published point of {b.method}", b.trial, b.trial is best, b.steps, b.w1, b.best_w1)
        for b in defaults
        if best is not None and b.trial is not None
    ]
    median = facts.median
    if best is not None and median is not None and len(facts.completed) > 1:
        steps = last_common_rung(facts, median, best)
        w1 = [None if steps is None else facts.curves[t.number][steps] for t in (median, best)]
        label = f"median of the {len(facts.completed)} completed trials"
        rows.append(_row(label, median, median is best, steps, *w1))
    return rows


def _row(
    label: str,
    trial: Trial,
    is_best: bool,
    steps: int | None,
    w1: float | None,
    best_w1: float | None,
) -> dict[str, str]:
    ratio = "not comparable: they reached no common rung"
    if is_best:
        ratio = "this trial"
    elif w1 is not None and best_w1 is not None:
        ratio = _ratio(w1, best_w1)
    return {
        "label": label,
        "trial": trial.trial_id,
        "steps": "-" if steps is None else f"{steps:,}",
        "w1": "-" if w1 is None else f"{w1:.4g}",
        "best_w1": "-" if best_w1 is None else f"{best_w1:.4g}",
        "ratio": ratio,
    }


def _ratio(w1: float, best_w1: float) -> str:
    direction = "lower" if best_w1 <= w1 else "higher"
    if min(w1, best_w1) <= 0:  # estimates may be negative, which makes a ratio meaningless
        return f"{abs(w1 - best_w1):.4g} {direction}"
    return f"{abs(1 - best_w1 / w1):.0%} {direction}"


def _baseline_notes(defaults: Sequence[Baseline]) -> list[str]:
    notes = []
    for b in defaults:
        if b.excluded:
            values = ", ".join(f"{key} {number(value)}" for key, value in b.excluded.items())
            notes.append(
                f"The published point of {b.method} is outside of this search's ranges, "
                f"which exclude {values}. Widen them, and add the point to initial_points."
            )
        elif b.trial is None:
            notes.append(f"No trial had the published point of {b.method}.")
    if notes or defaults:
        notes.append(
            "A published point has the values that were published with its method, of those "
            "hyperparameters that this search varies: "
            + "; ".join(f"{b.method}: {_values_text(b.point)}" for b in defaults)
            + ". All others may have any value, such as the networks' widths, of which no "
            "method's publication speaks."
        )
    return notes


def _values_text(point: Mapping[str, Any]) -> str:
    values = {short(key): value for key, value in point.items() if key not in METHOD_KEYS}
    return ", ".join(f"{key} {number(value)}" for key, value in values.items()) or "none"


def _luck(facts: Facts, seeds: Sequence[Retrained]) -> list[str]:
    best = facts.search.best
    if best is None:
        return ["There is no best trial yet."]
    if not seeds and best.repeats is not None and best.final is not None:
        texts = [f"The final trained it again: {results.repeats_text(best.repeats)}."]
        if scores := best.repeats.scores:
            verdict = luck_text(best.final["w1_final"], scores)
            texts.append(f"{verdict[0].upper()}{verdict[1:]}.")
        return [text.replace("+-", "±") for text in texts]
    if not seeds:
        return [
            "The best trial was trained with one seed and selected for its score, so its score is "
            "partly luck. Train it again with other seeds to measure how much:"
        ]
    last, spread = seeds[-1], seed_spread(seeds[-1].w1)
    text = (
        f"Trained again with {spread.num} other seeds to step {last.generator_steps:,}, its mean "
        f"w1 was {spread.mean:.4g} ± {spread.mean_error:.2g} (95%), with a standard deviation of "
        f"{spread.sd:.2g}, from {spread.low:.4g} to {spread.high:.4g}."
    )
    search_w1 = facts.curves.get(best.number, {}).get(last.generator_steps)
    if search_w1 is None:
        return [text, "The search did not score it at that step, so there is no comparison."]
    verdict = luck_text(search_w1, last.w1)
    return [text, f"{verdict[0].upper()}{verdict[1:]}."]
