"""Draw the figures of a report that show the trials' scores and rungs."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from tuner.page.facts import OUT_OF_BUDGET, RUNNING, WAITING, Facts, estimates_at
from tuner.page.ladder import ladder
from tuner.page.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    TraceStyle,
    axis,
    escaped,
    figure,
    number,
    of_trials,
    outcome_styles,
    scale,
    wants_log,
)
from tuner.study import Trial

#: The most curves in a figure: more are slow to draw, and cannot be distinguished.
MAX_CURVES = 400
#: The most points of each kind in a figure.
MAX_POINTS = 1500
W1 = "w1 (data units)"
_STEPS = "generator steps"
_W1_HOVER = "w1 %{y:.4g}"
_PATTERN = {"fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.55)", "size": 7, "solidity": 0.2}


def select_trials(facts: Facts, limit: int) -> list[Trial]:
    """Select the scored trials to draw: the ``limit / 2`` best, and evenly spaced other ones."""
    trials = [t for t in facts.places if t.number in facts.curves]
    if len(trials) <= limit:
        return trials
    best, rest = trials[: limit // 2], trials[limit // 2 :]
    num_rest = limit - len(best)
    return [*best, *(rest[i * len(rest) // num_rest] for i in range(num_rest))]


def curves(facts: Facts, by: str) -> go.Figure | None:
    """Draw the learning curve of each trial.

    Args:
        facts: The search.
        by: The x axis: ``generator_steps``, or a metric of the reports, such as seconds.
    """
    trials = select_trials(facts, MAX_CURVES)
    if not trials:
        return None

    def x_of(trial: Trial, steps: int) -> float | None:
        if by == "generator_steps":
            return steps
        return facts.search.reports.get(trial.number, {}).get(steps, {}).get(by)

    traces = []
    for outcome, style in outcome_styles(facts.rungs).items():
        members = [t for t in trials if facts.outcome(t) == outcome]
        if members:
            traces.append(_lines(facts, members, outcome, style, x_of, 1.3))
    if (best := facts.search.best) is not None and best.number in facts.curves:
        style = TraceStyle(BLUE, "star", "solid")
        traces.append(_lines(facts, [best], f"best: {best.trial_id}", style, x_of, 4))
    values = [w1 for t in trials for w1 in facts.curves[t.number].values()]
    xs = [x for t in trials for s in facts.curves[t.number] if (x := x_of(t, s)) is not None]
    below = None
    if facts.search.floor is not None and xs:
        floor = facts.search.floor["w1_floor"]
        if _is_near(floor, values):
            values.append(floor)
            traces.append(_floor(floor, min(xs), max(xs)))
        else:
            below = f"floor: real samples score {number(floor)}, below this figure"
    is_steps = by == "generator_steps"
    ticks = {"tickvals": facts.rungs, "ticktext": [f"{s:,}" for s in facts.rungs]}
    crowded = len(facts.rungs) > 8
    x = axis(
        _STEPS if is_steps else "training time of the trial (s)",
        **(scale(xs) | (ticks if is_steps and not crowded else {})),
    )
    drawn = figure(traces, x, axis(W1, **scale(values)), 420)
    if below is not None:
        drawn.add_annotation(
            text=escaped(below), xref="paper", yref="paper", x=1, y=1, showarrow=False,
            xanchor="right", yanchor="top", font={"size": 11, "color": GREY},
        )  # fmt: skip
    return drawn


def _is_near(floor: float, values: Sequence[float]) -> bool:
    """Tell whether an axis that shows the floor as well leaves the curves half of its height."""
    low, high = min(values), max(values)
    if floor >= low:
        return floor <= high
    if floor > 0 and wants_log([floor, *values]):
        return math.log(low / floor) <= math.log(high / low)
    return low - floor <= high - low


def _lines(
    facts: Facts,
    trials: Sequence[Trial],
    name: str,
    style: TraceStyle,
    x_of: Callable[[Trial, int], float | None],
    width: float,
) -> go.Scatter:
    """Draw the curves of one outcome as a single trace with gaps.

    A browser would take minutes for thousands of traces.
    """
    xs: list[Any] = []
    ys: list[Any] = []
    texts: list[str] = []
    numbers: list[int | None] = []
    for trial in trials:
        for steps, w1 in facts.curves[trial.number].items():
            xs.append(x_of(trial, steps))
            ys.append(w1)
            texts.append(f"trial {trial.trial_id}, {facts.outcome(trial)}, step {steps:,}")
            numbers.append(trial.number)
        xs.append(None)
        ys.append(None)
        texts.append("")
        numbers.append(None)
    is_best = width > 2
    return go.Scatter(
        x=xs,
        y=ys,
        text=texts,
        **of_trials(numbers),
        mode="lines+markers",
        name=name if is_best else f"{name} ({len(trials):,})",
        line={"color": style.colour, "dash": style.dash, "width": width},
        marker={"symbol": style.symbol, "size": 13 if is_best else 7, "color": style.colour},
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
    """Draw the number of trials that started towards each rung, by outcome."""
    rows = [row for row in ladder(facts) if row.entered]
    if not rows:
        return None
    names = [f"{row.steps:,}" for row in rows]
    kinds = (
        ("continued or completed", "continued", BLUE, ""),
        ("stopped", "stopped", ORANGE, "/"),
        (OUT_OF_BUDGET, "out_of_budget", SKY, "|"),
        ("diverged", "diverged", VERMILLION, "x"),
        ("failed", "failed", GREY, "."),
        (RUNNING, "running", GREEN, "-"),
        (WAITING, "waiting", PURPLE, "+"),
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
    # A longer title would be cut where there are few rungs.
    y = axis("rung", type="category", autorange="reversed", showgrid=False)
    # Otherwise several ticks would round to the same number.
    ticks = {"dtick": 1} if rows[0].entered <= 10 else {}
    x = axis("trials", rangemode="tozero", tickformat=",d", **ticks)
    drawn = figure(traces, x, y, 110 + 38 * len(rows), barmode="stack")
    return drawn.update_layout(legend={"traceorder": "normal"})


def own_critic(facts: Facts, steps: int) -> go.Figure | None:
    """Draw the ``w1`` of all trials at a rung against the estimates of their own critics."""
    pairs = estimates_at(facts, steps)
    trials = [t for t in select_trials(facts, MAX_POINTS) if t.number in pairs]
    if not trials:
        return None
    traces = []
    for outcome, style in outcome_styles(facts.rungs).items():
        members = [t for t in trials if facts.outcome(t) == outcome]
        if members:
            traces.append(_points(members, pairs, f"{outcome} ({len(members):,})", style, 9))
    picked = min(pairs, key=lambda n: pairs[n])
    best = min(pairs, key=lambda n: pairs[n][1])
    marked = (
        ((picked, "the own critics' pick", VERMILLION, "square-open"),) if len(pairs) > 1 else ()
    )
    for index, name, colour, symbol in (*marked, (best, "best by w1", BLUE, "star-open")):
        trial = facts.search.trials[index]
        traces.append(_points([trial], pairs, name, TraceStyle(colour, symbol, "solid"), 18))
    estimates, w1 = ([pairs[t.number][i] for t in trials] for i in (0, 1))
    return figure(
        traces,
        axis("own critic's estimate (its own scale)", **scale(estimates)),
        axis(f"w1 at step {steps:,} (data units)", **scale(w1)),
        420,
    )


def _points(
    trials: Sequence[Trial], pairs: Any, name: str, style: TraceStyle, size: int
) -> go.Scatter:
    return go.Scatter(
        x=[pairs[t.number][0] for t in trials],
        y=[pairs[t.number][1] for t in trials],
        text=[f"trial {t.trial_id}" for t in trials],
        **of_trials([t.number for t in trials]),
        mode="markers",
        name=name,
        marker={
            "symbol": style.symbol,
            "size": size,
            "color": style.colour,
            "line": {"width": 3 if size > 10 else 1.5, "color": style.colour},
        },
        hovertemplate="%{text}<br>" + _W1_HOVER + "<br>own critic %{x:.4g}<extra></extra>",
    )


def by_method(facts: Facts, key: str, scope: str) -> go.Figure | None:
    """Draw the distribution of ``w1`` for each value of a key.

    Args:
        facts: The search.
        key: The dotted key.
        scope: ``all`` for all trials scored at the first rung, ``completed`` for the last rung.
    """
    steps = facts.first_scored_rung if scope == "all" else facts.last_rung
    completed = {t.number for t in facts.completed}
    scores = facts.w1_at(steps)
    groups: dict[str, list[tuple[int, float]]] = {}
    for trial in select_trials(facts, MAX_POINTS):
        if trial.number in scores and (scope == "all" or trial.number in completed):
            value = str(trial.params.get(key, "has none"))
            groups.setdefault(value, []).append((trial.number, scores[trial.number]))
    if not groups:
        return None
    colour = GREY if scope == "all" else BLUE
    traces = [_box(name, members, colour) for name, members in sorted(groups.items())]
    y = axis(W1, **scale(w1 for members in groups.values() for _, w1 in members))
    return figure(traces, axis("", showgrid=False, type="category"), y, 340, showlegend=False)


def _box(name: str, members: Sequence[tuple[int, float]], colour: str) -> go.Box:
    return go.Box(
        y=[w1 for _, w1 in members],
        x=[escaped(name)] * len(members),
        text=[f"trial {number_:05d}" for number_, _ in members],
        **of_trials([number_ for number_, _ in members]),
        boxpoints="all",
        jitter=0.4,
        pointpos=0,
        marker={"size": 6, "color": colour},
        line={"width": 1.5, "color": colour},
        fillcolor="rgba(128,128,128,0.12)",
        hovertemplate="%{text}<br>" + _W1_HOVER + "<extra></extra>",
    )


def seeds(scores: Sequence[float], search_score: float | None, name: str) -> go.Figure:
    """Draw the scores of a configuration with other seeds, and its score in the search."""
    retrained = go.Scatter(
        x=list(scores),
        y=[0] * len(scores),
        mode="markers",
        name="other seeds",
        marker={"symbol": "circle-open", "size": 12, "color": BLUE, "line": {"width": 2}},
        hovertemplate="w1 %{x:.4g}<extra></extra>",
    )
    traces = [retrained]
    if search_score is not None:
        traces.append(
            go.Scatter(
                x=[search_score],
                y=[0],
                mode="markers",
                name=f"trial {escaped(name)} in the search",
                marker={"symbol": "star", "size": 15, "color": VERMILLION},
                hovertemplate="the search: w1 %{x:.4g}<extra></extra>",
            )
        )
    y = axis("", visible=False, range=[-1, 1])
    return figure(traces, axis(W1), y, 150)
