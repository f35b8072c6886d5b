"""What the commands that train have in common: their options, their output, their exit status."""

import argparse
import errno
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tuner import driver
from tuner.driver import CheckedSearch
from tuner.errors import BadInput

if TYPE_CHECKING:
    from tuner.driver import Outcome

DONE, NOTHING_COMPLETED, BAD_INPUT, HALTED, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_STATUS = (
    "Exit status: 0 done, 1 no trial completed, 2 bad input, 3 stopped by a fault to be mended "
    "before a --resume, 130 interrupted."
)
#: No space left, or none that the user may have.
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of where the results go and where the trials run."""
    parser.add_argument("--runs-dir", metavar="D", help="the folder of all searches")
    parser.add_argument("--name", metavar="N", help="the search's name and folder in it")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted search")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--address",
        metavar="A",
        help="an existing Ray cluster (default: RAY_ADDRESS, else one is started here)",
    )
    place.add_argument(
        "--local",
        action="store_true",
        help="run trials one after the other in this process, without Ray: for debugging",
    )
    parser.add_argument(
        "--runtime-env",
        type=Path,
        metavar="FILE.yaml",
        help="what the cluster's nodes need besides, as a runtime environment of Ray's",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="dotted.key=value",
        help="replace a value of the file; may be given more than once",
    )


def address_of(args: argparse.Namespace) -> str | None:
    """Return the address of the Ray cluster to join; ``None`` for none."""
    return None if args.local else args.address or os.environ.get("RAY_ADDRESS") or None


def guarded(act: Callable[[Console], int], *, is_plain: bool = False) -> int:
    """Run a command; returns its exit status, also where it could not be run.

    Args:
        act: Does it.
        is_plain: Show lines in place of a screen, under which no debugger could prompt.
    """
    try:
        return act(console(is_plain=is_plain))
    except BadInput as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    except OSError as error:
        if error.errno not in OUT_OF_SPACE:
            raise
        sys.stderr.write(f"{no_space_text(error)}, and add --resume\n")
        return HALTED
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED


class _Console(Console):
    """A search goes on where nobody reads any more what it says; its folder has the log."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console(*, quiet: bool = False, is_plain: bool = False) -> Console:
    """Where a search is shown: in a notebook as plain lines, like wherever else is no terminal.

    A notebook's output calls itself a terminal, but a screen drawn anew would fill its cell.
    """
    is_plain = is_plain or quiet or Console().is_jupyter
    return _Console(
        highlight=False,
        markup=False,
        soft_wrap=True,
        quiet=quiet,
        force_jupyter=False,
        force_terminal=False if is_plain else None,
    )


def no_space_text(error: OSError) -> str:
    """What is full, and what to do about it."""
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror}{where}: free some"


def run_and_report(search: CheckedSearch, *, resume: bool, console: Console) -> "Outcome":
    """Run a search that was checked, and say what came of it."""
    from tuner.results import score_text, trials_text

    spec, run_dir = search.spec, search.run_dir
    if resume and not (run_dir / "spec.yaml").exists():
        console.print(f"{run_dir} holds no search yet: starting it")
    trials = "trials" if spec.num_trials is None else trials_text(spec.num_trials)
    rungs = ", ".join(map(str, spec.asha.rungs))
    console.print(f"{spec.name}: {trials}, rungs at {rungs} generator steps, into {run_dir}")
    place = driver.Place(
        search.address, driver.num_cpus(), search.runtime_env, is_local=search.is_local
    )
    outcome = driver.run_session(spec, search.data, search.runs_dir, place, console)
    console.print(outcome.summary)
    if outcome.best is not None:
        best = f"trial {outcome.best.trial_id}, {score_text(outcome.best)}"
        console.print(f"best: {best}: {run_dir / 'best.yaml'}")
    for note in outcome.notes:
        console.print(note)
    if (page := run_dir / "report.html").exists():
        console.print(f"report: {page}")
    return outcome


def status_of(outcome: "Outcome", run_dir: Path, again: Sequence[str], console: Console) -> int:
    """How a command ends, having said how to go on.

    Args:
        outcome: Of its search.
        run_dir: The search's folder.
        again: The module and arguments that resume it.
        console: Where it is said.
    """
    if outcome.interrupted:
        command = shlex.join([sys.executable, "-m", *again])
        if outcome.halted is not None:
            sys.stderr.write(f"stopped: {outcome.halted}\n")
            console.print(f"once that is mended, go on with: {command}")
            return HALTED
        console.print(f"interrupted; go on with: {command}")
        return INTERRUPTED
    if outcome.best is None:
        sys.stderr.write(f"no trial completed: see {run_dir / 'trials.csv'}\n")
    console.print(f"compare the trials in MLflow: {outcome.mlflow_command}")
    return DONE if outcome.best is not None else NOTHING_COMPLETED
