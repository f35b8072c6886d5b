"""The table of searches: one line each, also of a broken one; and the same for a script."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tuner.list import main

SPEC = {
    "name": "gp",
    "data": {"dataset": "digits"},
    "search": {"num_trials": 3, "sampler": "tpe"},
    "objective": {"name": "independent_critic", "final_trials": 1},
}
TABLE = """trial_id,status,generator_steps,w1,w1_final
00000,completed,4000,0.5,0.61234
00001,completed,4000,0.7,
00002,stopped,250,2.0,
"""


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    for name in ("gp", "broken"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "spec.yaml").write_text(yaml.safe_dump({**SPEC, "name": name}))
        (tmp_path / name / "trials.csv").write_text(TABLE)
    (tmp_path / "gp" / "study.log").write_text("")
    (tmp_path / "mlflow-artifacts").mkdir()
    return tmp_path


def test_each_search_is_a_line_and_a_broken_one_says_why(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(runs_dir)]) == 0
    heading, gp, broken, why = capsys.readouterr().out.splitlines()
    words = ["name", "state", "data", "changed", "trials", "best", "w1", "w1_final"]
    assert heading.split() == words
    for cell in ("finished", "digits", "3/3: 2 completed, 1 stopped", "00000", "0.5", "0.6123"):
        assert cell in gp
    assert gp.index("finished") == broken.index("broken", 1) == heading.index("state")
    assert why == f"{runs_dir / 'broken'}: study.log: No such file or directory"


def test_what_an_interrupted_search_has_not_ended_does_not_run(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs_dir / "gp" / "trials.csv").write_text(f"{TABLE}00003,running,0,,\n")
    assert main([str(runs_dir)]) == 0
    out = capsys.readouterr().out
    assert "interrupted" in out
    assert "4/3: 2 completed, 1 stopped, 1 to resume" in out


def test_trials_that_wait_to_be_promoted_are_counted_as_such(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "00003,running,0,,\n00004,waiting,250,1.5,\n00005,waiting,250,1.7,\n"
    (runs_dir / "gp" / "trials.csv").write_text(TABLE + rows)
    assert main([str(runs_dir), "--json"]) == 0
    _, gp = sorted(json.loads(capsys.readouterr().out), key=lambda search: search["name"])
    assert gp["trials"] == {"completed": 2, "stopped": 1, "running": 1, "waiting": 2}
    assert gp["state"] == "interrupted"  # three trials have not ended
    assert main([str(runs_dir)]) == 0
    assert "6/3: 2 completed, 1 stopped, 1 to resume, 2 waiting" in capsys.readouterr().out


def test_a_search_of_a_sampler_that_is_gone_is_listed_like_any_other(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = runs_dir / "gp" / "spec.yaml"
    path.write_text(path.read_text().replace("sampler: tpe", "sampler: cmaes"))
    assert main([str(runs_dir)]) == 0
    assert "3/3: 2 completed, 1 stopped" in capsys.readouterr().out


def test_a_narrow_terminal_has_each_search_on_a_line_too(
    runs_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.list._WIDTH", 80)
    assert main([str(runs_dir)]) == 0
    _, gp, _, _ = capsys.readouterr().out.splitlines()
    assert gp.split()[-4:] == ["3/3", "00000", "0.5", "0.6123"]
    assert len(gp.rstrip()) <= 80


def test_a_script_reads_the_same_without_loading_torch_or_optuna(runs_dir: Path) -> None:
    code = "import sys; from tuner.list import main; main(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(runs_dir), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    gp, broken = json.loads(done.stdout)
    assert gp["best"] == {"trial_id": "00000", "w1": 0.5, "w1_final": 0.61234}
    assert (gp["state"], gp["trials"]) == ("finished", {"completed": 2, "stopped": 1})
    assert gp["changed"].endswith("+00:00")
    assert (broken["state"], broken["best"], broken["changed"]) == ("broken", None, None)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert loaded & {"torch", "ray", "optuna", "mlflow", "pandas", "pydantic"} == set()


def test_no_folder_is_refused_and_an_empty_one_has_no_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: no search yet\n"
    assert main([str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main([str(tmp_path / "none")]) == 2
    assert "cannot be read (No such file or directory)" in capsys.readouterr().err


def test_searches_of_different_ground_metrics_are_told_apart(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their numbers do not compare; a search that does not name one is older than the key."""
    (runs_dir / "new").mkdir()
    objective = {**SPEC["objective"], "ground": "energies"}
    spec = {**SPEC, "name": "new", "objective": objective}
    (runs_dir / "new" / "spec.yaml").write_text(yaml.safe_dump(spec))
    (runs_dir / "new" / "trials.csv").write_text(TABLE)
    (runs_dir / "new" / "study.log").write_text("")
    assert main([str(runs_dir)]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split()[-1] == "ground"
    assert {line.split()[0]: line.split()[-1] for line in lines[:3]} == {
        "gp": "pixels",
        "new": "energies",
        "broken": "-",
    }
    assert lines[3].endswith("only compare where ground and data are the same")
    (runs_dir / "new" / "spec.yaml").write_text(yaml.safe_dump({**SPEC, "name": "new"}))
    assert main([str(runs_dir)]) == 0
    assert "ground" not in capsys.readouterr().out
