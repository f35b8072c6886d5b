"""How all figures of a report look, and how a name or a number is written in one."""

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import plotly.graph_objects as go

from tuner.page.facts import OUT_OF_TIME, UNDER_WAY

# Okabe and Ito 2008: told apart whatever colours one's eyes can see.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, GREY = "#56B4E9", "#CC79A7", "#C9B800", "#8A8A8A"
#: Seen on white and on black alike.
_GRID = "rgba(128,128,128,0.22)"
_STOPPED_COLOURS = (ORANGE, SKY, PURPLE, YELLOW)
_STOPPED_MARKS = ("circle-open", "diamond-open", "square-open", "triangle-up-open", "star-open")
_DASHES = ("dot", "dash", "dashdot", "longdash")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


@final
@dataclass(frozen=True)
class Look:
    """How trials of one fate are drawn: never by colour alone."""

    colour: str
    symbol: str
    dash: str


def looks(rungs: Sequence[int]) -> dict[str, Look]:
    """How each fate is drawn, by its name."""
    known = {"completed": Look(BLUE, "circle", "solid")}
    for index, steps in enumerate(rungs):
        known[f"stopped at {steps:,}"] = Look(
            _STOPPED_COLOURS[index % len(_STOPPED_COLOURS)],
            _STOPPED_MARKS[index % len(_STOPPED_MARKS)],
            _DASHES[index % len(_DASHES)],
        )
    return known | {
        OUT_OF_TIME: Look(GREY, "hourglass", "dash"),
        "diverged": Look(VERMILLION, "x", "dashdot"),
        "failed": Look(GREY, "cross", "longdashdot"),
        UNDER_WAY: Look(GREEN, "triangle-right", "dot"),
    }


def escaped(text: object) -> str:
    """Text in a figure: plotly takes some tags for what they are."""
    return html.escape(str(text))


def short(key: str) -> str:
    """A dotted key without its section."""
    return key.split(".", 1)[1] if key.startswith(("training.", "networks.")) else key


def number(value: Any) -> str:
    """A value as it is read best."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "-"
    text = f"{value:,.0f}" if 10_000 <= abs(value) < 1e7 else f"{value:.4g}"
    return re.sub(r"e([+-])0*", lambda found: "e" + found[1].strip("+"), text)


def wants_log(values: Iterable[float]) -> bool:
    """Whether values span so much that only their magnitudes can be seen."""
    values = list(values)
    return bool(values) and min(values) > 0 and max(values) > 8 * min(values)


def scale(values: Iterable[float]) -> dict[str, Any]:
    """An axis for these values: of their magnitudes, where it takes that to see them all."""
    values = list(values)
    return log_scale(min(values), max(values)) if wants_log(values) else {}


def log_scale(low: float, high: float) -> dict[str, Any]:
    """A log axis that has 1, 2 and 5 of each decade written, or as many as there is room for."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, (last - first) // 6)
    steps = (1, 2, 5) if high < 200 * low else (1,)
    at = [m * 10.0**e for e in range(first, last + 1, every) for m in steps]
    at = [value for value in at if low / 2.5 <= value <= high * 2.5]
    return {"type": "log", "tickvals": at, "ticktext": [number(value) for value in at]}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with its title, in our look."""
    return {
        "title": {"text": escaped(title), "standoff": 8},
        "gridcolor": _GRID,
        "zeroline": False,
        "linecolor": "rgba(128,128,128,0.6)",
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "rgba(128,128,128,0.6)",
        "automargin": True,
        **more,
    }


def figure(
    traces: Sequence[Any], x: Mapping[str, Any], y: Mapping[str, Any], height: int, **more: Any
) -> go.Figure:
    """A figure of our look: no title, which the page gives, and no ground of its own."""
    made = go.Figure(list(traces))
    made.update_layout(xaxis=dict(x), yaxis=dict(y))
    return styled(made, height, **more)


def styled(made: go.Figure, height: int, **more: Any) -> go.Figure:
    """Give a figure our look."""
    made.update_layout(
        template="none",
        title=None,
        height=height,
        autosize=True,
        width=None,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12},
        margin={"l": 8, "r": 12, "t": 12, "b": 8},
        # Above: below, its distance would hang on the figure's height.
        legend={"orientation": "h", "y": 1.03, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        hoverlabel={"font": {"family": FONT, "size": 12}, "align": "left"},
        hovermode="closest",
        **more,
    )
    return made
