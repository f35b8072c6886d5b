"""List the searches of a folder with state and best trial: ``python -m tuner.list [RUNS_DIR]``."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from tuner import cli, display
from tuner.errors import BadInput, Fault
from tuner.results import Summary, find_searches, summarize
from tuner.study import STATUSES

#: Characters of a line if the output is no terminal.
_WIDTH = 200
#: A narrower terminal shows neither the trials by status nor the year.
_WIDE = 110


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    try:
        searches = [summarize(path) for path in find_searches(args.runs_dir)]
    except OSError as error:
        message = f"cannot be read ({error.strerror}): give the folder of searches, such as runs"
        raise BadInput(str(args.runs_dir), [Fault("", message)]) from error
    searches.sort(key=lambda search: search.changed_s or 0, reverse=True)
    if args.json:
        print(json.dumps([as_json(search) for search in searches], indent=2))
        return cli.ExitStatus.DONE
    console = display.PrintableConsole()
    if not console.is_terminal:
        console.width = _WIDTH
    if not searches:
        console.print(f"{args.runs_dir}: no search yet", soft_wrap=True)
        return cli.ExitStatus.DONE
    console.print(_table(searches, is_wide=console.width >= _WIDE))
    if _grounds_differ(searches):
        note = "w1 is measured between what the column ground names: numbers of two searches only "
        console.print(f"{note}compare where ground and data are the same", soft_wrap=True)
    for search in searches:
        if search.trouble is not None:
            console.print(f"{search.run_dir}: {search.trouble}", soft_wrap=True)
    return cli.ExitStatus.DONE


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser("list", "List the searches of a folder, the latest first.")
    folder = "the folder of all searches (default: runs)"
    parser.add_argument(
        "runs_dir", type=cli.plain_path, nargs="?", default=Path("runs"), help=folder
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")
    return parser


def _table(searches: Sequence[Summary], *, is_wide: bool) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold", pad_edge=False)
    for name in ("name", "state", "data", "changed"):
        table.add_column(name, no_wrap=name in ("state", "changed"), overflow="fold")
    for name in ("trials", "best", "w1", "w1_final"):
        table.add_column(name, justify="left" if name == "trials" else "right")
    differ = _grounds_differ(searches)
    if differ:
        table.add_column("ground", overflow="fold")
    for search in searches:
        changed = _changed(search) if is_wide else _changed(search)[5:] or "-"
        trials = _counts(search, by_status=is_wide)
        cells = (search.name, search.state, search.data or "-", changed, trials)
        ground = [search.ground or "-"] if differ else []
        table.add_row(*cells, *_best(search), *ground)
    return table


def _grounds_differ(searches: Sequence[Summary]) -> bool:
    return len({search.ground for search in searches if search.ground is not None}) > 1


def _counts(search: Summary, *, by_status: bool) -> str:
    if search.trials is None:
        return "-"
    total = sum(search.trials.values())
    text = f"{total}/{search.num_trials}" if search.num_trials else str(total)
    names = {} if search.state == "running" else {"running": "to resume"}
    counts = [
        f"{search.trials[status]} {names.get(status, status)}"
        for status in STATUSES
        if search.trials.get(status)
    ]
    return f"{text}: {', '.join(counts)}" if counts and by_status else text


def _best(search: Summary) -> list[str]:
    if search.best is None:
        return ["-", "-", "-"]
    final = "-" if search.best.w1_final is None else f"{search.best.w1_final:.4g}"
    return [search.best.trial_id, f"{search.best.w1:.4g}", final]


def _changed(search: Summary) -> str:
    """Return when the search last changed, in this machine's time zone."""
    if search.changed_s is None:
        return "-"
    return datetime.fromtimestamp(search.changed_s).astimezone().strftime("%Y-%m-%d %H:%M")


def as_json(search: Summary) -> dict[str, Any]:
    """Return a search as data for JSON: times are in UTC, and unknown values are null."""
    data = asdict(search)
    for key in ("began", "changed"):
        seconds = data.pop(f"{key}_s")
        data[key] = None if seconds is None else _utc(seconds)
    return {**data, "run_dir": str(search.run_dir)}


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    cli.end_with(main)
