"""One program for all commands."""

import sys
from pathlib import Path

import pytest

from tuner import cli
from tuner.__main__ import COMMANDS, main

TUNER = Path(__file__).parents[2] / "tuner"
#: The modules that are no commands.
OTHERS = {"__init__", "__main__", "api", "errors", "printable", "process"}


def test_every_command_is_one_of_the_program_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert {path.stem for path in TUNER.glob("*.py")} - OTHERS == COMMANDS.keys()
    assert main([]) == 0
    listed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert {f"{name} {purpose}" for name, purpose in COMMANDS.items()} <= {*listed}


def test_a_command_gets_its_own_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", str(tmp_path), "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert main(["list", str(tmp_path / "nowhere")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_command_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["serach"])
    assert "invalid choice: 'serach'" in capsys.readouterr().err


def test_a_command_is_named_as_it_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/home/me/.venv/bin/wgan-tuner", "list"])
    assert cli.program_of("list") == "wgan-tuner list"
    monkeypatch.setattr(sys, "argv", ["/home/me/wgan-tuner/tuner/list.py"])
    assert cli.program_of("list") == "python -m tuner.list"
