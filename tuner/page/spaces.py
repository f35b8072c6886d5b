"""Draw the figures of a report that show the search space.

These are importances, slices and parallel coordinates.
"""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from tuner.page.facts import Facts
from tuner.page.figures import MAX_POINTS, select_trials
from tuner.page.style import (
    BLUE,
    GREY,
    ORANGE,
    VERMILLION,
    axis,
    escaped,
    figure,
    log_scale,
    number,
    of_trials,
    scale,
    short,
    styled,
)
from tuner.space import Choice, Domain, Range, is_integer
from tuner.study import Importance, Trial

#: The most slices, and the most axes of the parallel coordinates, by importance.
MAX_SLICES, MAX_AXES = 12, 10
#: The most lines of the parallel coordinates.
MAX_LINES = 3000
#: Of the names of the axes, in degrees: side by side they would lie on each other.
_LABEL_ANGLE = -20


def importance_bars(rows: Sequence[Importance]) -> go.Figure:
    """Draw importances as bars with 95% intervals and a mark for shuffled scores."""
    rows = list(reversed(rows[:MAX_SLICES]))
    names = [escaped(short(row.key)) for row in rows]
    with_interval = [row for row in rows if row.low is not None]
    error = {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, (row.high or row.share) - row.share) for row in rows],
        "arrayminus": [max(0.0, row.share - (row.low or row.share)) for row in rows],
        "color": GREY,
        "thickness": 1.5,
        "width": 4,
    }
    bars = go.Bar(
        y=names,
        x=[row.share for row in rows],
        orientation="h",
        name="importance, 95% interval",
        marker={"color": [_bar_colour(row) for row in rows]},
        error_x=error if with_interval else None,
        customdata=[row.num_trials for row in rows],
        hovertemplate="%{y}: %{x:.0%} of %{customdata} trials<extra></extra>",
    )
    traces: list[Any] = [bars]
    if with_interval:
        marks = go.Scatter(
            y=[escaped(short(row.key)) for row in with_interval],
            x=[row.chance for row in with_interval],
            mode="markers",
            name="at most by chance (95%)",
            marker={"symbol": "line-ns", "size": 16, "line": {"width": 2.5, "color": ORANGE}},
            hovertemplate="chance: %{x:.0%}<extra></extra>",
        )
        traces.append(marks)
    x = axis("share of importance", tickformat=".0%", range=[0, 1.02])
    height = 110 + 28 * len(rows)
    return figure(traces, x, axis("", showgrid=False), height)


def _bar_colour(row: Importance) -> str:
    return BLUE if row.is_real or row.chance is None else "rgba(138,138,138,0.55)"


def slices(facts: Facts, keys: Sequence[str]) -> list[tuple[str, go.Figure]]:
    """Draw ``w1`` against each hyperparameter, at the first rung and at the last, by key."""
    trials = select_trials(facts, MAX_POINTS)
    first, last = facts.w1_at(facts.first_scored_rung), facts.w1_at(facts.last_rung)
    numbers = {t.number for t in facts.completed}
    completed = [t for t in trials if t.number in numbers]
    best = [] if facts.search.best is None else [facts.search.best]
    layers = (
        ("first rung, all scored", trials, first, ("circle-open", 6, GREY)),
        ("completed", completed, last, ("circle", 8, BLUE)),
        ("best", best, last, ("star", 15, VERMILLION)),
    )
    drawn = []
    for key in keys[:MAX_SLICES]:
        domain = facts.search.spec.domains[key]
        traces, values = [], []
        for name, candidates, scores, style in layers:
            members = [t for t in candidates if key in t.params and t.number in scores]
            if members:
                ys = [scores[t.number] for t in members]
                values += ys
                traces.append(_slice(members, key, domain, ys, name, style))
        if traces:
            y = axis("w1", **scale(values))
            x = _domain_axis(key, domain)
            drawn.append((key, figure(traces, x, y, 250, showlegend=False)))
    return drawn


def _slice(
    trials: Sequence[Trial],
    key: str,
    domain: Domain,
    ys: Sequence[float],
    name: str,
    style: tuple[str, int, str],
) -> go.Scatter:
    values = [t.params[key] for t in trials]
    return go.Scatter(
        x=[escaped(number(v)) for v in values] if isinstance(domain, Choice) else values,
        y=list(ys),
        mode="markers",
        name=name,
        marker=dict(zip(("symbol", "size", "color"), style, strict=True)),
        text=[f"trial {t.trial_id}" for t in trials],
        **of_trials([t.number for t in trials]),
        hovertemplate="%{text}<br>%{x}<br>w1 %{y:.4g}<extra>" + name + "</extra>",
    )


def _domain_axis(key: str, domain: Domain) -> dict[str, Any]:
    if isinstance(domain, Choice):
        order = [escaped(number(value)) for value in domain.labels]
        options = {"type": "category", "categoryorder": "array", "categoryarray": order}
        return axis(short(key), **options)
    # The axis covers the whole range, so that good trials near an end show that it is too narrow.
    low, high = (math.log10(x) if domain.log else x for x in (domain.low, domain.high))
    margin = 0.06 * (high - low)
    options = log_scale(domain.low, domain.high) if domain.log else {}
    if is_integer(domain) and not domain.log:
        options = _integer_ticks(domain)
    return axis(short(key), range=[low - margin, high + margin], **options)


def _integer_ticks(domain: Range[Any]) -> dict[str, Any]:
    return {"tickformat": ",d"} | ({"dtick": 1} if domain.high - domain.low <= 8 else {})


def parallel(facts: Facts, keys: Sequence[str]) -> go.Figure | None:
    """Draw each trial as a line through its searched values, coloured by its place."""
    # The best last, and so above the others.
    trials = select_trials(facts, MAX_LINES)[::-1]
    keys = keys[: MAX_AXES - 1]
    if not trials or not keys:
        return None
    places = [facts.place_of[t.number] for t in trials]
    last = max(2, *places)
    # No ticks by hand, but for choices: plotly would take the axis for one of choices, and a drag
    # between two ticks would select nothing.
    first = {"label": "place", "values": places, "range": [last, 1], "tickformat": "~g"}
    line = {
        "color": places,
        # Colours that are visible on a white and on a black background.
        "colorscale": [[0, BLUE], [0.5, "#A9A9A9"], [1, ORANGE]],
        "cmin": 1,
        "cmax": last,
    }
    dimensions = [first]
    for key in keys:
        dimensions.append(_dimension(key, facts.search.spec.domains[key], trials))
    trace = go.Parcoords(
        line=line,
        dimensions=dimensions,
        **of_trials([t.number for t in trials]),
        labelfont={"size": 12},
        labelangle=_LABEL_ANGLE,
        tickfont={"size": 11},
        unselected={"line": {"opacity": 0.05}},
    )
    drawn = styled(go.Figure(trace), 420)
    return drawn.update_layout(margin={"l": 60, "r": 110, "t": 90, "b": 30})


def _dimension(key: str, domain: Domain, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return an axis; trials without the hyperparameter are drawn below its range."""
    values = [t.params.get(key) for t in trials]
    label, options = short(key), {"tickformat": "~g"}
    if isinstance(domain, Choice):
        positions = [None if v is None else float(domain.labels.index(v)) for v in values]
        ticks = {float(i): number(v) for i, v in enumerate(domain.labels)}
        low, high = 0.0, float(len(ticks) - 1)
        if None in positions:
            ticks[_below(low, high)] = "has none"
        texts = [escaped(text) for text in ticks.values()]
        options = {"tickvals": list(ticks), "ticktext": texts}
    elif domain.log:
        label = f"log10 {label}"
        positions = [None if v is None else math.log10(v) for v in values]
        low, high = math.log10(domain.low), math.log10(domain.high)
    else:
        positions = [None if v is None else float(v) for v in values]
        low, high = float(domain.low), float(domain.high)
    if None in positions:
        below = _below(low, high)
        positions = [below if x is None else x for x in positions]
        low = below
    limits = [low, high] if low < high else [low - 0.5, high + 0.5]
    return {"label": escaped(label), "values": positions, "range": limits, **options}


def _below(low: float, high: float) -> float:
    return low - 0.2 * ((high - low) or 1.0)
