"""The options, the output and the exit status of the commands that run a search."""

import argparse
import errno
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console

from tuner import display, driver, tracking
from tuner.cli.on_end import run_on_end
from tuner.cli.paths import path
from tuner.cli.status import ExitStatus
from tuner.driver import CheckedSearch
from tuner.errors import Halted
from tuner.printable import printable

if TYPE_CHECKING:
    from tuner.driver import Outcome
    from tuner.retrain import Origin

SEARCH_STATUS_HELP = (
    "Exit status: 0 done, 1 no trial completed, 2 bad input, 3 stopped by a fault that you must "
    "fix before you resume, 130 interrupted."
)
#: The disk is full, or the user's quota is used up.
_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the results go and where the trials run."""
    parser.add_argument("--runs-dir", metavar="D", help="the folder of all searches")
    parser.add_argument("--name", metavar="N", help="the search's name and folder in it")
    parser.add_argument("--resume", action="store_true", help="resume an interrupted search")
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
        type=path,
        metavar="FILE.yaml",
        help="Ray's runtime environment for the nodes of the cluster",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="dotted.key=value",
        help="replace a value of the file; may be given more than once",
    )
    add_allow_code(parser)


def add_allow_code(parser: argparse.ArgumentParser) -> None:
    """Add the option by which the user allows a search's folder to import custom networks."""
    parser.add_argument(
        "--allow-code",
        action="append",
        default=[],
        metavar="MODULE",
        help="import custom networks from this module where a file of a search's folder names it: "
        "its code runs; may be given more than once",
    )


def address_of(args: argparse.Namespace) -> str | None:
    """Return the address of the Ray cluster to join; ``None`` for none."""
    return None if args.local else args.address or os.environ.get("RAY_ADDRESS") or None


@contextmanager
def halts_on_full_disk(resume: str) -> Iterator[None]:
    """Turn the error of a full disk into Halted.

    Args:
        resume: How to resume the search, as an imperative.

    Raises:
        Halted: if no space is left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OUT_OF_SPACE:
            raise
        file = f" ({error.filename})" if error.filename else ""
        raise Halted(f"{error.strerror}{file}: free some disk space, then {resume}") from error


class _Console(display.PrintableConsole):
    """A console whose search continues after its output is closed: the folder has the log."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console(*, quiet: bool = False, is_plain: bool = False) -> Console:
    """Create the console of a search.

    In a notebook it prints plain lines, as it does without a terminal: a notebook claims to be a
    terminal, but a screen that is drawn again and again would fill its cell.

    Args:
        quiet: Print nothing.
        is_plain: Print lines in place of a screen, under which a debugger could not prompt.
    """
    is_plain = is_plain or quiet or Console().is_jupyter
    return _Console(
        soft_wrap=True,
        quiet=quiet,
        force_jupyter=False,
        force_terminal=False if is_plain else None,
    )


def run_and_report(
    search: CheckedSearch,
    *,
    resume: bool,
    console: Console,
    how_to_resume: str,
    served_on: socket.socket | None = None,
    continues: "Origin | None" = None,
) -> "Outcome":
    """Run a checked search and print its results.

    Args:
        search: The search.
        resume: Whether it was requested to resume.
        console: Where to print.
        how_to_resume: As an imperative.
        served_on: The socket on which the report is served while the search runs, if any.
        continues: A trial of another search that this one begins with.
    """
    from tuner.results import score_text, trials_text

    spec, run_dir = search.spec, search.run_dir
    if resume and not (run_dir / "spec.yaml").exists():
        console.print(f"{run_dir} holds no search yet: starting it")
    trials = "trials" if spec.num_trials is None else trials_text(spec.num_trials)
    rungs = ", ".join(map(str, spec.asha.rungs))
    console.print(f"{spec.name}: {trials}, rungs at {rungs} generator steps, into {run_dir}")
    place = driver.Place(
        search.address,
        driver.num_cpus(),
        search.runtime_env,
        is_local=search.is_local,
        give_up=lambda reason: _give_up(reason, how_to_resume, console),
    )
    outcome = driver.run_session(
        spec,
        search.hand_over_data(),
        search.runs_dir,
        place,
        console,
        served_on=served_on,
        continues=continues,
    )
    console.print(outcome.summary)
    if outcome.best is not None:
        best = f"trial {outcome.best.trial_id}, {score_text(outcome.best)}"
        console.print(f"best: {best}: {run_dir / 'best.yaml'}")
    for note in outcome.notes:
        console.print(note)
    if (page := run_dir / "report.html").exists():
        console.print(f"report: {page}")
    # After Ctrl-C the user is there, and a machine that is taken away leaves no time.
    if search.on_end and (not outcome.interrupted or outcome.halted is not None):
        state = "finished" if outcome.halted is None else "stopped"
        lines = (f"{spec.name}: {state}", outcome.halted, outcome.summary, *outcome.notes, run_dir)
        text = "".join(f"{line}\n" for line in lines if line is not None)
        trouble = run_on_end(search.on_end, run_dir, state, text)
        if trouble is not None:
            console.print(trouble)
    return outcome


def _give_up(reason: str, how_to_resume: str, console: Console) -> NoReturn:
    """End a process that is stuck; what it has not written yet, a resume writes."""
    if console.is_terminal:
        console.show_cursor()
    _say_halted(reason, how_to_resume, console)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ExitStatus.HALTED)


def _say_halted(reason: str, how_to_resume: str, console: Console) -> None:
    sys.stderr.write(f"stopped: {printable(reason)}\n")
    console.print(f"once that is fixed, {how_to_resume}")


def resume_text(again: Sequence[str]) -> str:
    """Name the command that resumes a search, given as a module and its arguments."""
    return f"resume with: {shlex.join([sys.executable, '-m', *again])}"


@contextmanager
def says_how_to_resume(run_dir: Path, again: Sequence[str]) -> Iterator[None]:
    """Name the command that resumes a search in what ends it at once.

    Args:
        run_dir: The search's folder.
        again: The module and arguments of the command.

    Raises:
        KeyboardInterrupt: with the command, if there is anything to resume.
        Halted: with the command, which also starts a search that has not begun.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not (run_dir / "study.log").exists():
            raise
        raise KeyboardInterrupt(f"interrupted; {resume_text(again)}") from interrupt
    except Halted as halted:
        raise Halted(f"{halted}; once that is fixed, {resume_text(again)}") from halted


def status_of(outcome: "Outcome", run_dir: Path, again: Sequence[str], console: Console) -> int:
    """Print how to proceed after a session, and return the exit status.

    Args:
        outcome: The outcome of the session.
        run_dir: The search's folder.
        again: The module and arguments of the command that resumes the search.
        console: Where to print.
    """
    if outcome.interrupted:
        if outcome.halted is not None:
            _say_halted(outcome.halted, resume_text(again), console)
            return ExitStatus.HALTED
        console.print(f"interrupted; {resume_text(again)}")
        return ExitStatus.INTERRUPTED
    if outcome.best is None:
        sys.stderr.write(f"no trial completed: see {run_dir / 'trials.csv'}\n")
    link, command = tracking.read_run_links(run_dir).comparison, outcome.mlflow_command
    if link is not None and command.startswith(("http://", "https://")):
        console.print(f"compare the trials in MLflow: {link}")
    else:
        console.print(f"compare the trials in MLflow: {command}")
        if link is not None:
            console.print(f"and open {link}")
    return ExitStatus.NO_RESULT if outcome.best is None else ExitStatus.DONE
