"""The searches of a folder, their state and their best: ``python -m tuner.list [RUNS_DIR]``."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tuner import cli
from tuner.errors import BadInput, Fault
from tuner.results import Summary, find_searches, summarize
from tuner.study import STATUSES

#: Where the output is no terminal that says how wide it is.
_WIDTH = 200
#: On a narrower terminal the trials are not told by status, and the year is left out.
_WIDE = 110


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    try:
        found = [summarize(path) for path in find_searches(args.runs_dir)]
    except OSError as error:
        what = f"cannot be read ({error.strerror}): give the folder of searches, such as runs"
        raise BadInput(str(args.runs_dir), [Fault("", what)]) from error
    found.sort(key=lambda one: one.changed_s or 0, reverse=True)
    if args.json:
        print(json.dumps([as_json(one) for one in found], indent=2))
        return cli.ExitStatus.DONE
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDTH
    if not found:
        console.print(f"{args.runs_dir}: no search yet", soft_wrap=True)
        return cli.ExitStatus.DONE
    console.print(_table(found, is_wide=console.width >= _WIDE))
    for one in found:
        if one.trouble is not None:
            console.print(f"{one.run_dir}: {one.trouble}", soft_wrap=True)
    return cli.ExitStatus.DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tuner.list",
        description="List the searches of a folder, the one that changed last first.",
        epilog=cli.STATUS_HELP,
        allow_abbrev=False,
    )
    folder = "the folder of all searches (default: runs)"
    parser.add_argument("runs_dir", type=Path, nargs="?", default=Path("runs"), help=folder)
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    return parser


def _table(found: Sequence[Summary], *, is_wide: bool) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold", pad_edge=False)
    for name in ("name", "state", "data", "changed"):
        table.add_column(name, no_wrap=name in ("state", "changed"), overflow="fold")
    for name in ("trials", "best", "w1", "w1_final"):
        table.add_column(name, justify="left" if name == "trials" else "right")
    for one in found:
        when = _when(one) if is_wide else _when(one)[5:] or "-"
        trials = _counts(one, by_status=is_wide)
        table.add_row(one.name, one.state, one.data or "-", when, trials, *_best(one))
    return table


def _counts(one: Summary, *, by_status: bool) -> str:
    if one.trials is None:
        return "-"
    total = sum(one.trials.values())
    asked = f"{total}/{one.num_trials}" if one.num_trials else str(total)
    names = {} if one.state == "running" else {"running": "to go on"}
    told = [
        f"{one.trials[status]} {names.get(status, status)}"
        for status in STATUSES
        if one.trials.get(status)
    ]
    return f"{asked}: {', '.join(told)}" if told and by_status else asked


def _best(one: Summary) -> list[str]:
    if one.best is None:
        return ["-", "-", "-"]
    final = "-" if one.best.w1_final is None else f"{one.best.w1_final:.4g}"
    return [one.best.trial_id, f"{one.best.w1:.4g}", final]


def _when(one: Summary) -> str:
    """In this machine's time."""
    if one.changed_s is None:
        return "-"
    return datetime.fromtimestamp(one.changed_s).astimezone().strftime("%Y-%m-%d %H:%M")


def as_json(one: Summary) -> dict[str, Any]:
    """A search as a script reads it; times are UTC, and what is not known is null."""
    told = asdict(one)
    for key in ("began", "changed"):
        seconds = told.pop(f"{key}_s")
        told[key] = None if seconds is None else _utc(seconds)
    return {**told, "run_dir": str(one.run_dir)}


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    cli.end_with(main)
