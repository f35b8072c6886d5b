"""Using a search's result, for real: from Python, trained longer, and with fresh seeds.

All but the longer training is in one process, without Ray: the numbers are the same.
"""

import json
import shlex
import signal
import subprocess
from pathlib import Path

import process_state
import pytest
import searches
import torch

import tuner
from tuner.results.reports import read_reports

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


def test_a_longer_training_is_the_same_trial_gone_on(result: tuner.Result) -> None:
    """Bit for bit, up to where the search had ended it."""
    assert result.best is not None
    status, out, err = train(result, "--generator-steps", "80").ended()
    assert status == 0, err
    first = reports(result.run_dir, int(result.best.trial_id))
    longer = reports(result.run_dir.parent / f"small-{result.best.trial_id}-longer-80-steps", 0)
    assert max(longer) == 80
    shared = first.keys() & longer.keys()
    assert {10, 20, 30, 40} <= shared
    for steps in shared:
        assert longer[steps]["critic_estimate"] == first[steps]["critic_estimate"]
    assert longer[40]["w1"] == first[40]["w1"]
    assert "lucky" not in out  # it is no fresh draw


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
