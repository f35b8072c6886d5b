"""Draw what trials reported in training: losses, gradient norms, their critics' estimates."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from tuner.page.facts import Facts
from tuner.page.figures import select_trials
from tuner.page.style import axis, figure, of_trials, outcome_styles
from tuner.study import Trial

#: The most trials in the figure, the most of those that no rung has scored, and points of each.
MAX_TRIALS, _MAX_UNSCORED, _MAX_POINTS = 150, 30, 40
#: The metrics that come first, with their names; others follow in alphabetical order.
_NAMES = {
    "critic_loss": "critic's loss",
    "generator_loss": "generator's loss",
    "critic_estimate": "own critic's estimate",
    "critic_gradient_norm": "critic's gradient norm, mean",
    "critic_lipschitz": "critic's gradient norm, largest",
    "w1": "w1 at the rungs",
}
#: Metrics that say nothing of the training, and the ends of the names of further ones.
_NOT_SHOWN = ("generator_steps", "diverged", "w1_floor")
_NOT_SHOWN_ENDS = ("seconds", "_s", "_stderr")
#: Significant digits, which are enough for a figure.
_DIGITS = 5


def training_curves(facts: Facts) -> go.Figure | None:
    """Draw the first metric of all; the page offers the others from the layout's ``meta``.

    Returns:
        The figure. ``meta`` has ``series``: by name, the x, y and trials' numbers of each trace.
        ``None`` if no trial has reported.
    """
    trials = select_training(facts)
    present = {key for t in trials for r in facts.search.reports[t.number].values() for key in r}
    shown = {key for key in present if key not in _NOT_SHOWN and not key.endswith(_NOT_SHOWN_ENDS)}
    keys = [*(key for key in _NAMES if key in shown), *sorted(shown - _NAMES.keys())]
    if not keys:
        return None
    styles = outcome_styles(facts.rungs)
    groups = {o: [t for t in trials if facts.outcome(t) == o] for o in styles}
    groups = {outcome: members for outcome, members in groups.items() if members}
    series = {
        _NAMES.get(key, key): [_series(facts, members, key) for members in groups.values()]
        for key in keys
    }
    name = next(iter(series))
    traces = [
        go.Scatter(
            x=values["x"],
            y=values["y"],
            **of_trials(values["customdata"]),
            mode="lines+markers",
            name=f"{outcome} ({len(members):,})",
            line={"color": styles[outcome].colour, "dash": styles[outcome].dash, "width": 1.3},
            marker={"symbol": styles[outcome].symbol, "size": 4, "color": styles[outcome].colour},
            opacity=1 if len(trials) < 40 else 0.6,
            hovertemplate="trial %{customdata}, step %{x:,}<br>%{y:.4g}<extra></extra>",
        )
        for (outcome, members), values in zip(groups.items(), series[name], strict=True)
    ]
    return figure(traces, axis("generator steps"), axis(name), 420, meta={"series": series})


def series_names(drawn: go.Figure | None) -> list[str]:
    """Return the names of the metrics that the figure of the training has."""
    return [] if drawn is None else list(drawn.layout.meta["series"])


def select_training(facts: Facts) -> list[Trial]:
    """Select scored trials, and the latest of those that no rung has scored."""
    reports = facts.search.reports
    others = [t for t in facts.search.trials if t.number not in facts.curves]
    trials = [*select_trials(facts, MAX_TRIALS - _MAX_UNSCORED), *others[-_MAX_UNSCORED:]]
    return [t for t in trials if reports.get(t.number)]


def _series(facts: Facts, trials: Sequence[Trial], key: str) -> dict[str, list[Any]]:
    """Return the points of a metric, with a gap after each trial."""
    xs: list[Any] = []
    ys: list[Any] = []
    numbers: list[int | None] = []
    for trial in trials:
        reports = facts.search.reports[trial.number]
        steps = [s for s, r in sorted(reports.items()) if math.isfinite(r.get(key, math.nan))]
        for step in _evenly_spaced(steps):
            xs.append(step)
            ys.append(float(f"{reports[step][key]:.{_DIGITS}g}"))
            numbers.append(trial.number)
        xs.append(None)
        ys.append(None)
        numbers.append(None)
    return {"x": xs, "y": ys, "customdata": numbers}


def _evenly_spaced(steps: list[int]) -> list[int]:
    if len(steps) <= _MAX_POINTS:
        return steps
    return [steps[i * (len(steps) - 1) // (_MAX_POINTS - 1)] for i in range(_MAX_POINTS)]
