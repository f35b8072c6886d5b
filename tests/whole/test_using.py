"""Using a search's result, for real: from Python, trained longer, and with fresh seeds.

All but the longer training is in one process, without Ray: the numbers are the same.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import process_state
import pytest
import searches
import torch

import tuner
import tuner.train
from tuner import retrain
from tuner.results.reports import read_reports
from tuner.space.spec import validate
from tuner.study import Study

SPACE = """
name: small
data: {dataset: eight_gaussians}
networks: {generator_width: 16, critic_width: 16, latent_dim: 4}
training: {critic_lr: {low: 1e-4, high: 1e-2, log: true}}
objective: {critic_steps: 20, final_critic_steps: 20, final_cones: false, final_trials: 1}
search: {num_trials: 2, sampler: random, max_concurrent_trials: 1}
asha: {grace_generator_steps: 10, max_generator_steps: 40, reduction_factor: 2}
reporting: {report_every_generator_steps: 10, checkpoint_every_generator_steps: 10}
"""
SEEDS = ("--local", "--seeds", "2", "--set", "reporting.checkpoint_every_generator_steps=20")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuner.Result:
    folder = tmp_path_factory.mktemp("using")
    (folder / "space.yaml").write_text(SPACE)
    before = process_state.snapshot()
    found = tuner.run_search(
        folder / "space.yaml", runs_dir=folder / "runs", local=True, quiet=True
    )
    assert process_state.changed(before) == {}
    return found


def train(result: tuner.Result, *options: str) -> searches.Search:
    return searches.start(result.run_dir, *options, module="tuner.train")


def reports(run_dir: Path, number: int) -> dict[int, dict[str, float]]:
    """What a trial reported, but for the time that it took."""
    found = read_reports(run_dir / "metrics.jsonl")[number]
    return {
        steps: {key: found[steps][key] for key in ("critic_estimate", "w1") if key in found[steps]}
        for steps in found
    }


def test_a_search_from_python_gives_what_the_command_leaves(result: tuner.Result) -> None:
    assert len(result.trials) == 2
    assert result.best is not None
    assert f"# trial {result.best.trial_id}:" in (result.run_dir / "best.yaml").read_text()
    samples = result.best.generator(torch.zeros(3, result.best.latent_dim))
    assert (samples.shape, samples.requires_grad) == ((3, 2), False)


def last_state(run_dir: Path) -> dict[str, Any]:
    """All of the last checkpoint of a search's one trial, but for the time that it took."""
    last = max(run_dir.glob("ray/*/*/checkpoint_*/state.pt"), key=os.path.getmtime)
    saved = torch.load(last, weights_only=True)
    state = {key: value for key, value in saved["state"].items() if "seconds" not in key}
    return {**state, "w1": saved["metrics"]["w1"]}


def test_a_longer_training_is_the_same_trial_gone_on(result: tuner.Result) -> None:
    """Bit for bit: up to where the search had ended it, and to its end if it is continued there.

    The latter also of one that is killed and resumed: both networks, their optimizers, the random
    state and the scores.
    """
    assert result.best is not None
    status, out, err = train(result, "--generator-steps", "80").ended()
    assert status == 0, err
    trial = f"small-{result.best.trial_id}"
    first = reports(result.run_dir, int(result.best.trial_id))
    longer_dir = result.run_dir.parent / f"{trial}-longer-80-steps"
    longer = reports(longer_dir, 0)
    assert max(longer) == 80
    shared = first.keys() & longer.keys()
    assert {10, 20, 30, 40} <= shared
    for steps in shared:
        assert longer[steps]["critic_estimate"] == first[steps]["critic_estimate"]
    assert longer[40]["w1"] == first[40]["w1"]
    assert "lucky" not in out  # it is no fresh draw

    options = ("--continue", "--generator-steps", "80", "--local")
    run_dir = result.run_dir.parent / f"{trial}-continued-80-steps"
    training = train(result, *options)
    searches.wait_for_reports(training, run_dir, 5)  # four are the search's
    training.signal(signal.SIGKILL)
    training.ended()
    status, out, err = train(result, *options, "--resume").ended()
    assert (status, err) == (0, "")
    assert f"trial {result.best.trial_id} of {result.run_dir}, continued to 80 steps" in out
    expected = last_state(longer_dir)
    assert {"generator", "critic_optimizer", "rng"} <= expected.keys()
    torch.testing.assert_close(last_state(run_dir), expected, rtol=0, atol=0)
    (row,), (other,) = searches.rows(run_dir), searches.rows(longer_dir)
    assert row["w1_final"] == other["w1_final"]
    continued = reports(run_dir, 0)
    assert {at: report for at, report in continued.items() if at <= 40} == first
    assert continued[80]["w1"] == longer[80]["w1"]
    steps = [report["generator_steps"] for report in searches.reports(run_dir)]
    assert steps == sorted(set(steps))  # each once


def test_a_copy_that_a_kill_cuts_off_is_made_again(result: tuner.Result, tmp_path: Path) -> None:
    assert result.best is not None
    origin = retrain.find_origin(result.run_dir, result.best.trial_id)
    spec, _ = validate(retrain.search_document(origin, 80, None, continues=True))
    assert spec is not None
    with (
        patch.object(Study, "save", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        retrain.continue_trial(origin, Study(tmp_path / "study.log", spec), tmp_path, str(tmp_path))
    study = Study(tmp_path / "study.log", spec)
    retrain.continue_trial(origin, study, tmp_path, str(tmp_path))
    (trial,) = study.trials()
    assert trial.checkpoint == str(tmp_path / f"ray/continued/{spec.name}_00000/checkpoint_000001")
    assert origin.search is not None
    assert trial.scores == origin.search.trial(result.best.trial_id).scores
    assert read_reports(tmp_path / "metrics.jsonl")[0].keys() == {10, 20, 30, 40}
    before = (tmp_path / "study.log").read_bytes()
    retrain.continue_trial(origin, study, tmp_path, str(tmp_path))
    assert (tmp_path / "study.log").read_bytes() == before


def test_a_trial_that_cannot_be_continued_is_refused(
    result: tuner.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert result.best is not None
    run_dir = Path(shutil.copytree(result.run_dir, tmp_path / "small"))
    for options, message in (
        (["--generator-steps", "40"], "must be above 40, where trial .* ended, got 40: give the"),
        (["--seeds", "2"], "--continue: 1 fault\n  keeps the trial's own seed: leave --seeds out"),
    ):
        assert tuner.train.main([str(run_dir), "--continue", *options]) == 2
        assert re.search(message, capsys.readouterr().err)
    alone = Path(shutil.copy(run_dir / "best.yaml", tmp_path / "copied.yaml"))
    assert tuner.train.main([str(alone), "--continue"]) == 2
    assert "needs a search's folder" in capsys.readouterr().err
    newest, older = result_checkpoints(run_dir, result.best.trial_id)
    (newest / "state.pt").write_bytes(b"")
    retrain.check_continued(retrain.find_origin(run_dir, None), None)  # from the one before
    shutil.rmtree(older)
    assert tuner.train.main([str(run_dir), "--continue"]) == 2
    error = capsys.readouterr().err
    assert "has no whole checkpoint to continue from" in error
    assert "state.pt is empty" in error
    assert "leave --continue out, to train it again from the start" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copied.yaml", "small"]


def result_checkpoints(run_dir: Path, trial_id: str) -> tuple[Path, Path]:
    search = retrain.find_origin(run_dir, trial_id).search
    assert search is not None
    newest, older = map(Path, search.trial(trial_id).checkpoints)
    return newest, older


def test_an_interrupted_training_goes_on_by_the_command_that_it_prints(
    result: tuner.Result,
) -> None:
    assert result.best is not None
    again = result.run_dir.parent / f"small-{result.best.trial_id}-2-seeds"
    training = train(result, *SEEDS)
    searches.wait_for_reports(training, again, 1)
    training.signal(signal.SIGINT)
    status, out, _ = training.ended(timeout_s=100)
    if status != 0:  # it may just have been done
        assert status == 130
        printed = out.splitlines()[-1].partition("resume with: ")[2]
        done = subprocess.run(
            shlex.split(printed), cwd=result.run_dir.parent, capture_output=True, text=True,
            timeout=250, check=True,
        )  # fmt: skip
        out = done.stdout
    assert "w1 at step 40: mean " in out
    assert out.count("the score in the search, ") == 2  # at the rung and by the final
    kept = {one["name"]: one for one in json.loads((result.run_dir / "retrained.json").read_text())}
    assert "Trained again with 2 other seeds" in (result.run_dir / "report.html").read_text()
    own = kept[again.name]
    assert own["trial_id"] == result.best.trial_id
    assert result.best.config["seed"] not in own["seeds"]
    assert [row["seed"] for row in searches.rows(again)] == [str(seed) for seed in own["seeds"]]
    assert [float(row["w1"]) for row in searches.rows(again)] == own["w1"]
