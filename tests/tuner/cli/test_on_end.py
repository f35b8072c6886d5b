"""The command at a search's end: what it gets, when it runs, and whose it must be."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner import cli, driver
from tuner.cli import on_end
from tuner.driver.session import Outcome
from tuner.search import main as search
from tuner.space.spec import SearchSpec

#: Writes its arguments and its input into the file that the first argument names.
WRITES = "import sys; open(sys.argv[1], 'w').write(repr(sys.argv[2:]) + sys.stdin.read())"
SPACE = """
name: gp
data: {dataset: eight_gaussians}
search: {num_trials: 1, sampler: random}
"""


def test_it_gets_its_arguments_as_they_are_and_the_summary_as_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", WRITES, str(out), "{state}", "$(touch x) {run_dir}/report"]
    trouble = on_end.run_on_end(command, Path("/runs/gp"), "finished", "36 trials\n")
    assert trouble is None
    assert out.read_text() == "['finished', '$(touch x) /runs/gp/report']36 trials\n"


@pytest.mark.parametrize(
    ("command", "trouble"),
    [
        (["no-such-program"], "could not be run: No such file or directory: no-such-program"),
        ([sys.executable, "-c", "raise SystemExit('no\\nmail')"], "failed with status 1: mail"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "failed with status 3"),
        ([sys.executable, "-c", "import time; time.sleep(9)"], "did not end within 0.5 s, and was"),
    ],
)
def test_a_failure_is_reported(
    command: list[str], trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "not end" in trouble:
        monkeypatch.setattr(on_end, "_TIMEOUT_S", 0.5)
    answer = on_end.run_on_end(command, Path("gp"), "finished", "")
    assert answer is not None
    assert answer.startswith(f"results.on_end {trouble}")


@pytest.mark.parametrize(
    ("interrupted", "halted", "ran"),
    [
        (False, None, "gp: finished\nthe summary\na note\n"),
        (True, "the disk is full", "gp: stopped\nthe disk is full\nthe summary\na note\n"),
        (True, None, None),  # Ctrl-C
    ],
)
def test_it_runs_when_a_search_ends_by_itself(
    make_spec: Callable[..., SearchSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    interrupted: bool, halted: str | None, ran: str | None,
) -> None:  # fmt: skip
    outcome = Outcome(interrupted, halted, None, "the summary", ("a note",), "")
    monkeypatch.setattr(driver, "run_session", lambda *_, **__: outcome)
    out = tmp_path / "out"
    command = (sys.executable, "-c", WRITES, str(out))
    data: Any = object()
    spec = make_spec(name="gp")
    checked = driver.CheckedSearch(spec, data, tmp_path, None, None, True, command)
    assert cli.run_and_report(
        checked, resume=False, console=cli.console(quiet=True), how_to_resume=""
    ) is outcome  # fmt: skip
    assert (out.read_text() if out.exists() else None) == (
        ran if ran is None else f"[]{ran}{tmp_path / 'gp'}\n"
    )


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands of the searches that would have been run, in a folder of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    commands: list[tuple[str, ...]] = []

    def run(checked: driver.CheckedSearch, **_: Any) -> Outcome:
        commands.append(checked.on_end)
        return Outcome(False, None, None, "", (), "")

    monkeypatch.setattr("tuner.cli.run_and_report", run)
    monkeypatch.setattr("tuner.cli.status_of", lambda *_: 0)
    return commands


def test_the_command_of_the_user_s_own_file_is_run(kept: list[tuple[str, ...]]) -> None:
    Path("space.yaml").write_text(f"{SPACE}results: {{on_end: [echo, done]}}\n")
    assert search(["space.yaml", "--local"]) == 0
    assert search(["space.yaml", "--local", "--set", "results.on_end=null"]) == 0
    assert kept == [("echo", "done"), ()]


def test_the_command_of_a_search_s_folder_is_not_run_unless_it_is_given_again(
    kept: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Another person may have written the folder, also where the search is resumed."""
    folder = Path("runs", "theirs")
    folder.mkdir(parents=True)
    (folder / "study.log").touch()
    (folder / "spec.yaml").write_text(f"{SPACE}results: {{on_end: [touch, ran]}}\n")
    arguments = [str(folder / "spec.yaml"), "--local", "--name", "mine"]
    assert search(arguments) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "results.on_end is not run: it stands in a search's folder" in printed
    again = printed.partition("give it by ")[2].partition(" gp:")[0]
    assert search([*arguments, *shlex.split(again)[:2]]) == 0
    assert kept == [(), ("touch", "ran")]


def test_a_program_that_there_is_not_is_named_before_the_search(
    kept: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("space.yaml").write_text(f"{SPACE}results: {{on_end: [no-such-program]}}\n")
    assert search(["space.yaml", "--local"]) == 2
    assert "results.on_end: no program 'no-such-program' is found" in capsys.readouterr().err
    Path("space.yaml").write_text(f"{SPACE}results: {{on_end: []}}\n")
    assert search(["space.yaml", "--local"]) == 2
    assert "results.on_end: must not be empty, got []" in capsys.readouterr().err
    assert kept == []
