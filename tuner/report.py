"""Write the report of a search, or serve it: ``python -m tuner.report RUN``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tuner import cli, results
from tuner.errors import BadInput, Fault
from tuner.page import address_of, serve, write_report


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    results.check_is_search(args.run)
    if args.serve is not None:
        return _serve(args.run, args.serve)
    if args.out is not None and args.out.is_dir():
        raise BadInput("--out", [Fault("", f"must be a file, got the folder {args.out}")])
    try:
        written = write_report(args.run, args.out)
    except OSError as error:
        raise cli.unwritable(args.out or args.run / "report.html", error) from error
    print(written)
    return cli.ExitStatus.DONE


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser(
        "report", "Write the report of a search, also of a running one, as a page, or serve it."
    )
    parser.add_argument(
        "run", type=cli.plain_path, metavar="RUN", help="a search's folder, such as runs/gp"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--out", type=cli.path, metavar="FILE", help="in place of RUN/report.html")
    cli.add_serve(
        output, "write no file: serve the report on this machine alone, as the search runs"
    )
    return parser


def _serve(run: Path, port: int) -> int:
    listening = cli.listen(port)
    with serve(run, listening) as server:
        print(f"report of {run}: {address_of(listening)} (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return cli.ExitStatus.DONE


if __name__ == "__main__":
    cli.end_with(main)
