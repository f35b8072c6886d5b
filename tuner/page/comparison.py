"""Draw how the best trial's samples differ from real ones, as the final found it."""

import base64
import binascii
from itertools import chain, pairwise
from typing import Any

import plotly.graph_objects as go

from tuner.page.facts import Facts
from tuner.page.pictures import embedded_bytes
from tuner.page.style import BLUE, GREY, ORANGE, axis, figure, styled
from tuner.results import VectorComparison, read_comparison

#: Columns in the plots of pairs, of the ones that differ most.
_NUM_PAIRED = 4
#: From so many columns on vectors are drawn as lines, too.
_LEAST_LINE = 8
_COLOURS = {"real": BLUE, "generated": ORANGE}


def comparison(facts: Facts) -> tuple[dict[str, go.Figure], dict[str, Any]]:
    """Return the figures by id, and the template values of the comparison."""
    best = facts.search.best
    found = None if best is None else read_comparison(facts.search.run_dir, best)
    values: dict[str, Any] = {"neighbours": None, "compared": [], "compared_pairs": []}
    if found is None:
        return {}, values
    if not isinstance(found, VectorComparison):
        try:
            raw = base64.b64decode(found.picture, validate=True)
        except binascii.Error:
            return {}, values
        return {}, {**values, "neighbours": embedded_bytes(raw)}
    drawn = {f"fig-marginal-{i}": _marginal(found, i) for i in range(len(found.columns))}
    values["compared"] = [
        (f"fig-marginal-{i}", f"column {column.index}", f"{column.distance:.2g}")
        for i, column in enumerate(found.columns)
    ]
    others = {
        "fig-pairs": ("Pairs of the columns that differ most", _pairs(found)),
        "fig-correlations": ("Correlations of pairs of columns", _correlations(found)),
        "fig-lines": ("Whole samples", _lines(found)),
    }
    for id_, (title, plot) in others.items():
        if plot is not None:
            drawn[id_] = plot
            values["compared_pairs"].append((id_, title))
    return drawn, values


def _marginal(found: VectorComparison, index: int) -> go.Figure:
    column = found.columns[index]
    edges = column.edges
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    traces = [
        go.Scatter(
            x=middles,
            y=shares,
            mode="lines",
            name=name,
            line={"shape": "hvh", "color": _COLOURS[name], "width": 2},
            hovertemplate="%{x:.4g}: %{y:.1%} " + name + "<extra></extra>",
        )
        for name, shares in (("real", column.real), ("generated", column.generated))
    ]
    y = axis("share", rangemode="tozero", tickformat=".0%")
    return figure(traces, axis(f"column {column.index}"), y, 220, showlegend=index == 0)


def _pairs(found: VectorComparison) -> go.Figure | None:
    columns = found.columns[:_NUM_PAIRED]
    if len(columns) < 2:
        return None
    traces = [
        go.Splom(
            dimensions=[
                {"label": f"column {c.index}", "values": getattr(c, f"{name}_points")}
                for c in columns
            ],
            name=name,
            marker={"color": colour, "size": 4, "opacity": 0.55},
            diagonal={"visible": False},
            showupperhalf=False,
            hovertemplate="%{x:.4g}, %{y:.4g}<extra>" + name + "</extra>",
        )
        for name, colour in _COLOURS.items()
    ]
    drawn = styled(go.Figure(traces), 180 + 120 * (len(columns) - 1))
    drawn.update_layout(margin={"l": 60, "r": 12, "t": 12, "b": 50})
    for number in range(1, len(columns) + 1):
        options = axis("", ticks="outside", automargin=False)
        del options["title"]
        drawn.update_layout({f"xaxis{number}": options, f"yaxis{number}": options})
    return drawn


def _correlations(found: VectorComparison) -> go.Figure | None:
    if not found.correlations:
        return None
    points = go.Scatter(
        x=[real for _, _, real, _ in found.correlations],
        y=[generated for _, _, _, generated in found.correlations],
        text=[f"columns {i} and {j}" for i, j, _, _ in found.correlations],
        mode="markers",
        name="a pair of columns",
        marker={"size": 7, "color": BLUE, "opacity": 0.6},
        hovertemplate="%{text}<br>real %{x:.3f}, generated %{y:.3f}<extra></extra>",
    )
    equal = go.Scatter(
        x=[-1, 1], y=[-1, 1], mode="lines", name="equal", hoverinfo="skip",
        line={"color": GREY, "dash": "dot", "width": 1.5},
    )  # fmt: skip
    limits = {"range": [-1.05, 1.05]}
    x, y = axis("real", **limits), axis("generated", **limits)
    return figure([equal, points], x, y, 420)


def _lines(found: VectorComparison) -> go.Figure | None:
    if len(found.positions) < _LEAST_LINE:
        return None
    traces = []
    for name, lines in (("real", found.real_lines), ("generated", found.generated_lines)):
        traces.append(
            go.Scatter(
                x=[*chain.from_iterable([*found.positions, None] for _ in lines)],
                y=[*chain.from_iterable([*line, None] for line in lines)],
                mode="lines",
                name=name,
                line={"color": _COLOURS[name], "width": 1.2},
                opacity=0.75,
                hovertemplate="column %{x}: %{y:.4g}<extra>" + name + "</extra>",
            )
        )
    return figure(traces, axis("column"), axis("value"), 420)
