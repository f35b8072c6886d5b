"""The figures of a report: of the trials as they went."""

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from tuner.page.facts import OUT_OF_TIME, Facts, estimates_at
from tuner.page.ladder import ladder
from tuner.page.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SKY,
    VERMILLION,
    Look,
    axis,
    escaped,
    figure,
    looks,
    scale,
)
from tuner.study import Trial

#: Curves in a figure; more would be one stain, and take a browser long.
MOST_CURVES = 400
#: Points in a figure, of each kind.
MOST_POINTS = 1500
W1 = "w1 (data units)"
_STEPS = "generator steps"
_W1_HOVER = "w1 %{y:.4g}"
_PATTERN = {"fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.55)", "size": 7, "solidity": 0.2}


def shown(facts: Facts, most: int) -> list[Trial]:
    """The trials that a figure shows: all, or the best half and an even choice of the others."""
    trials = [t for t in facts.places if t.number in facts.curves]
    if len(trials) <= most:
        return trials
    best, rest = trials[: most // 2], trials[most // 2 :]
    room = most - len(best)
    return [*best, *(rest[i * len(rest) // room] for i in range(room))]


def curves(facts: Facts, by: str) -> go.Figure | None:
    """The ``w1`` of the trials at their rungs, a line each, by ``generator_steps`` or seconds."""
    trials = shown(facts, MOST_CURVES)
    if not trials:
        return None

    def at(trial: Trial, steps: int) -> float | None:
        if by == "generator_steps":
            return steps
        return facts.search.reports.get(trial.number, {}).get(steps, {}).get(by)

    traces = []
    for fate, look in looks(facts.rungs).items():
        those = [t for t in trials if facts.fate(t) == fate]
        if those:
            traces.append(_lines(facts, those, fate, look, at, 1.3))
    if (best := facts.search.best) is not None and best.number in facts.curves:
        look = Look(BLUE, "star", "solid")
        traces.append(_lines(facts, [best], f"best: {best.trial_id}", look, at, 4))
    values = [w1 for t in trials for w1 in facts.curves[t.number].values()]
    xs = [x for t in trials for s in facts.curves[t.number] if (x := at(t, s)) is not None]
    if facts.search.floor is not None and xs:
        values.append(facts.search.floor["w1_floor"])
        traces.append(_floor(values[-1], min(xs), max(xs)))
    is_steps = by == "generator_steps"
    ticks = {"tickvals": facts.rungs, "ticktext": [f"{s:,}" for s in facts.rungs]}
    crowded = len(facts.rungs) > 8
    x = axis(
        _STEPS if is_steps else "training time of the trial (s)",
        **(scale(xs) | (ticks if is_steps and not crowded else {})),
    )
    return figure(traces, x, axis(W1, **scale(values)), 420)


def _lines(
    facts: Facts,
    trials: Sequence[Trial],
    name: str,
    look: Look,
    at: Callable[[Trial, int], float | None],
    width: float,
) -> go.Scatter:
    """All trials of a fate as one trace, apart by gaps: thousands would take a browser minutes."""
    xs: list[Any] = []
    ys: list[Any] = []
    texts: list[str] = []
    for trial in trials:
        for steps, w1 in facts.curves[trial.number].items():
            xs.append(at(trial, steps))
            ys.append(w1)
            texts.append(f"trial {trial.trial_id}, {facts.fate(trial)}, step {steps:,}")
        xs.append(None)
        ys.append(None)
        texts.append("")
    is_best = width > 2
    return go.Scatter(
        x=xs,
        y=ys,
        text=texts,
        mode="lines+markers",
        name=name if is_best else f"{name} ({len(trials):,})",
        line={"color": look.colour, "dash": look.dash, "width": width},
        marker={"symbol": look.symbol, "size": 13 if is_best else 7, "color": look.colour},
        opacity=1 if is_best or len(trials) < 40 else 0.55,
        hovertemplate="%{text}<br>" + _W1_HOVER + "<extra></extra>",
    )


def _floor(w1: float, first: float, last: float) -> go.Scatter:
    return go.Scatter(
        x=[first, last],
        y=[w1, w1],
        mode="lines",
        name="floor: real samples",
        line={"dash": "dot", "width": 2, "color": GREY},
        hovertemplate="floor: w1 %{y:.4g}<extra></extra>",
    )


def rung_ladder(facts: Facts) -> go.Figure | None:
    """How many set out for each rung, and how they left it."""
    rows = [row for row in ladder(facts) if row.entered]
    if not rows:
        return None
    names = [f"{row.steps:,}" for row in rows]
    kinds = (
        ("went on, or completed", "went_on", BLUE, ""),
        ("stopped", "stopped", ORANGE, "/"),
        (OUT_OF_TIME, "out_of_time", SKY, "|"),
        ("diverged", "diverged", VERMILLION, "x"),
        ("failed", "failed", GREY, "."),
        ("under way", "under_way", GREEN, "-"),
    )
    traces = [
        go.Bar(
            y=names,
            x=[getattr(row, field) for row in rows],
            name=name,
            orientation="h",
            marker={"color": colour, "pattern": {**_PATTERN, "shape": pattern}},
            text=[getattr(row, field) or "" for row in rows],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": "black" if colour in (ORANGE, SKY) else "white"},
            hovertemplate=f"rung %{{y}}: %{{x}} {name}<extra></extra>",
        )
        for name, field, colour, pattern in kinds
        if any(getattr(row, field) for row in rows)
    ]
    y = axis("rung (generator steps)", type="category", autorange="reversed", showgrid=False)
    # Between whole numbers there would be ticks that read the same.
    every = {"dtick": 1} if rows[0].entered <= 10 else {}
    x = axis("trials", rangemode="tozero", tickformat=",d", **every)
    made = figure(traces, x, y, 110 + 38 * len(rows), barmode="stack")
    return made.update_layout(legend={"traceorder": "normal"})


def own_critic(facts: Facts, steps: int) -> go.Figure | None:
    """The ``w1`` of all trials of a rung against what their own critics said there."""
    pairs = estimates_at(facts, steps)
    trials = [t for t in shown(facts, MOST_POINTS) if t.number in pairs]
    if not trials:
        return None
    traces = []
    for fate, look in looks(facts.rungs).items():
        those = [t for t in trials if facts.fate(t) == fate]
        if those:
            traces.append(_points(those, pairs, f"{fate} ({len(those):,})", look, 9))
    picked = min(pairs, key=lambda n: pairs[n])
    best = min(pairs, key=lambda n: pairs[n][1])
    marked = (
        ((picked, "the own critics' pick", VERMILLION, "square-open"),) if len(pairs) > 1 else ()
    )
    for which, name, colour, symbol in (*marked, (best, "best by w1", BLUE, "star-open")):
        trial = facts.search.trials[which]
        traces.append(_points([trial], pairs, name, Look(colour, symbol, "solid"), 18))
    estimates, w1 = ([pairs[t.number][i] for t in trials] for i in (0, 1))
    return figure(
        traces,
        axis("own critic's estimate (its own scale)", **scale(estimates)),
        axis(f"w1 at step {steps:,} (data units)", **scale(w1)),
        420,
    )


def _points(trials: Sequence[Trial], pairs: Any, name: str, look: Look, size: int) -> go.Scatter:
    return go.Scatter(
        x=[pairs[t.number][0] for t in trials],
        y=[pairs[t.number][1] for t in trials],
        text=[f"trial {t.trial_id}" for t in trials],
        mode="markers",
        name=name,
        marker={
            "symbol": look.symbol,
            "size": size,
            "color": look.colour,
            "line": {"width": 3 if size > 10 else 1.5, "color": look.colour},
        },
        hovertemplate="%{text}<br>" + _W1_HOVER + "<br>own critic %{x:.4g}<extra></extra>",
    )


def by_method(facts: Facts, key: str, scope: str) -> go.Figure | None:
    """The ``w1`` by the values of a kind, of ``all`` scored at the first rung, or ``completed``."""
    steps = facts.first_scored_rung if scope == "all" else facts.last_rung
    done = {t.number for t in facts.completed}
    scores = facts.w1_at(steps)
    groups: dict[str, list[tuple[int, float]]] = {}
    for trial in shown(facts, MOST_POINTS):
        if trial.number in scores and (scope == "all" or trial.number in done):
            value = str(trial.params.get(key, "has none"))
            groups.setdefault(value, []).append((trial.number, scores[trial.number]))
    if not groups:
        return None
    colour = GREY if scope == "all" else BLUE
    traces = [_box(name, those, colour) for name, those in sorted(groups.items())]
    y = axis(W1, **scale(w1 for those in groups.values() for _, w1 in those))
    return figure(traces, axis("", showgrid=False, type="category"), y, 340, showlegend=False)


def _box(name: str, those: Sequence[tuple[int, float]], colour: str) -> go.Box:
    return go.Box(
        y=[w1 for _, w1 in those],
        x=[escaped(name)] * len(those),
        text=[f"trial {number_:05d}" for number_, _ in those],
        boxpoints="all",
        jitter=0.4,
        pointpos=0,
        marker={"size": 6, "color": colour},
        line={"width": 1.5, "color": colour},
        fillcolor="rgba(128,128,128,0.12)",
        hovertemplate="%{text}<br>" + _W1_HOVER + "<extra></extra>",
    )


def seeds(scores: Sequence[float], own: float | None, name: str) -> go.Figure:
    """What a configuration scores with other seeds, beside the search's own score."""
    again = go.Scatter(
        x=list(scores),
        y=[0] * len(scores),
        mode="markers",
        name="other seeds",
        marker={"symbol": "circle-open", "size": 12, "color": BLUE, "line": {"width": 2}},
        hovertemplate="w1 %{x:.4g}<extra></extra>",
    )
    traces = [again]
    if own is not None:
        star = {"symbol": "star", "size": 15, "color": VERMILLION}
        hover = "the search: w1 %{x:.4g}<extra></extra>"
        label = f"trial {escaped(name)} in the search"
        traces.append(
            go.Scatter(x=[own], y=[0], mode="markers", name=label, marker=star, hovertemplate=hover)
        )
    y = axis("", visible=False, range=[-1, 1])
    return figure(traces, axis(W1), y, 150)
