"""An expected error ends a command with one message and its own exit status, a bug with neither."""

import argparse
import errno
import importlib
from pathlib import Path

import pytest

from tuner import cli
from tuner.cli.command import halts_on_full_disk
from tuner.cli.status import ExitStatus, with_exit_status
from tuner.errors import BadInput, Fault, Halted

COMMANDS = (
    "compare",
    "export",
    "list",
    "narrow",
    "report",
    "sample",
    "schema",
    "search",
    "sync",
    "train",
)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (BadInput("gp.yaml", [Fault("name", "is required")]), 2, "gp.yaml: 1 fault\n  name: is re"),
        (Halted("the disk is full: free some"), 3, "the disk is full: free some\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (KeyboardInterrupt("interrupted; run it again"), 130, "interrupted; run it again\n"),
    ],
)
def test_an_error_is_printed_and_has_its_status(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @with_exit_status
    def main() -> int:
        raise error

    assert main() == status
    printed = capsys.readouterr()
    assert printed.err.startswith(message)
    assert printed.out == ""


def test_without_an_error_the_status_is_the_commands_own() -> None:
    assert with_exit_status(lambda status: status)(ExitStatus.NO_RESULT) == 1


def test_a_bug_is_raised() -> None:
    @with_exit_status
    def main() -> int:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        main()


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_ends_every_command_without_a_traceback(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", interrupt)
    assert importlib.import_module(f"tuner.{name}").main([]) == ExitStatus.INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_what_to_free_and_how_to_resume(number: int) -> None:
    resume = "run the same command with --resume"
    way_out = rf"\(runs/gp\): free some disk space, then {resume}$"
    with pytest.raises(Halted, match=way_out), halts_on_full_disk(resume):
        raise OSError(number, "No space left on device", "runs/gp")


def test_other_errors_of_the_system_are_not_taken_for_a_full_disk() -> None:
    with pytest.raises(PermissionError, match="no"), halts_on_full_disk("resume"):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.parametrize("text", ["a\0b", "x" * 256, "runs/" + "ü" * 128])
def test_a_path_that_no_file_can_have_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="at most 255 bytes and no null byte, got"):
        cli.path(text)


def test_an_option_is_expanded_and_an_argument_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert cli.path("~/x") == Path("/home/me/x")
    assert cli.plain_path("a$b") == Path("a$b")
