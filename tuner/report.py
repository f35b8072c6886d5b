"""Write the report of a search: ``python -m tuner.report RUN``."""

import argparse
from collections.abc import Sequence

from tuner import cli, results
from tuner.errors import BadInput, Fault
from tuner.page import write_report


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    results.check_is_search(args.run)
    if args.out is not None and args.out.is_dir():
        raise BadInput("--out", [Fault("", f"must be a file, got the folder {args.out}")])
    try:
        written = write_report(args.run, args.out)
    except OSError as error:
        raise cli.unwritable(args.out or args.run / "report.html", error) from error
    print(written)
    return cli.ExitStatus.DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=cli.program_of("report"),
        description="Write the report of a search as one HTML page, also while the search runs.",
        epilog=cli.STATUS_HELP,
        allow_abbrev=False,
    )
    parser.add_argument(
        "run", type=cli.plain_path, metavar="RUN", help="a search's folder, such as runs/gp"
    )
    parser.add_argument("--out", type=cli.path, metavar="FILE", help="in place of RUN/report.html")
    return parser


if __name__ == "__main__":
    cli.end_with(main)
