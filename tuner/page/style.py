"""Style the figures of a report, and format the names and numbers in them."""

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import plotly.graph_objects as go

from tuner.page.facts import OUT_OF_BUDGET, RUNNING, WAITING

# The palette of Okabe and Ito (2008), which can be distinguished with any colour vision.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, GREY = "#56B4E9", "#CC79A7", "#C9B800", "#8A8A8A"
#: Visible on a white and on a black background.
_GRID = "rgba(128,128,128,0.22)"
_STOPPED_COLOURS = (ORANGE, SKY, PURPLE, YELLOW)
_STOPPED_MARKS = ("circle-open", "diamond-open", "square-open", "triangle-up-open", "star-open")
_DASHES = ("dot", "dash", "dashdot", "longdash")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"


@final
@dataclass(frozen=True)
class TraceStyle:
    """The style of the trials with one outcome: a colour, a marker symbol and a line dash."""

    colour: str
    symbol: str
    dash: str


def outcome_styles(rungs: Sequence[int]) -> dict[str, TraceStyle]:
    """Return the style of each outcome; no two share both symbol and dash."""
    by_outcome = {"completed": TraceStyle(BLUE, "circle", "solid")}
    for index, steps in enumerate(rungs):
        by_outcome[f"stopped at {steps:,}"] = TraceStyle(
            _STOPPED_COLOURS[index % len(_STOPPED_COLOURS)],
            _STOPPED_MARKS[index % len(_STOPPED_MARKS)],
            _DASHES[index % len(_DASHES)],
        )
    return by_outcome | {
        OUT_OF_BUDGET: TraceStyle(GREY, "hourglass", "dash"),
        "diverged": TraceStyle(VERMILLION, "x", "dashdot"),
        "failed": TraceStyle(GREY, "cross", "longdashdot"),
        RUNNING: TraceStyle(GREEN, "triangle-right", "dot"),
        WAITING: TraceStyle(PURPLE, "diamond-wide", "dash"),
    }


def escaped(text: object) -> str:
    """Escape text for a figure: plotly interprets some HTML tags."""
    return html.escape(str(text))


def short(key: str) -> str:
    """Return a dotted key without its section."""
    return key.split(".", 1)[1] if key.startswith(("training.", "networks.")) else key


def number(value: Any) -> str:
    """Format a value; numbers get four significant digits and thousands separators."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "-"
    text = f"{value:,.0f}" if 10_000 <= abs(value) < 1e7 else f"{value:.4g}"
    return re.sub(r"e([+-])0*", lambda match: "e" + match[1].strip("+"), text)


def wants_log(values: Iterable[float]) -> bool:
    """Return whether a log axis suits the values: they are positive and differ by a factor of 8."""
    values = list(values)
    return bool(values) and min(values) > 0 and max(values) > 8 * min(values)


def scale(values: Iterable[float]) -> dict[str, Any]:
    """Return the options of an axis for the values: a log axis where it suits them."""
    values = list(values)
    return log_scale(min(values), max(values)) if wants_log(values) else {}


def log_scale(low: float, high: float) -> dict[str, Any]:
    """Return the options of a log axis with ticks at 1, 2 and 5 of each decade, or fewer."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decade_step = max(1, (last - first) // 6)
    multiples = (1, 2, 5) if high < 200 * low else (1,)
    ticks = [m * 10.0**e for e in range(first, last + 1, decade_step) for m in multiples]
    ticks = [value for value in ticks if low / 2.5 <= value <= high * 2.5]
    return {"type": "log", "tickvals": ticks, "ticktext": [number(value) for value in ticks]}


def of_trials(numbers: Sequence[int | None]) -> dict[str, Any]:
    """Return the options of a trace whose points belong to trials, of these numbers.

    The page shows the points of the selected trials alone, and a click on one selects its trial.
    """
    return {"customdata": list(numbers), "meta": "trials"}


def axis(title: str, **options: Any) -> dict[str, Any]:
    """Return the options of an axis with a title, in the report's style."""
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
        **options,
    }


def figure(
    traces: Sequence[Any], x: Mapping[str, Any], y: Mapping[str, Any], height: int, **layout: Any
) -> go.Figure:
    """Create a figure in the report's style.

    Args:
        traces: The traces.
        x: The options of the x axis.
        y: The options of the y axis.
        height: The height in pixels.
        layout: Further options of the layout.
    """
    drawn = go.Figure(list(traces))
    drawn.update_layout(xaxis=dict(x), yaxis=dict(y))
    return styled(drawn, height, **layout)


def styled(drawn: go.Figure, height: int, **layout: Any) -> go.Figure:
    """Apply the report's style: no title, which the page has, and a transparent background."""
    drawn.update_layout(
        template="none",
        title=None,
        height=height,
        autosize=True,
        width=None,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12},
        margin={"l": 8, "r": 12, "t": 12, "b": 8},
        # Above the plot: the distance of a legend below it would depend on the figure's height.
        legend={"orientation": "h", "y": 1.03, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        hoverlabel={"font": {"family": FONT, "size": 12}, "align": "left"},
        hovermode="closest",
        **layout,
    )
    return drawn
