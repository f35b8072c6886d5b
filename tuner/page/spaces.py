"""The figures of a report that show its search space: importances, slices, all at once."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from tuner.page.facts import Facts
from tuner.page.figures import MOST_POINTS, shown
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
    scale,
    short,
    styled,
)
from tuner.space import Choice, Domain, Range, is_integer
from tuner.study import Importance, Trial

#: Slices, and axes of the parallel coordinates; the rest mattered less.
MOST_SLICES, MOST_AXES = 12, 10
#: Lines of the parallel coordinates.
MOST_LINES = 500


def importance_bars(rows: Sequence[Importance]) -> go.Figure:
    """Bars with the sampling error; a mark shows what shuffled scores give."""
    rows = list(reversed(rows[:MOST_SLICES]))
    names = [escaped(short(row.key)) for row in rows]
    known = [row for row in rows if row.low is not None]
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
        error_x=error if known else None,
        customdata=[row.num_trials for row in rows],
        hovertemplate="%{y}: %{x:.0%} of %{customdata} trials<extra></extra>",
    )
    traces: list[Any] = [bars]
    if known:
        marks = go.Scatter(
            y=[escaped(short(row.key)) for row in known],
            x=[row.chance for row in known],
            mode="markers",
            name="chance gives at most (95%)",
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
    """Of each hyperparameter: ``w1`` against its values, at the first rung and at the last."""
    trials = shown(facts, MOST_POINTS)
    first, last = facts.w1_at(facts.first_scored_rung), facts.w1_at(facts.last_rung)
    done = {t.number for t in facts.completed}
    completed = [t for t in trials if t.number in done]
    best = [] if facts.search.best is None else [facts.search.best]
    layers = (
        ("first rung, all scored", trials, first, ("circle-open", 6, GREY)),
        ("completed", completed, last, ("circle", 8, BLUE)),
        ("best", best, last, ("star", 15, VERMILLION)),
    )
    found = []
    for key in keys[:MOST_SLICES]:
        domain = facts.search.spec.domains[key]
        traces, values = [], []
        for name, members, scores, look in layers:
            those = [t for t in members if key in t.params and t.number in scores]
            if those:
                ys = [scores[t.number] for t in those]
                values += ys
                traces.append(_slice(those, key, domain, ys, name, look))
        if traces:
            y = axis("w1", **scale(values))
            x = _domain_axis(key, domain)
            found.append((key, figure(traces, x, y, 250, showlegend=False)))
    return found


def _slice(
    trials: Sequence[Trial],
    key: str,
    domain: Domain,
    ys: Sequence[float],
    name: str,
    look: tuple[str, int, str],
) -> go.Scatter:
    values = [t.params[key] for t in trials]
    return go.Scatter(
        x=[escaped(number(v)) for v in values] if isinstance(domain, Choice) else values,
        y=list(ys),
        mode="markers",
        name=name,
        marker=dict(zip(("symbol", "size", "color"), look, strict=True)),
        text=[f"trial {t.trial_id}" for t in trials],
        hovertemplate="%{text}<br>%{x}<br>w1 %{y:.4g}<extra>" + name + "</extra>",
    )


def _domain_axis(key: str, domain: Domain) -> dict[str, Any]:
    if isinstance(domain, Choice):
        order = [escaped(number(value)) for value in domain.labels]
        more = {"type": "category", "categoryorder": "array", "categoryarray": order}
        return axis(short(key), **more)
    # The whole range, also where no trial was: what lies at its ends tells whether to widen it.
    low, high = (math.log10(x) if domain.log else x for x in (domain.low, domain.high))
    room = 0.06 * (high - low)
    more = log_scale(domain.low, domain.high) if domain.log else {}
    if is_integer(domain) and not domain.log:
        more = _whole_ticks(domain)
    return axis(short(key), range=[low - room, high + room], **more)


def _whole_ticks(domain: Range[Any]) -> dict[str, Any]:
    return {"tickformat": ",d"} | ({"dtick": 1} if domain.high - domain.low <= 8 else {})


def parallel(facts: Facts, keys: Sequence[str]) -> go.Figure | None:
    """Every trial as a line through its searched values, coloured by its place."""
    trials = shown(facts, MOST_LINES)
    keys = keys[: MOST_AXES - 1]
    if not trials or not keys:
        return None
    places = [facts.place_of[t.number] for t in trials]
    last = max(2, *places)
    first = {"label": "place", "values": places, "range": [last, 1], "tickvals": [1, last]}
    line = {
        "color": places,
        # The ends are seen on white and on black.
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
        labelfont={"size": 12},
        tickfont={"size": 11},
        unselected={"line": {"opacity": 0.05}},
    )
    made = styled(go.Figure(trace), 420)
    return made.update_layout(margin={"l": 60, "r": 70, "t": 60, "b": 30})


def _dimension(key: str, domain: Domain, trials: Any) -> dict[str, Any]:
    """An axis; trials that do not have the hyperparameter pass below it."""
    values = [t.params.get(key) for t in trials]
    if isinstance(domain, Choice):
        at = [None if v is None else float(domain.labels.index(v)) for v in values]
        ticks = {float(i): number(v) for i, v in enumerate(domain.labels)}
    elif domain.log:
        at = [None if v is None else math.log10(v) for v in values]
        low, high = math.log10(domain.low), math.log10(domain.high)
        decades = [float(e) for e in range(math.ceil(low), math.floor(high) + 1)]
        between = decades if len(decades) > 1 else _even(low, high)
        ticks = {x: number(10**x) for x in dict.fromkeys((low, *between, high))}
    else:
        at = [None if v is None else float(v) for v in values]
        low, high = float(domain.low), float(domain.high)
        whole = range(domain.low, domain.high + 1) if is_integer(domain) and high - low <= 8 else ()
        ticks = {float(x): number(round(x, 2)) for x in whole or _even(low, high)}
    low, high = min(ticks), max(ticks)
    if None in at:
        below = low - 0.2 * ((high - low) or 1.0)
        at = [below if x is None else x for x in at]
        ticks = {below: "has none", **ticks}
        low = below
    return {
        "label": escaped(short(key)),
        "values": at,
        "range": [low, high] if low < high else [low - 0.5, high + 0.5],
        "tickvals": list(ticks),
        "ticktext": [escaped(text) for text in ticks.values()],
    }


def _even(low: float, high: float) -> list[float]:
    return [low + (high - low) * i / 4 for i in range(5)]
