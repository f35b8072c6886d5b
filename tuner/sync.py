"""Write what MLflow lacks of a search that has ended: ``python -m tuner.sync RUN``.

TensorBoard and Weights & Biases get what they lack, too, if the search names them.

Of a search's folder it reads what a resume reads. It trains nothing, starts no Ray, and leaves the
trials as they are.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence

from pydantic import ValidationError
from rich.console import Console

from tuner import cli, display, results, storage
from tuner.errors import BadInput, Fault
from tuner.results import Snapshot
from tuner.space import MlflowConfig
from tuner.tracking import (
    OWN_ADDRESS,
    Tracker,
    address_fault,
    boards_of,
    kept_files,
    kept_generator,
    own_address,
    package_faults,
    reported_ms,
    unconfirmed_fault,
)

#: What MLflow got, in the order in which it is printed.
_KINDS = {
    "runs": ("run", "runs"),
    "reports": ("report", "reports"),
    "files": ("file", "files"),
    "models": ("model", "models"),
    "ends": ("end of a run", "ends of runs"),
}


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    console = display.PrintableConsole(soft_wrap=True)
    if args.tracking_uri is not None:
        _check_uri(args.tracking_uri)
    run_dir = args.run.absolute()
    results.check_is_search(run_dir)
    try:
        with storage.own_folder(run_dir):
            search = results.read_snapshot(run_dir)
            if faults := package_faults(search.spec.tracking):
                raise BadInput(str(run_dir), faults)
            if (generator := kept_generator(run_dir)) is not None:
                # MLflow's model carries the module and may import it.
                results.check_code(generator, args.allow_code)
            uri = args.tracking_uri or _own_uri(search, console)
            return sync(search, uri, console)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; run it again to continue") from None


def sync(search: Snapshot, tracking_uri: str | None, console: Console) -> int:
    """Write what is lacking of a search, and say what that was; returns the exit status.

    Args:
        search: As its folder has it, which the caller holds.
        tracking_uri: Where to, in place of what the search says.
        console: Where progress is shown.
    """
    run_dir = search.run_dir
    reports = (report for steps in search.reports.values() for report in steps.values())
    last_ms = max((reported_ms(report, 0) for report in reports), default=0)
    tracker = Tracker(search.spec, run_dir, search.search_id, lambda text: None, tracking_uri)
    boards = boards_of(search.spec, run_dir, search.search_id, lambda text: None)
    followers = [("MLflow", tracker), *((one.board.name, one) for one in boards)]
    for _, follower in followers:
        follower.start(search.trials, resumes=False)
    missing = []
    for name, follower in followers:
        line = f"{{done:,}} of {{total:,}} runs in {name} are up to date"
        with display.counting(console, f"writing to {name}", line) as progress:
            lacks = follower.close(
                "finished" if search.is_finished else "interrupted",
                kept_files(run_dir),
                timeout_s=math.inf,
                generator=kept_generator(run_dir),
                time_ms=last_ms or None,
                on_wait=_counted(progress),
            )
        missing.append(lacks)
    written = [
        f"{count:,} {names[count > 1]}"
        for kind, names in _KINDS.items()
        if (count := tracker.written[kind])
    ]
    if written:
        console.print(f"wrote {', '.join(written)}")
    elif missing[0] is None:
        console.print("nothing was missing")
    console.print(f"MLflow: {tracker.ui_command}")
    for follower in boards:
        console.print(f"{follower.board.name}: {follower.board.command}")
    texts = [text for text in missing if text is not None]
    for text in texts:
        print(text, file=sys.stderr)
    return cli.ExitStatus.NO_RESULT if texts else cli.ExitStatus.DONE


def _counted(progress: Callable[[int, int], None]) -> Callable[[int], None]:
    """Turn how many are left into how many of the most that were left are done."""
    most = 0

    def on_wait(num_left: int) -> None:
        nonlocal most
        most = max(most, num_left)
        progress(most - num_left, most)

    return on_wait


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser(
        "sync",
        "Write to MLflow, and to TensorBoard and Weights & Biases if the search names them, what "
        "they lack of a search, from the search's own folder.",
        epilog="Exit status: 0 done, 1 not all could be written, 2 bad input, 130 interrupted.",
    )
    parser.add_argument("run", type=cli.plain_path, metavar="RUN", help="the search's folder")
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="another MLflow than the search's own"
    )
    cli.add_allow_code(parser)
    return parser


def _check_uri(tracking_uri: str) -> None:
    try:
        fault = address_fault(MlflowConfig(tracking_uri=tracking_uri))
        faults = [] if fault is None else [Fault("", fault)]
    except ValidationError as error:
        faults = [Fault("", e["msg"].removeprefix("Value error, ")) for e in error.errors()]
    if faults:
        raise BadInput("--tracking-uri", faults)


def _own_uri(search: Snapshot, console: Console) -> str | None:
    """Return the user's own address if the search names a server; ``None`` for the search's.

    Raises:
        BadInput: if the search's own cannot be written to, or would get a secret of the user's.
    """
    named = search.spec.mlflow.tracking_uri
    if named is not None and own_address() not in (None, named):
        console.print(f"writing to the MLflow of {OWN_ADDRESS}, in place of the search's {named}")
        _check_uri(f"${OWN_ADDRESS}")
        return f"${OWN_ADDRESS}"
    way_out = f"confirm it by --tracking-uri {named}, or give another"
    fault = unconfirmed_fault(named, way_out) or address_fault(search.spec.mlflow)
    if fault is not None:
        where = f"mlflow.tracking_uri in {search.run_dir / 'spec.yaml'}"
        raise BadInput(str(search.run_dir), [Fault(where, fault)])
    return None


if __name__ == "__main__":
    cli.end_with(main)
