"""Run any command by one program: ``wgan-tuner search gp`` is ``python -m tuner.search gp``."""

import argparse
import importlib
import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from tuner import cli

#: The commands: each is the module of its name.
COMMANDS: Mapping[str, str] = {
    "search": "run or resume a search",
    "train": "train a winner longer, or with other seeds",
    "sample": "draw samples of the best generator",
    "export": "write the best generator for other programs",
    "report": "write the report",
    "list": "list the searches of a folder",
    "compare": "compare a search's trials by method",
    "narrow": "write the next search space, around the best trials",
    "sync": "write to MLflow what it lacks of a search",
    "schema": "print the JSON Schema of a search space, or a table of all keys",
}


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names, and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        return importlib.import_module(f"tuner.{arguments[0]}").main(arguments[1:])
    parser = _parser()
    parser.parse_args(arguments)
    parser.print_help()
    return cli.ExitStatus.DONE


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name.ljust(width)}  {purpose}" for name, purpose in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog=cli.PROGRAM,
        usage="%(prog)s COMMAND [ARGUMENTS]",
        description=f"Hyperparameter search for Wasserstein GANs.\n\ncommands:\n{lines}",
        epilog="wgan-tuner COMMAND --help lists a command's arguments.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument("command", nargs="?", choices=COMMANDS, help=argparse.SUPPRESS)
    return parser


def _version() -> str:
    try:
        return f"wgan-tuner {importlib.metadata.version('wgan-tuner')}"
    except importlib.metadata.PackageNotFoundError:
        return "wgan-tuner, run from a checkout that is not installed"


def program() -> NoReturn:
    """Run as a program of its own."""
    cli.end_with(main)


if __name__ == "__main__":
    program()
