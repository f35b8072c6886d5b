"""provenance.json: one entry per session, read from any folder without an error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tuner.results import append_session, provenance, provenance_text, read_sessions


def test_each_session_appends_its_versions_and_machine(tmp_path: Path) -> None:
    append_session(tmp_path, 3, "a1b2")
    first = read_sessions(tmp_path)
    append_session(tmp_path, 3)
    assert read_sessions(tmp_path)[:1] == first
    assert len(read_sessions(tmp_path)) == 2
    named = {"time", "python", "torch", "ray", "optuna", "mlflow", "host", "os", "cpu", "command"}
    assert named <= first[0].keys()
    assert first[0]["cpu"].startswith("3 x ")
    assert first[0]["data"] == "a1b2"
    assert first[0].get("cuda") == torch.version.cuda


def test_the_command_is_as_it_was_typed_but_for_the_folder_of_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typed = ["/home/me/.venv/bin/python", "-m", "tuner.search", "my space.yaml", "--set", "a=1"]
    monkeypatch.setattr(sys, "orig_argv", typed)
    session = provenance.this_session(1)
    assert session["command"] == "python -m tuner.search 'my space.yaml' --set a=1"
    monkeypatch.setattr(sys, "orig_argv", [*typed, "x" * 2000])
    assert len(provenance.this_session(1)["command"]) == 1000


def test_gpus_are_named_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(2):
        (tmp_path / str(index)).mkdir()
        (tmp_path / str(index) / "information").write_text("Model: \t NVIDIA H100\nIRQ: 1\n")
    monkeypatch.setattr(provenance, "_GPU_INFOS", tmp_path)
    assert provenance.this_session(1)["gpu"] == "2 x NVIDIA H100"


def test_a_commit_says_whether_files_were_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        person = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *person, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert provenance._git_commit(tmp_path) is None
    git("init")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "--message=one")
    git("tag", "v1")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as a hook of another repository
    commit = provenance._git_commit(tmp_path)
    monkeypatch.delenv("GIT_DIR")
    assert commit == git("rev-parse", "HEAD")
    (tmp_path / "code.py").write_text("2")
    assert provenance._git_commit(tmp_path) == f"{commit}-dirty"


def test_the_text_names_what_differs_between_sessions() -> None:
    one = {
        "torch": "2.15.0", "cuda": "13.2", "git_commit": "0123456789abcdef", "host": "a",
        "time": "1", "command": "python -m tuner.search gp", "data": "a1b2",
    }  # fmt: skip
    resumed = {"time": "2", "command": "python -m tuner.search gp --resume"}
    two = one | {"torch": "2.16.0", "git_commit": "0123456789abcdef-dirty", **resumed}
    text = provenance_text([one, two])
    assert text == (
        "Run by commit 0123456789 with uncommitted changes, torch 2.16.0, CUDA 13.2; on a "
        "(unknown machine). Command: python -m tuner.search gp --resume. Data fingerprint: a1b2. "
        "2 sessions: they differ in commit (0123456789, 0123456789 with uncommitted changes); "
        "torch (2.15.0, 2.16.0)."
    )
    assert "2 sessions: all alike." in (provenance_text([one, one]) or "")
    assert provenance_text([]) is None


@pytest.mark.parametrize(
    "content",
    ["{", "[" * 100_000, "{}", "[1, {}, {}]", '[{"host": 7}]', "\xff\x00", " " * (2 << 20) + "[]"],
)
def test_a_damaged_file_counts_as_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / "provenance.json").write_text(content, encoding="latin-1")
    assert read_sessions(tmp_path) == []
    append_session(tmp_path, 1)
    assert len(read_sessions(tmp_path)) == 1


def test_values_of_a_stranger_are_bounded_and_on_one_line(tmp_path: Path) -> None:
    entry = {"host": "a\x1b[31m\nb" + "c" * 10_000, "other": "x"}
    (tmp_path / "provenance.json").write_text(json.dumps([entry]))
    (session,) = read_sessions(tmp_path)
    assert session.keys() == {"host"}
    assert session["host"].startswith("a [31m b")
    assert len(session["host"]) == 200
