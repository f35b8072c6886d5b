"""The figures of a report that show its search space: importances, slices, pairs, all at once."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from tuner.domains import Choice, Domain
from tuner.importances import Importance, Point, contour
from tuner.report_facts import Facts
from tuner.report_figures import MOST_POINTS, shown
from tuner.report_style import (
    BLUE,
    GREY,
    ORANGE,
    VERMILLION,
    axis,
    escaped,
    figure,
    number,
    short,
    styled,
    wants_log,
)

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
        marker={"color": [BLUE if row.is_real else "rgba(0,114,178,0.35)" for row in rows]},
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
    height = 140 + 28 * len(rows)
    y = axis("", showgrid=False)
    made = figure(traces, x, y, height)
    return made.update_layout(legend={"y": -75 / (height - 80)})


def slices(facts: Facts, keys: Sequence[str]) -> list[tuple[str, go.Figure]]:
    """Of each hyperparameter: ``w1`` against its values, at the first rung and at the last."""
    trials = shown(facts, MOST_POINTS)
    first, last = facts.w1_at(facts.first_scored_rung), facts.w1_at(facts.last_rung)
    done = {t.number for t in facts.completed}
    found = []
    for key in keys[:MOST_SLICES]:
        domain = facts.search.spec.domains[key]
        traces, values = [], []
        for scores, name, colour, symbol, size in (
            (first, "first rung, all scored", GREY, "circle-open", 6),
            ({n: w1 for n, w1 in last.items() if n in done}, "completed", BLUE, "circle", 8),
        ):
            those = [t for t in trials if key in t.params and t.number in scores]
            values += [scores[t.number] for t in those]
            if those:
                marker = {"symbol": symbol, "size": size, "color": colour}
                ys = [scores[t.number] for t in those]
                traces.append(_slice(those, key, domain, ys, name, marker))
        best = facts.search.best
        if best is not None and key in best.params and best.number in last:
            marker = {"symbol": "star", "size": 15, "color": VERMILLION}
            ys = [last[best.number]]
            traces.append(_slice([best], key, domain, ys, "best", marker))
        if not traces:
            continue
        y = axis("w1", wants_log(values))
        made = figure(traces, _domain_axis(key, domain), y, 250, showlegend=False)
        found.append((key, made))
    return found


def _slice(
    trials: Any, key: str, domain: Domain, ys: list[float], name: str, marker: Mapping[str, Any]
) -> go.Scatter:
    values = [t.params[key] for t in trials]
    xs = [escaped(number(v)) for v in values] if isinstance(domain, Choice) else values
    return go.Scatter(
        x=xs,
        y=ys,
        mode="markers",
        name=name,
        marker=dict(marker),
        text=[f"trial {t.trial_id}" for t in trials],
        hovertemplate="%{text}<br>%{x}<br>w1 %{y:.4g}<extra>" + name + "</extra>",
    )


def _domain_axis(key: str, domain: Domain) -> dict[str, Any]:
    if isinstance(domain, Choice):
        order = [escaped(number(value)) for value in domain.choice]
        more = {"type": "category", "categoryorder": "array", "categoryarray": order}
        return axis(short(key), **more)
    is_log = domain.log
    # Few and round, where a figure is narrow.
    return axis(short(key), is_log, **({"dtick": 1} if is_log else {}))


def pair_contour(
    points: Sequence[Point], domains: Mapping[str, Domain], pair: tuple[str, str]
) -> go.Figure:
    """Optuna's contour of a pair, in our look."""
    made = contour(points, domains, pair)
    styled(made, 430)
    for update, key in ((made.update_xaxes, made.layout.xaxis.title.text), (
        made.update_yaxes, made.layout.yaxis.title.text)):  # fmt: skip
        is_log = getattr(domains[key], "log", False)
        update(axis(short(key), is_log, **({"dtick": 1} if is_log else {})))
    made.update_traces(
        colorscale="Cividis",
        reversescale=True,
        colorbar={"title": {"text": "w1", "side": "top"}, "thickness": 12, "outlinewidth": 0},
        selector={"type": "contour"},
    )
    made.update_traces(
        marker={"color": "white", "size": 7, "line": {"color": "black", "width": 1.5}},
        selector={"type": "scatter"},
    )
    return made


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
        "colorscale": "Cividis",
        "reversescale": True,
        "cmin": 1,
        "cmax": last,
        "showscale": True,
        "colorbar": {
            "title": {"text": "place", "side": "top"},
            "thickness": 12,
            "outlinewidth": 0,
            "tickvals": [1, last],
            "ticktext": ["best", f"{last:,}"],
        },
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
    return made.update_layout(margin={"l": 60, "r": 30, "t": 60, "b": 30})


def _dimension(key: str, domain: Domain, trials: Any) -> dict[str, Any]:
    """An axis; trials that do not have the hyperparameter pass below it."""
    values = [t.params.get(key) for t in trials]
    if isinstance(domain, Choice):
        at = [None if v is None else float(domain.choice.index(v)) for v in values]
        ticks = {float(i): number(v) for i, v in enumerate(domain.choice)}
    elif domain.log:
        at = [None if v is None else math.log10(v) for v in values]
        low, high = math.log10(domain.low), math.log10(domain.high)
        ticks = {x: number(10**x) for x in _even(low, high)}
    else:
        at = [None if v is None else float(v) for v in values]
        ticks = {x: number(round(x, 6)) for x in _even(float(domain.low), float(domain.high))}
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
