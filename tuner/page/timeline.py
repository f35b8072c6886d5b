"""Draw a search over its time: the best score so far, and which trials ran when."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import final

import plotly.graph_objects as go

from tuner.page.facts import RUNNING, Facts
from tuner.page.figures import MAX_POINTS, W1
from tuner.page.style import BLUE, GREY, axis, figure, of_trials, outcome_styles, scale
from tuner.study import Trial

#: The most bars, the latest ones.
MAX_BARS = 3000
#: A trial between two of whose reports more seconds passed than it worked, was interrupted.
_LEAST_PAUSE_S = 60.0
_UNITS = ((3 * 86_400, 86_400, "days"), (3 * 3600, 3600, "hours"), (300, 60, "minutes"))
#: The height of a row in pixels, and the share of it that a bar has.
_ROW_PX, _BAR = 22, 0.85


@final
@dataclass(frozen=True)
class Stretch:
    """A time in which a trial ran without a pause, in Unix seconds, and the row that it is in."""

    trial: Trial
    start_s: float
    end_s: float
    row: int = 0


def stretches(facts: Facts) -> list[Stretch]:
    """Find when each trial ran, by its reports, and give those that overlap different rows.

    The record does not name the workers: the rows are as many as trials ran at a time.
    """
    found = []
    for trial in facts.search.trials:
        found += _of_trial(trial, facts.search.reports.get(trial.number, {}))
    placed, ends = [], []
    for one in sorted(found, key=lambda s: s.start_s):
        row = next((i for i, end_s in enumerate(ends) if end_s <= one.start_s), len(ends))
        ends[row : row + 1] = [one.end_s]
        placed.append(Stretch(one.trial, one.start_s, one.end_s, row))
    return placed


def _of_trial(trial: Trial, reports: Mapping[int, Mapping[str, float]]) -> list[Stretch]:
    timed = [r for _, r in sorted(reports.items()) if "unix_time_s" in r]
    if not timed:
        return []
    start_s, found = timed[0]["unix_time_s"] - _worked_s(timed[0]), []
    for before, after in pairwise(timed):
        worked_s = _worked_s(after) - _worked_s(before)
        if after["unix_time_s"] - before["unix_time_s"] > 2 * worked_s + _LEAST_PAUSE_S:
            found.append(Stretch(trial, start_s, before["unix_time_s"]))
            start_s = after["unix_time_s"] - worked_s
    return [*found, Stretch(trial, start_s, timed[-1]["unix_time_s"])]


def _worked_s(report: Mapping[str, float]) -> float:
    return report.get("training_seconds", 0.0) + report.get("scoring_seconds", 0.0)


def timeline(facts: Facts) -> go.Figure | None:
    """Draw a bar for each trial, in a row of those that did not run at the same time."""
    found = stretches(facts)[-MAX_BARS:]
    if not found:
        return None
    first_s = found[0].start_s
    unit_s, unit = _unit(max(s.end_s for s in found) - first_s)
    traces = []
    for outcome, style in outcome_styles(facts.rungs).items():
        members = [s for s in found if facts.outcome(s.trial) == outcome]
        if not members:
            continue
        lasted_s = [s.end_s - s.start_s for s in members]
        traces.append(
            go.Bar(
                y=[s.row + 1 for s in members],
                x=[_digits(seconds / unit_s) for seconds in lasted_s],
                base=[_digits((s.start_s - first_s) / unit_s) for s in members],
                **of_trials([s.trial.number for s in members]),
                text=[f"{seconds:,.3g} s" for seconds in lasted_s],
                textposition="none",
                width=_BAR,
                orientation="h",
                name=f"{outcome} ({len({s.trial.number for s in members}):,})",
                marker={"color": style.colour, "line": {"width": 0.5, "color": "white"}},
                hovertemplate="trial %{customdata}, " + outcome + "<br>%{text}<extra></extra>",
            )
        )
    rows = 1 + max(s.row for s in found)
    y = axis("", range=[rows + 0.5, 0.5], showgrid=False, showticklabels=False, ticks="")
    x = axis(f"{unit} since the first trial started", rangemode="tozero")
    height = 110 + min(_ROW_PX * rows, 600)
    return figure(traces, x, y, height, barmode="overlay")


def best_so_far(facts: Facts, by: str) -> go.Figure | None:
    """Draw the lowest ``w1`` at the last rung so far, and that of every completed trial.

    Args:
        facts: The search.
        by: ``trials`` for the order in which they ended, ``time`` for when they did.
    """
    scores = facts.w1_at(facts.last_rung)
    ended = [
        (t.ended_unix_time_s, t) for t in facts.search.trials
        if t.status == "completed" and t.number in scores and t.ended_unix_time_s is not None
    ]  # fmt: skip
    starts = [s.start_s for s in stretches(facts)]
    if not ended or (by == "time" and not starts):
        return None
    ended.sort(key=lambda pair: pair[0])
    values = [scores[trial.number] for _, trial in ended]
    title = "trials that had ended"
    if by == "time":
        first_s = min(*starts, ended[0][0])
        unit_s, unit = _unit(ended[-1][0] - first_s)
        xs = [_digits((at_s - first_s) / unit_s) for at_s, _ in ended]
        title = f"{unit} since the first trial started"
    else:
        xs = _num_ended(facts, [at_s for at_s, _ in ended])
    line = go.Scatter(
        x=xs,
        y=list(accumulate(values, min)),
        mode="lines",
        name="lowest so far",
        line={"color": BLUE, "width": 2.5, "shape": "hv"},
        hovertemplate="lowest w1 so far %{y:.4g}<extra></extra>",
    )
    shown = range(len(ended))[-MAX_POINTS:]
    points = go.Scatter(
        x=[xs[i] for i in shown],
        y=[values[i] for i in shown],
        **of_trials([ended[i][1].number for i in shown]),
        mode="markers",
        name="completed trials",
        marker={"symbol": "circle-open", "size": 7, "color": GREY},
        hovertemplate="trial %{customdata}<br>w1 %{y:.4g}<extra></extra>",
    )
    y = axis(f"{W1}, at step {facts.last_rung:,}", **scale(values))
    return figure([points, line], axis(title, rangemode="tozero"), y, 320)


def _num_ended(facts: Facts, times_s: Sequence[float]) -> list[int]:
    """Return how many trials had ended at each of the given times, which are sorted."""
    all_s = sorted(t.ended_unix_time_s or math.inf for t in facts.search.trials if t.status)
    counts, num = [], 0
    for time_s in times_s:
        while num < len(all_s) and all_s[num] <= time_s:
            num += 1
        counts.append(num)
    return counts


def _unit(length_s: float) -> tuple[float, str]:
    """Return the length of a unit of time that suits an axis, in seconds, and its name."""
    for least_s, unit_s, name in _UNITS:
        if length_s >= least_s:
            return unit_s, name
    return 1.0, "seconds"


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def timeline_note(facts: Facts) -> str:
    """Say what the rows are, and whether some trials still run."""
    is_running = any(facts.outcome(t) == RUNNING for t in facts.search.trials)
    running = " The bars of running trials end at their last report." if is_running else ""
    return (
        "Trials that ran at the same time are in different rows. A bar is from a trial's start to "
        f"its last report, without the hours in which the search was interrupted.{running}"
    )
