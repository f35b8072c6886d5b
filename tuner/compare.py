"""Compare a search's trials by method: ``python -m tuner.compare RUN --by constraint --below 1``.

It reads ``trials.csv``, which has the ``w1`` of the last rung of each trial. Values of ``w1`` at
different rungs cannot be compared, since a trial that trained longer is better for that reason. So
the best and the median are of completed trials, which all ended at the last rung. Under ASHA these
are survivors, and more of them have some values than others: to compare methods rather than to find
the best trial, search with ``asha.reduction_factor: 1`` and ``search.sampler: random``.

``--within 1.5`` counts the trials whose ``w1`` is at most 1.5 times the best of the search, and
``--below`` those below a bound of your own, by the ``w1`` at the rung where each ended. A trial
that was stopped early might have come there later: the share describes the search, not the
method's limit. The error of the best ``w1`` is that of its estimate, not that of another seed.

Several searches are compared in one table, by the search and then by the keys, if they measure
``w1`` alike.
"""

import argparse
import difflib
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from tuner import cli, display
from tuner.errors import BadInput, Fault
from tuner.results import COLUMNS, Row, check_comparable, half_width, ranked, read_trials
from tuner.study import ENDINGS

#: Columns that are not hyperparameters.
_OTHERS = {*COLUMNS, "seed", "message"}
#: The column of the search, where several are compared.
SEARCH = "search"
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
    _check_keys(str(path), rows, by)
    return rows


def read_several(run_dirs: Sequence[Path], by: Sequence[str] = ()) -> Sequence[Row]:
    """Read the rows of several searches, whose column ``SEARCH`` says which they are of.

    A hyperparameter that only some of them have does not apply to the trials of the others.

    Raises:
        BadInput: if one cannot be read, their ``w1`` does not compare, or none has a
            hyperparameter of ``by``.
    """
    tables = {run_dir: read(run_dir) for run_dir in run_dirs}
    check_comparable(list(tables))
    names = [run_dir.resolve().name for run_dir in tables]
    are_unique = len(set(names)) == len(names)
    rows = [
        replace(row, cells={**row.cells, SEARCH: name if are_unique else str(run_dir)})
        for (run_dir, table), name in zip(tables.items(), names, strict=True)
        for row in table
    ]
    _check_keys(", ".join(map(str, run_dirs)), rows, [key for key in by if key != SEARCH])
    return rows


def _check_keys(source: str, rows: Sequence[Row], by: Sequence[str]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row.cells))
    names = [name for name in names if name not in {*_OTHERS, SEARCH}]
    if faults := [Fault("--by", _no_such(key, names)) for key in by if key not in names]:
        raise BadInput(source, faults)


@dataclass(frozen=True)
class Bound:
    """The ``w1`` of a good trial: below ``limit``, or with ``within`` at most that.

    Attributes:
        limit: The bound.
        within: How many times the best ``w1`` of the search it is, if it is given so.
    """

    limit: float
    within: float | None = None

    @classmethod
    def of(cls, rows: Sequence[Row], below: float | None, within: float | None) -> "Bound | None":
        """Return the bound of the options ``--below`` and ``--within``, if one is given.

        Raises:
            ValueError: if the best ``w1`` is not above 0, or no trial completed.
        """
        if below is not None:
            return cls(below)
        if within is None:
            return None
        best = min((w1 for w1, _ in _completed(rows)), default=None)
        if best is None or best <= 0:
            actual = "no completed trial" if best is None else f"{best:.4g}"
            raise ValueError(f"needs a best w1 above 0, got {actual}: give --below W1 instead")
        return cls(within * best, within)

    @property
    def heading(self) -> str:
        """Return the heading of the number of good trials."""
        return f"below {self.limit:g}" if self.within is None else f"within {self.within:g}x"

    def holds(self, w1: float) -> bool:
        """Tell whether a trial is good."""
        return w1 < self.limit or (self.within is not None and w1 == self.limit)


@dataclass(frozen=True)
class Group:
    """Trials with equal values of the keys that are compared.

    Attributes:
        values: Their values, as the table has them; "-" for a key that does not apply.
        num_trials: All trials.
        endings: The number of trials by how they ended.
        best: The lowest ``w1`` of the completed trials.
        best_error: Half of the 95% interval of that ``w1``, from its sampling error alone.
        median: The median ``w1`` of the completed trials.
        ms_per_step: The median over trials of the wall time of training per generator step.
        num_good: The trials within the bound.
    """

    values: tuple[str, ...]
    num_trials: int
    endings: tuple[int, ...]
    best: float | None
    best_error: float | None
    median: float | None
    ms_per_step: float | None
    num_good: int

    @property
    def share(self) -> float:
        """Return the share of the ended trials that are within the bound."""
        return self.num_good / max(1, sum(self.endings))

    @property
    def share_interval(self) -> tuple[float, float]:
        """Return the 95% interval of :attr:`share`."""
        return wilson_interval(self.num_good, sum(self.endings))


def compare(rows: Sequence[Row], by: Sequence[str], bound: Bound | None = None) -> list[Group]:
    """Return the groups of trials with equal values of ``by``.

    The first group has the largest share within the bound; of equal ones, or without a bound, the
    lowest median.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.cells.get(key) or "-" for key in by), []).append(row)
    summaries = [_summarize(values, group, bound) for values, group in groups.items()]

    def rank(group: Group) -> tuple[float, float, tuple[str, ...]]:
        return -group.share, math.inf if group.median is None else group.median, group.values

    return sorted(summaries, key=rank)


def headings(by: Sequence[str], bound: Bound | None = None) -> list[str]:
    """Return the column names; the share is of the trials that ended, with its 95% interval."""
    counted = [] if bound is None else [bound.heading, "share (95%)"]
    return [*by, "trials", *ENDINGS, "best w1 (95%)", "median w1", "ms/step", *counted]


def cells_of(group: Group, bound: Bound | None = None) -> list[str]:
    """Return the cells of a group under :func:`headings`."""
    best = _shown(group.best)
    if group.best_error is not None:
        best += f" +- {group.best_error:.2g}"
    counts = map(str, (group.num_trials, *group.endings))
    cells = [*group.values, *counts, best, _shown(group.median), _shown(group.ms_per_step, 3)]
    if bound is not None:
        low, high = group.share_interval
        cells += [str(group.num_good), f"{group.share:.0%} ({low:.0%} to {high:.0%})"]
    return cells


def as_json(
    rows: Sequence[Row], by: Sequence[str], bound: Bound | None = None
) -> list[dict[str, Any]]:
    """Return the groups of :func:`compare` as data for JSON; numbers that do not exist are null."""
    groups = []
    for group in compare(rows, by, bound):
        values = ("" if value == "-" else value for value in group.values)
        data: dict[str, Any] = {
            **{key: _plain(value) for key, value in zip(by, values, strict=True)},
            "trials": group.num_trials,
            **dict(zip(ENDINGS, group.endings, strict=True)),
            "best_w1": group.best,
            "best_w1_error": group.best_error,
            "median_w1": group.median,
            "ms_per_step": group.ms_per_step,
        }
        if bound is not None:
            low, high = group.share_interval
            data |= {"bound": bound.limit, "num_good": group.num_good, "share": group.share}
            data |= {"share_low": low, "share_high": high}
        groups.append(data)
    return groups


def _summarize(values: tuple[str, ...], rows: Sequence[Row], bound: Bound | None) -> Group:
    completed = _completed(rows)
    best, error = min(completed, default=(None, ""))
    paces = [pace for row in rows if (pace := _ms_per_step(row)) is not None]
    # A trial that diverged, failed or runs has the w1 of an earlier rung.
    ended = [row.last_w1 for row in rows if row.status in ("completed", "stopped")]
    return Group(
        values,
        len(rows),
        tuple(sum(row.status == end for row in rows) for end in ENDINGS),
        best,
        half_width(float(error)) if error else None,
        statistics.median([w1 for w1, _ in completed]) if completed else None,
        statistics.median(paces) if paces else None,
        sum(bound is not None and w1 is not None and bound.holds(w1) for w1 in ended),
    )


def _completed(rows: Sequence[Row]) -> list[tuple[float, str]]:
    """Return the ``w1`` of each completed trial, and its standard error if the table has it."""
    return [
        (row.last_w1, row.cells.get("w1_stderr", ""))
        for row in ranked(rows)
        if row.last_w1 is not None
    ]


def _ms_per_step(row: Row) -> float | None:
    seconds, steps = row.cells.get("training_seconds"), row.cells["generator_steps"]
    return 1000 * float(seconds) / int(steps) if seconds and steps and int(steps) else None


def _shown(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}g}"


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
    if len(args.run) > 1:
        rows, args.by = read_several(args.run, args.by), [SEARCH, *args.by]
    else:
        rows = read(args.run[0], args.by)
    source = ", ".join(map(str, args.run))
    try:
        bound = Bound.of(rows, args.below, args.within)
    except ValueError as error:
        raise BadInput(source, [Fault("--within", str(error))]) from error
    if args.json:
        print(json.dumps(as_json(rows, args.by, bound), indent=2))
        return cli.ExitStatus.DONE
    console = display.PrintableConsole(soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH
    last = {row.cells["generator_steps"] for row in ranked(rows)}
    at = f"at generator step {', '.join(last)}" if last else "of which there are none"
    console.print(f"{source}: {len(rows)} trials; w1 of the completed ones, {at}")
    if bound is not None and bound.within is not None:
        console.print(f"within {bound.within:g}x: a w1 of at most {bound.limit:.4g}")
    if bound is not None and any(row.status == "stopped" for row in rows):
        console.print("a trial that was stopped counts by the w1 of the rung that it ended at")
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for name in headings(args.by, bound):
        table.add_column(name, justify="left" if name in args.by else "right")
    for group in compare(rows, args.by, bound):
        table.add_row(*cells_of(group, bound))
    console.print(table)
    return cli.ExitStatus.DONE


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser(
        "compare", "Compare trials by the values of hyperparameters, and by their searches."
    )
    parser.add_argument(
        "run",
        nargs="+",
        type=cli.plain_path,
        metavar="RUN",
        help="a search's folder, such as runs/gp; several whose w1 compares are told apart",
    )
    by = "a hyperparameter; given more than once, every combination; left out, all trials as one"
    parser.add_argument("--by", action="append", default=[], metavar="KEY", help=by)
    bound = parser.add_mutually_exclusive_group()
    bound.add_argument("--below", type=float, metavar="W1", help="count the trials that end below")
    within = "count the trials that come within so many times the best w1, such as 1.5"
    bound.add_argument("--within", type=_factor, metavar="FACTOR", help=within)
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    return parser


def _factor(text: str) -> float:
    value = float(text)
    if not 1 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _no_such(key: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]}?" if near else ":"
    return f"no such hyperparameter as {key}{hint} it has {', '.join(names)}"


if __name__ == "__main__":
    cli.end_with(main)
