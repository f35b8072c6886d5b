"""The functions: what they refuse, and what they give."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import small_search
import torch
from saved_generator import save

import tuner
from tuner import cli
from tuner.driver import request
from tuner.space.spec import SearchSpec
from tuner.tracking.tracker import Tracker

ROOT = Path(__file__).parents[2]
SPACE = """
name: small
data: {dataset: eight_gaussians}
search: {num_trials: 3, sampler: random}
asha: {grace_generator_steps: 10, max_generator_steps: 40, reduction_factor: 2}
"""


def test_importing_the_package_and_running_the_command_load_nothing_heavy() -> None:
    code = "import tuner, sys; print(*sys.modules)"
    for arguments in (["-c", code], ["-X", "importtime", "-m", "tuner.search", "--help"]):
        done = subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            capture_output=True, text=True, cwd=ROOT, check=True, timeout=60,
        )  # fmt: skip
        loaded = done.stdout if arguments[0] == "-c" else done.stderr
        names = {name.strip().split(".")[0] for name in loaded.replace("|", " ").split()}
        assert names & {"torch", "ray", "optuna", "mlflow", "pandas", "sklearn"} == set()


def test_bad_input_is_raised_with_all_that_is_wrong(space: Callable[[str], Path]) -> None:
    with pytest.raises(tuner.BadInput, match="no such file") as caught:
        tuner.run_search("nowhere.yaml")
    assert [fault.where for fault in caught.value.faults] == [""]
    overrides = {"training.critic_lr": {"low": 1, "high": 0.5}, "": 3}
    with pytest.raises(tuner.BadInput, match="low must be below high") as caught:
        tuner.run_search(space(SPACE), num_trials=0, overrides=overrides, quiet=True)
    assert {"overrides", "training.critic_lr", "search.num_trials"} == {
        fault.where for fault in caught.value.faults
    }


@dataclass
class Outcome:
    interrupted: bool = False
    halted: str | None = None


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Outcome], list[Any]]:
    """Have a search end so, without running it; gives what was started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def ends(outcome: Outcome) -> list[Any]:
        started: list[Any] = []

        def run(search: request.CheckedSearch, *, resume: bool, **_: Any) -> Outcome:
            started.append((search, resume))
            return outcome

        monkeypatch.setattr(cli, "run_and_report", run)
        return started

    return ends


def test_an_interrupted_search_raises_and_says_how_to_resume(
    ends: Callable[[Outcome], list[Any]], space: Callable[[str], Path]
) -> None:
    started = ends(Outcome(interrupted=True))
    with pytest.raises(KeyboardInterrupt, match="runs/other is saved: resume it with resume=True"):
        tuner.run_search(space(SPACE), name="other", time_budget_s=9, resume=True, quiet=True)
    ((search, resume),) = started
    assert (search.spec.name, search.spec.search.time_budget_s, resume) == ("other", 9, True)
    ends(Outcome(interrupted=True, halted="no space left"))
    with pytest.raises(tuner.Halted, match="no space left: once that is fixed, call it again"):
        tuner.run_search(space(SPACE), runs_dir="r", quiet=True)


@pytest.fixture
def run_dir(make_spec: Callable[..., SearchSpec], uri: str, tmp_path: Path) -> Path:
    spec, folder = make_spec(search={"num_trials": 2, "sampler": "random"}), tmp_path / "search"

    def follow(search_id: str) -> Any:
        return Tracker(spec, folder, search_id, lambda text: None, uri)

    small_search.tell_search(spec, folder, follow, finish=True)
    (folder / "best.yaml").write_text("# trial 00000: w1 1\n")
    return folder


def test_a_finished_search_gives_its_best_and_its_trials(run_dir: Path) -> None:
    of_zeros = save(run_dir / "best" / "generator.pt", 3)
    found = tuner.load_search(str(run_dir))
    assert found.best is not None
    assert (found.best.trial_id, found.best.w1, found.best.w1_final) == ("00000", 1.0, 1.5)
    assert found.best.config["training"]["loss"] == "wasserstein"
    assert found.best.latent_dim == 5
    assert torch.equal(found.best.generator(torch.zeros(1, 5)), of_zeros)
    assert repr(found.best) == "BestTrial('00000', w1=1, w1_final=1.5)"
    frame = found.trials
    assert frame["trial_id"].tolist() == ["00000", "00001"]
    assert frame["w1"].tolist() == [1.0, 2.0]
    for name, kind in (("w1", "float64"), ("critic_lr", "float64"), ("n_critic", "int64")):
        assert frame[name].dtype == kind
    assert frame["compile"].dtype == bool
    assert pd.api.types.is_string_dtype(frame["message"])
    assert found.report is None
    (run_dir / "report.html").touch()
    assert found.report == run_dir / "report.html"


def test_a_folder_of_no_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(tuner.BadInput, match="holds no search: it has no spec"):
        tuner.load_search(tmp_path)
