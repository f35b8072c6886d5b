"""What a search leaves: a table, the best trial, and never half a file."""

import csv
from pathlib import Path

import pytest
import yaml

from trainables.config import NetworkConfig, TrainingConfig, TrialConfig
from tuner import results
from tuner.study import Status, Trial


def trial(
    number: int,
    status: Status | None = "completed",
    w1: float | None = 1.0,
    config: TrialConfig | None = None,
    checkpoint: str | None = None,
    **metrics: float,
) -> Trial:
    return Trial(
        number,
        config or TrialConfig(seed=9),
        {},
        {} if w1 is None else {4000: w1},
        status,
        {"generator_steps": 4000.0, **metrics},
        checkpoint=checkpoint,
    )


def test_the_best_has_the_lowest_w1_of_the_completed_ones_alone():
    trials = [
        trial(0, w1=0.5),
        trial(1, "stopped", w1=0.1),
        trial(2, "diverged", w1=0.1),
        trial(3, "failed", w1=0.1),
        trial(4, None, w1=0.1),
        trial(5, w1=0.3),
        trial(6, w1=0.4),
    ]
    assert results.best(trials).number == 5


def test_of_equal_ones_the_first_is_the_best():
    assert results.best([trial(2, w1=0.3), trial(1, w1=0.3), trial(0, w1=0.4)]).number == 1


@pytest.mark.parametrize("trials", [[], [trial(0, "stopped"), trial(1, "failed", w1=None)]])
def test_without_a_completed_trial_there_is_no_best_one(trials: list[Trial]):
    assert results.best(trials) is None


def test_hyperparameters_are_those_that_apply():
    clip = TrialConfig(training=TrainingConfig(constraint="clip"), seed=9)
    assert results.hyperparameters(trial(0, config=clip)) == {
        "constraint": "clip",
        "clip_value": 0.01,
        "n_critic": 5,
        "batch_size": 64,
        "optimizer": "rmsprop",
        "critic_lr": 5e-5,
        "generator_lr": 5e-5,
        **NetworkConfig().model_dump(),
        "seed": 9,
    }


def test_the_table_has_a_row_a_trial_and_its_columns_in_their_order(tmp_path: Path):
    path = tmp_path / "trials.csv"
    clip = TrialConfig(training=TrainingConfig(constraint="clip"), seed=2)
    failed = Trial(
        1, clip, {}, {}, "failed", {}, message='CUDA error: "out of memory", says\nthe driver'
    )
    seconds = {"training_seconds": 1.5, "scoring_seconds": 0.25}
    results.write_trials(
        path,
        [trial(0, w1=0.125, critic_estimate=2.0, other=3.0, **seconds), failed, trial(2, None)],
    )
    with path.open(newline="") as file:
        heading, *rows = list(csv.reader(file))
    assert heading == [
        "trial_id", "status", "generator_steps", "w1", "critic_estimate", "training_seconds",
        "scoring_seconds",
        "constraint", "gp_weight", "clip_value", "n_critic", "batch_size", "optimizer",
        "critic_lr", "generator_lr", "beta1", "beta2",
        "architecture", "latent_dim", "generator_width", "generator_depth", "critic_width",
        "critic_depth",
        "seed", "message",
    ]  # fmt: skip
    first, second, third = (dict(zip(heading, row, strict=True)) for row in rows)
    assert list(first.values())[:7] == [
        "00000", "completed", "4000", "0.125", "2.0", "1.5", "0.25"
    ]  # fmt: skip
    assert (first["constraint"], first["gp_weight"], first["clip_value"], first["seed"]) == (
        "gradient_penalty", "10.0", "", "9",
    )  # fmt: skip
    assert list(second.values())[:7] == ["00001", "failed", "0", "", "", "", ""]
    assert (second["gp_weight"], second["clip_value"], second["beta1"]) == ("", "0.01", "")
    assert second["message"] == 'CUDA error: "out of memory", says\nthe driver'
    assert (third["trial_id"], third["status"]) == ("00002", "running")


def test_a_table_of_no_trials_is_its_heading(tmp_path: Path):
    results.write_trials(tmp_path / "trials.csv", [])
    (heading,) = (tmp_path / "trials.csv").read_text().splitlines()
    assert heading.startswith("trial_id,status,generator_steps,w1,critic_estimate,training_second")


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "a.txt"
    results.write_atomically(path, "größe\r\n")
    assert path.read_bytes() == "größe\r\n".encode()
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        results.write_atomically(path, "half of it" * 100_000 + "\ud800")
    assert path.read_bytes() == "größe\r\n".encode()
    results.write_atomically(path, "new")  # what the failed one left is in nobody's way
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_no_new_file(tmp_path: Path):
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        results.write_atomically(tmp_path / "a.txt", "\ud800")
    assert not (tmp_path / "a.txt").exists()


def save_checkpoint(folder: Path, content: str) -> str:
    folder.mkdir()
    for name in ("generator.pt", "samples.png", "state.pt"):
        (folder / name).write_text(f"{content} {name}")
    return str(folder)


def test_the_best_trial_is_left_with_its_generator_and_its_samples(tmp_path: Path):
    config = TrialConfig(training=TrainingConfig(constraint="clip"), seed=3)
    for number, w1 in ((7, 0.123456789), (8, 0.1)):  # the second one replaces the first
        folder = save_checkpoint(tmp_path / f"checkpoint_{number}", f"of {number}")
        results.write_best(tmp_path, trial(number, w1=w1, config=config, checkpoint=folder))
        heading, text = (tmp_path / "best.yaml").read_text().split("\n", 1)
        assert heading == f"# trial {number:05d}: w1 {w1:.6g} at generator step 4000"
        assert TrialConfig.model_validate(yaml.safe_load(text)) == config
        assert "gp_weight" not in text
        assert {p.name: p.read_text() for p in (tmp_path / "best").iterdir()} == {
            "generator.pt": f"of {number} generator.pt",
            "samples.png": f"of {number} samples.png",
        }


def test_a_best_trial_without_a_checkpoint_is_said_to_have_none(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="trial 00003 left no checkpoint"):
        results.write_best(tmp_path, trial(3))
    assert list(tmp_path.iterdir()) == []
