"""Write the report of a search, or serve it: ``python -m tuner.report RUN``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tuner import cli, results
from tuner.errors import BadInput, Fault
from tuner.page import serve, write_report

#: Next to that of Ray's dashboard, 8265.
_PORT, _LAST_PORT = 8266, 65_535


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
    output.add_argument(
        "--serve",
        nargs="?",
        const=_PORT,
        type=_port,
        metavar="PORT",
        help="write no file: serve the report on this machine alone, as the search runs (default "
        f"port: {_PORT}; 0: any that is free)",
    )
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _LAST_PORT:
        rule = f"must be a whole number from 0 to {_LAST_PORT}"
        raise argparse.ArgumentTypeError(f"{rule}, got {text!r:.80}")
    return int(text)


def _serve(run: Path, port: int) -> int:
    try:
        server = serve(run, port)
    except OSError as error:
        message = f"cannot listen on port {port} ({error.strerror or error}): give another"
        raise BadInput("--serve", [Fault("", message)]) from error
    with server:
        host, port = server.server_address[:2]
        print(f"report of {run}: http://{host}:{port} (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return cli.ExitStatus.DONE


if __name__ == "__main__":
    cli.end_with(main)
