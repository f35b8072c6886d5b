"""Compare a search's trials by method: ``python -m tuner.compare RUN --by constraint --below 1``.

It reads ``trials.csv``, which has the ``w1`` of the last rung of each trial. Values of ``w1`` at
different rungs cannot be compared, since a trial that trained longer is better for that reason. So
the best and the median are of completed trials, which all ended at the last rung. Under ASHA these
are survivors, and more of them have some values than others: to compare methods rather than to find
the best trial, search with ``asha.reduction_factor: 1`` and ``search.sampler: random``.

``--below`` counts a trial by the ``w1`` at the rung where it ended. A trial that was stopped early
might have come below the bound later: the share describes the search, not the method's limit.
"""

import argparse
import difflib
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tuner import cli, display
from tuner.errors import BadInput, Fault
from tuner.results import COLUMNS, Row, ranked, read_trials
from tuner.study import ENDINGS

#: Columns that are not hyperparameters.
_OTHERS = {*COLUMNS, "seed", "message"}
#: Characters of a line if the output is no terminal.
_WIDTH = 200


def read(run_dir: Path, by: Sequence[str] = ()) -> Sequence[Row]:
    """Read the rows of a search's ``trials.csv``, one per trial.

    Raises:
        BadInput: if it cannot be read, or lacks a hyperparameter of ``by``.
    """
    path = run_dir / "trials.csv"
    try:
        rows = read_trials(path)
        if not rows:
            raise ValueError("it has no trials")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"cannot be read ({reason}): give the folder of a search, such as runs/gp"
        raise BadInput(str(path), [Fault("", message)]) from error
    names = [name for name in rows[0].cells if name not in _OTHERS]
    if faults := [Fault("--by", _no_such(key, names)) for key in by if key not in names]:
        raise BadInput(str(path), faults)
    return rows


def compare(rows: Sequence[Row], by: Sequence[str], below: float | None = None) -> list[list[str]]:
    """Return the cells under :func:`headings` for each group of trials with equal values of ``by``.

    The first group has the largest share below the bound; of equal ones, or without a bound, the
    lowest median.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.cells[key] or "-" for key in by), []).append(row)
    ranked_groups = sorted((*_summarize(group, below), values) for values, group in groups.items())
    return [[*values, *cells] for _, cells, values in ranked_groups]


def headings(by: Sequence[str], below: float | None = None) -> list[str]:
    """Return the column names; the share is of the trials that ended, with its 95% interval."""
    bound = [] if below is None else [f"below {below:g}", "share (95%)"]
    return [*by, "trials", *ENDINGS, "best w1", "median w1", *bound]


def _summarize(rows: Sequence[Row], below: float | None) -> tuple[tuple[float, float], list[str]]:
    """Return the sort key of a group, and its cells."""
    counts = [sum(row.status == end for row in rows) for end in ENDINGS]
    w1 = [row.last_w1 for row in ranked(rows) if row.last_w1 is not None]
    scores = [min(w1), statistics.median(w1)] if w1 else [math.inf, math.inf]
    cells = [
        *map(str, (len(rows), *counts)),
        *(f"{w1:.4g}" if w1 < math.inf else "-" for w1 in scores),
    ]
    if below is None:
        return (0.0, scores[1]), cells
    # A trial that diverged, failed or runs has the w1 of an earlier rung.
    scored = [row.last_w1 for row in rows if row.status in ("completed", "stopped")]
    num_below = sum(w1 is not None and w1 < below for w1 in scored)
    num_ended = sum(counts)
    share, (low, high) = num_below / max(1, num_ended), wilson_interval(num_below, num_ended)
    return (-share, scores[1]), [*cells, str(num_below), f"{share:.0%} ({low:.0%} to {high:.0%})"]


def as_json(
    rows: Sequence[Row], by: Sequence[str], below: float | None = None
) -> list[dict[str, Any]]:
    """Return the groups of :func:`compare` as data for JSON; numbers that do not exist are null."""
    groups = []
    for cells in compare(rows, by, below):
        columns = dict(zip(headings(by, below), cells, strict=True))
        members = [row for row in rows if [row.cells[key] or "-" for key in by] == cells[: len(by)]]
        w1 = [row.last_w1 for row in ranked(members) if row.last_w1 is not None]
        group = {
            **{key: _plain(members[0].cells[key]) for key in by},
            **{name: int(columns[name]) for name in ("trials", *ENDINGS)},
            "best_w1": min(w1, default=None),
            "median_w1": statistics.median(w1) if w1 else None,
        }
        if below is not None:
            num_below = int(columns[f"below {below:g}"])
            low, high = wilson_interval(num_below, num_ended := sum(group[end] for end in ENDINGS))
            share = num_below / max(1, num_ended)
            group |= {"below": below, "num_below": num_below, "share": share}
            group |= {"share_low": low, "share_high": high}
        groups.append(group)
    return groups


def _plain(text: str) -> Any:
    """Parse a cell of the table as the value that was written."""
    try:
        return json.loads({"True": "true", "False": "false", "": "null"}.get(text, text))
    except ValueError:
        return text


def wilson_interval(successes: int, num_trials: int) -> tuple[float, float]:
    """Return the 95% score interval of a share (Wilson 1927); 0 to 1 without trials."""
    if not num_trials:
        return 0.0, 1.0
    from scipy.stats import binomtest  # half a second

    low, high = binomtest(successes, num_trials).proportion_ci(method="wilson")
    return float(low), float(high)


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    rows = read(args.run, args.by)
    if args.json:
        print(json.dumps(as_json(rows, args.by, args.below), indent=2))
        return cli.ExitStatus.DONE
    console = display.PrintableConsole(soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH
    last = {row.cells["generator_steps"] for row in ranked(rows)}
    at = f"at generator step {', '.join(last)}" if last else "of which there are none"
    console.print(f"{args.run}: {len(rows)} trials; w1 of the completed ones, {at}")
    if args.below is not None and any(row.status == "stopped" for row in rows):
        console.print("a trial that was stopped counts by the w1 of the rung that it ended at")
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for name in headings(args.by, args.below):
        table.add_column(name, justify="left" if name in args.by else "right")
    for cells in compare(rows, args.by, args.below):
        table.add_row(*cells)
    console.print(table)
    return cli.ExitStatus.DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tuner.compare",
        description="Compare a search's trials by the values of hyperparameters.",
        epilog=cli.STATUS_HELP,
        allow_abbrev=False,
    )
    parser.add_argument(
        "run", type=cli.plain_path, metavar="RUN", help="a search's folder, such as runs/gp"
    )
    by = "a hyperparameter; given more than once, every combination; left out, all trials as one"
    parser.add_argument("--by", action="append", default=[], metavar="KEY", help=by)
    parser.add_argument("--below", type=float, metavar="W1", help="count the trials that end below")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    return parser


def _no_such(key: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]}?" if near else ":"
    return f"no such hyperparameter as {key}{hint} it has {', '.join(names)}"


if __name__ == "__main__":
    cli.end_with(main)
