"""Write the next search space, around the best trials of a search: ``python -m tuner.narrow RUN``.

The file is for a person to read and change: its first lines list how each searched key changed.
"""

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.config import code_fault, escape
from tuner import cli, results
from tuner.errors import BadInput, Fault
from tuner.printable import printable
from tuner.results import Snapshot
from tuner.space import Change, Choice, Range, domain_text, dump_yaml, narrow
from tuner.study import Trial

#: The share of the ended trials that counts as the best, and the fewest, if so many were scored.
_SHARE, _FEWEST = 0.25, 3
_NAME_LENGTH = 100


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    search = results.read_snapshot(args.run)
    best = best_quarter(search.trials)
    if faults := _faults(search, best, args.allow_code):
        raise BadInput(str(args.run), faults)
    document, changes = narrow(search.spec, [trial.params for trial in best])
    document |= {"name": _next_name(search.spec.name), "results": {"runs_dir": _parent(args.run)}}
    lines = [printable(line.replace("\n", " ")) for line in _lines(search, best, changes)]
    title = "\n".join(f"# {line}".rstrip() for line in lines)
    text = f"{title}\n\n{dump_yaml(_without_places(document), allow_unicode=True)}"
    out = args.out or Path(f"{document['name']}.yaml")
    _write(out, text, replaces=args.out is not None)
    print(*lines, sep="\n")
    print(f"\nwritten to {out}; check it with: python -m tuner.search {out} --dry-run")
    return cli.ExitStatus.DONE


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser(
        "narrow",
        "Write the next search space: each searched key around the values of the best "
        "quarter of a search's trials, and the best trial as the first one.",
    )
    parser.add_argument(
        "run", type=cli.plain_path, metavar="RUN", help="a search's folder, such as runs/gp"
    )
    parser.add_argument(
        "--out",
        type=cli.path,
        metavar="FILE",
        help="the file, which is replaced (default: a new file here, named for the search)",
    )
    cli.add_allow_code(parser)
    return parser


def best_quarter(trials: Sequence[Trial]) -> list[Trial]:
    """Return the best quarter of the trials that ended, the best one first.

    Completed trials come first, as they are placed; then those that were stopped, by the last rung
    that they came to and their score there. Diverged and failed trials count, and are never among
    the best.
    """
    ended = [trial for trial in trials if trial.status is not None]
    stopped = [trial for trial in ended if trial.status == "stopped" and trial.scores]
    stopped.sort(key=lambda trial: (-max(trial.scores), trial.last_score, trial.number))
    return [*results.placed(ended), *stopped][: max(_FEWEST, math.ceil(_SHARE * len(ended)))]


def _faults(search: Snapshot, best: Sequence[Trial], allow_code: Sequence[str]) -> list[Fault]:
    if not search.spec.domains:
        return [Fault("", "searches nothing: give the folder of a search with ranges or choices")]
    if not best or best[0].status != "completed":
        return [Fault("", "has no completed trial yet: wait for the search, or resume it")]
    # The next search would import what its file names, since it is the user's own.
    faults = (code_fault(path, allow_code) for path in sorted(search.spec.custom_classes))
    return [Fault("networks", fault) for fault in faults if fault is not None]


def _next_name(name: str) -> str:
    """Return ``gp-narrowed`` for ``gp``, then ``gp-narrowed-2``."""
    stem, mark, number = name.rpartition("-narrowed")
    if not mark or not (number == "" or number[1:].isdigit()):
        return f"{name[: _NAME_LENGTH - len('-narrowed')]}-narrowed"
    return f"{stem}-narrowed-{int(number[1:] or 1) + 1}"[-_NAME_LENGTH:]


def _parent(run: Path) -> str:
    """Return the folder of all searches as a value of ``runs_dir``, relative where it is below."""
    parent, here = run.absolute().parent, Path.cwd()
    text = os.path.relpath(parent, here) if parent.is_relative_to(here) else str(parent)
    return escape(text)


def _without_places(document: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out MLflow's address, and the seeds of the first trials.

    The address may be another person's, and the next search would send it credentials.
    """
    search = {key: v for key, v in document["search"].items() if key != "trial_seeds"}
    mlflow = {key: v for key, v in document["mlflow"].items() if key != "tracking_uri"}
    return {**document, "search": search, "mlflow": mlflow}


def _lines(search: Snapshot, best: Sequence[Trial], changes: Sequence[Change]) -> list[str]:
    """Describe where the next search space comes from, and how each searched key changed."""
    ended = sum(trial.status is not None for trial in search.trials)
    lines = [
        f"The search space after {search.run_dir}, by python -m tuner.narrow: around the best "
        f"{len(best)} of {ended} trials.",
        f"First trial: the values of trial {best[0].trial_id}, "
        f"{results.score_and_step_text(best[0])}.",
        "",
    ]
    widths = [max(map(len, column)) for column in zip(*map(_cells, changes), strict=True)]
    for change in changes:
        cells = (cell.ljust(width) for cell, width in zip(_cells(change), widths, strict=True))
        lines.append(("  {}  {}  ->  {}".format(*cells) + f"  {change.note}").rstrip())
    left_out = {
        "results.storage": search.spec.results.storage,
        "mlflow.tracking_uri": search.spec.mlflow.tracking_uri,
    }
    if any(left_out.values()):
        lines.append("")
    for key, value in left_out.items():
        if value is not None:
            lines.append(f"Left out: {key}, which was {value}: give it again if you want it.")
    return lines


def _cells(change: Change) -> tuple[str, str, str]:
    return change.key, domain_text(change.before, _number), _after(change.after)


def _after(after: Any) -> str:
    if isinstance(after, Range | Choice):
        return domain_text(after, _number)
    return "-" if after is None else _number(after)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(out: Path, text: str, *, replaces: bool) -> None:
    from tuner.storage import write_atomically

    if out.exists() and not replaces:
        message = "exists already: give another file by --out, or this one to replace it"
        raise BadInput(str(out), [Fault("", message)])
    try:
        write_atomically(out, text)
    except OSError as error:
        raise cli.unwritable(out, error) from error


if __name__ == "__main__":
    cli.end_with(main)
