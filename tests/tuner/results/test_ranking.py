"""What a search leaves: a table, the best trial, and never half a file."""

import csv
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trainables.checkpoint import DamagedCheckpointError
from trainables.config import NetworkConfig, ObjectiveConfig, TrainingConfig, TrialConfig
from tuner.results import ranking as results
from tuner.results.best import write_best
from tuner.results.table import hyperparameters, write_trials
from tuner.results.text import score_text
from tuner.storage.atomic import write_atomically
from tuner.study.trial import Repeats, Status, Trial

CONFIG = TrialConfig(seed=9)


def trial(
    number: int,
    status: Status | None = "completed",
    w1: float | None = 1.0,
    config: TrialConfig | None = None,
    checkpoint: str | None = None,
    final: tuple[float, float] | None = None,
    **metrics: float,
) -> Trial:
    scored = {} if w1 is None else {"w1": w1}
    return Trial(
        number,
        config or TrialConfig(seed=9),
        {},
        {} if w1 is None else {4000: w1},
        status,
        {"generator_steps": 4000.0, **scored, **metrics},
        checkpoints=() if checkpoint is None else (checkpoint,),
        final=final and {"w1_final": final[0], "w1_final_stderr": final[1]},
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
    assert results.best_of(trials).number == 5


def test_of_equal_ones_the_first_is_the_best():
    assert results.best_of([trial(2, w1=0.3), trial(1, w1=0.3), trial(0, w1=0.4)]).number == 1


@pytest.mark.parametrize("trials", [[], [trial(0, "stopped"), trial(1, "failed", w1=None)]])
def test_without_a_completed_trial_there_is_no_best_one(trials: list[Trial]):
    assert results.best_of(trials) is None


def test_the_final_chooses_among_those_that_were_in_it():
    """The best at the last rung may owe that to luck, and one that was not in the final too."""
    in_final = [trial(1, w1=0.3, final=(0.9, 0.1)), trial(2, w1=0.5, final=(0.6, 0.1))]
    assert results.best_of([trial(0, w1=0.2), *in_final]).number == 2
    assert results.best_of([trial(0, w1=0.2), in_final[0]]).number == 1
    equal = [trial(3, w1=0.4, final=(0.6, 0.1)), in_final[1]]
    assert results.best_of(equal).number == 3


def test_trials_are_ranked_by_their_last_rung_whatever_the_final_says():
    trials = [trial(0, w1=0.5), trial(1, "stopped", w1=0.1), trial(2, w1=0.3, final=(9.0, 0.1))]
    assert [t.number for t in results.ranked(trials)] == [2, 0]


def repeated(one: Trial, *w1: float | None) -> Trial:
    """A trial whose configuration the final trained with further seeds; ``None``: it diverged."""
    repeats = Repeats(dict(enumerate(w1)), 3.0, 2.0)
    return replace(one, repeats=repeats, final={**(one.final or {}), **repeats.values})


def test_the_mean_of_further_seeds_wins_over_a_trial_that_was_lucky():
    lucky = repeated(trial(0, final=(0.1, 0.01)), 0.8, 1.0)
    steady = repeated(trial(1, final=(0.5, 0.01)), 0.5, 0.7)
    assert results.placed([lucky, steady]) == [steady, lucky]
    assert lucky.final["w1_final_mean"] == pytest.approx(0.9)
    assert lucky.final["w1_final_mean_stderr"] == pytest.approx(0.1)


def test_a_configuration_that_diverges_with_another_seed_comes_after_those_that_do_not():
    trials = [
        trial(0, final=(0.1, 0.01)),  # not trained again, as it came later
        repeated(trial(1, final=(0.2, 0.01)), 0.1, None),
        repeated(trial(2, final=(0.3, 0.01)), None, None),
        repeated(trial(3, final=(0.4, 0.01)), 0.9, 0.9),
        repeated(trial(4, final=(0.4, 0.01)), 0.3, 0.3, 0.3, None),
    ]
    assert [t.number for t in results.placed(trials)] == [3, 4, 1, 2, 0]


@pytest.mark.parametrize(
    ("w1", "text"),
    [
        ((0.5, 0.7), "mean w1 0.6 +- 1.3 (95%) of 2 further seeds by the final"),
        ((0.5, None), "w1 0.5 of 1 further seed by the final, 1 diverged"),
        ((None, None), "all of 2 further seeds diverged"),
    ],
)
def test_further_seeds_are_described_with_their_interval(w1: tuple[float | None], text: str):
    one = repeated(trial(0, w1=0.4, final=(0.5, 0.01)), *w1)
    own = "its own training w1 0.5 +- 0.02 (95%) by the final, w1 0.4 at its last rung"
    assert score_text(one) == f"{text}; {own}"


def test_a_score_is_told_with_what_ranked_it_and_its_interval():
    by_critic = TrialConfig(objective=ObjectiveConfig(name="critic_estimate"))
    assert score_text(trial(0, w1=0.45678)) == "w1 0.4568 at its last rung"
    assert score_text(trial(0, w1=3.5, config=by_critic, final=(0.5, 0.01))) == (
        "w1 0.5 +- 0.02 (95%) by the final, critic_estimate 3.5 at its last rung"
    )


def test_hyperparameters_are_those_that_apply():
    clip = TrialConfig(training=TrainingConfig(constraint="clip"), seed=9)
    assert hyperparameters(trial(0, config=clip)) == {
        "loss": "wasserstein",
        "constraint": "clip",
        "clip_value": 0.01,
        "n_critic": 5,
        "batch_size": 64,
        "pack": 1,
        "optimizer": "rmsprop",
        "critic_lr": 5e-5,
        "generator_lr": 5e-5,
        "lr_decay": "constant",
        "ema_decay": 0.0,
        "precision": "float32",
        "compile": False,
        "cuda_graph": False,
        **NetworkConfig().model_dump(exclude_none=True),
        "seed": 9,
    }


def test_the_arguments_of_a_network_of_ones_own_are_hyperparameters(tmp_path: Path):
    networks = NetworkConfig(generator="mine:G", generator_args={"width": 8, "deep": True})
    own = trial(0, config=TrialConfig(networks=networks))
    values = hyperparameters(own)
    assert (values["generator_args.width"], values["generator_args.deep"]) == (8, True)
    write_trials(tmp_path / "trials.csv", [own, trial(1)])
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["generator_args.width"] for row in rows] == ["8", ""]
    assert [row["generator"] for row in rows] == ["mine:G", ""]


def test_the_table_has_a_row_a_trial_and_its_columns_in_their_order(tmp_path: Path):
    path = tmp_path / "trials.csv"
    clip = TrialConfig(training=TrainingConfig(constraint="clip"), seed=2)
    failed = Trial(
        1, clip, {}, {}, "failed", {}, message='CUDA error: "out of memory", says\nthe driver'
    )
    seconds = {"training_seconds": 1.5, "scoring_seconds": 0.25}
    write_trials(
        path,
        [
            trial(
                0,
                w1=0.125,
                w1_stderr=0.5,
                final=(0.25, 0.75),
                critic_estimate=2.0,
                other=3.0,
                **seconds,
            ),
            failed,
            trial(2, None),
        ],
    )
    with path.open(newline="") as file:
        heading, *rows = list(csv.reader(file))
    assert heading == [
        "trial_id", "status", "generator_steps", "w1", "w1_stderr", "w1_best", "best_rung",
        "w1_final", "w1_final_stderr", "w1_final_mean", "w1_final_mean_stderr", "final_seeds",
        "final_seeds_diverged", "critic_estimate", "training_seconds", "scoring_seconds",
        "final_scoring_seconds",
        "loss", "constraint", "gp_weight", "clip_value", "n_critic", "batch_size", "pack",
        "optimizer", "critic_lr", "generator_lr", "beta1", "beta2", "lr_decay", "ema_decay",
        "precision", "compile", "cuda_graph",
        "architecture", "latent_dim", "generator_width", "generator_depth",
        "generator_activation", "critic_width", "critic_depth", "critic_activation",
        "seed", "message",
    ]  # fmt: skip
    first, second, third = (dict(zip(heading, row, strict=True)) for row in rows)
    assert list(first.values())[:16] == [
        "00000", "completed", "4000", "0.125", "0.5", "0.125", "4000", "0.25", "0.75",
        "", "", "", "", "2.0", "1.5", "0.25",
    ]  # fmt: skip
    assert (first["constraint"], first["gp_weight"], first["clip_value"], first["seed"]) == (
        "gradient_penalty", "10.0", "", "9",
    )  # fmt: skip
    assert list(second.values())[:16] == ["00001", "failed", "0", *[""] * 13]
    assert (second["gp_weight"], second["clip_value"], second["beta1"]) == ("", "0.01", "")
    assert second["message"] == 'CUDA error: "out of memory", says\nthe driver'
    assert (third["trial_id"], third["status"]) == ("00002", "running")


def test_a_table_of_no_trials_is_its_heading(tmp_path: Path):
    write_trials(tmp_path / "trials.csv", [])
    (heading,) = (tmp_path / "trials.csv").read_text().splitlines()
    assert heading.startswith("trial_id,status,generator_steps,w1,w1_stderr,w1_best,best_rung,w1")


def test_a_file_has_the_text_as_it_was_given(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_atomically(path, "größe\r\n")
    assert path.read_bytes() == "größe\r\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def save_checkpoint(folder: Path, content: str) -> str:
    folder.mkdir()
    torch.save({"content": content}, folder / "generator.pt")
    (folder / "samples.png").write_text(content)
    return str(folder)


def test_the_best_trial_is_left_with_its_generator_and_its_samples(tmp_path: Path):
    config = TrialConfig(training=TrainingConfig(constraint="clip"), seed=3)
    for number, w1 in ((7, 0.123456789), (8, 0.1)):  # the second one replaces the first
        folder = save_checkpoint(tmp_path / f"checkpoint_{number}", f"of {number}")
        write_best(tmp_path, trial(number, w1=w1, config=config, checkpoint=folder))
        heading, text = (tmp_path / "best.yaml").read_text().split("\n", 1)
        assert heading == (
            f"# trial {number:05d}: w1 {w1:.4g} at its last rung, generator step 4000"
        )
        assert TrialConfig.model_validate(yaml.safe_load(text)) == config
        assert "gp_weight" not in text
        best = tmp_path / "best"
        assert {path.name for path in best.iterdir()} == {"generator.pt", "samples.png"}
        assert torch.load(best / "generator.pt", weights_only=True) == {"content": f"of {number}"}
        assert (best / "samples.png").read_text() == f"of {number}"


def test_the_best_trial_says_what_made_it_also_of_a_session_that_changed_nothing(tmp_path: Path):
    """Even if its checkpoint has been deleted meanwhile."""
    folder = save_checkpoint(tmp_path / "checkpoint_1", "whole")
    provenance = tmp_path / "provenance.json"
    provenance.write_text('[{"torch": "2.15.0", "host": "a"}]')
    write_best(tmp_path, trial(1, w1=0.5, checkpoint=folder))
    first = (tmp_path / "best.yaml").read_text().splitlines()
    assert first[1] == "# Run by torch 2.15.0; on a (unknown machine)."
    shutil.rmtree(folder)
    provenance.write_text('[{"torch": "2.15.0", "host": "a"}, {"torch": "2.16.0", "host": "a"}]')
    write_best(tmp_path, trial(1, w1=0.5, checkpoint=folder))
    second = (tmp_path / "best.yaml").read_text().splitlines()
    assert second[1].endswith("2 sessions: they differ in torch (2.15.0, 2.16.0).")
    assert [*first[:1], *first[2:]] == [*second[:1], *second[2:]]
    with pytest.raises(FileNotFoundError, match="checkpoint_1"):
        write_best(tmp_path, trial(1, w1=0.4, checkpoint=folder))


def test_a_damaged_generator_does_not_take_the_place_of_a_whole_one(tmp_path: Path):
    whole = save_checkpoint(tmp_path / "checkpoint_1", "whole")
    write_best(tmp_path, trial(1, w1=0.5, checkpoint=whole))
    damaged = Path(save_checkpoint(tmp_path / "checkpoint_2", "damaged"), "generator.pt")
    os.truncate(damaged, damaged.stat().st_size - 1)
    with pytest.raises(DamagedCheckpointError, match="must be as it was saved"):
        write_best(tmp_path, trial(2, w1=0.4, checkpoint=str(damaged.parent)))
    kept = torch.load(tmp_path / "best" / "generator.pt", weights_only=True)
    assert kept == {"content": "whole"}
    assert (tmp_path / "best.yaml").read_text().startswith("# trial 00001")


def test_the_best_trials_file_says_what_it_is_tied_with(tmp_path: Path):
    folder = save_checkpoint(tmp_path / "checkpoint", "any")
    best = trial(7, final=(0.5, 0.1), checkpoint=folder)
    for other, ties in ((9.0, 0), (0.55, 1), (0.55, 1)):
        write_best(tmp_path, best, [best, trial(8, w1=0.5, final=(other, 0.1))])
        lines = (tmp_path / "best.yaml").read_text().splitlines()
        assert lines[0] == (
            "# trial 00007: w1 0.5 +- 0.2 (95%) by the final, w1 1 at its last rung, "
            "generator step 4000"
        )
        tie = (
            "# tied within the error with trial 00008 (0.55), as if their errors were independent: "
        )
        assert lines[1 : 1 + ties] == [f"{tie}an earlier version scored them"] * ties
        assert not lines[1 + ties].startswith("#")


def test_a_best_trial_without_a_checkpoint_is_said_to_have_none(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="trial 00003 has no checkpoint"):
        write_best(tmp_path, trial(3))
    assert list(tmp_path.iterdir()) == []


ENDINGS = st.tuples(
    st.integers(0, 7),
    st.sampled_from((None, "completed", "stopped", "diverged", "failed")),
    st.integers(-2, 2),
    st.none() | st.integers(-2, 2),
)


@given(st.lists(ENDINGS, max_size=30))
def test_the_standing_kept_trial_by_trial_is_that_of_all_trials_looked_at_anew(changes: list):
    """A trial passes a rung, ends once, and may be in the final after that."""
    trials: dict[int, Trial] = {}
    standing = results.Leaderboard(trials)
    for number, status, w1, w1_final in changes:
        known = trials.get(number, Trial(number, CONFIG, {}, {}))
        if known.status is None:
            scores = {250: 1.0 + number, **({} if status is None else {4000: float(w1)})}
            known = replace(known, scores=scores, status=status)
        elif w1_final is not None and known.status == "completed":
            known = replace(known, final={"w1_final": float(w1_final), "w1_final_stderr": 0.1})
        trials[number] = known
        standing.update(number)
        for kept in (standing, results.Leaderboard(trials)):
            assert kept.best == results.best_of(trials.values())
            assert kept.leading(3) == results.ranked(trials.values())[:3]
            ended = Counter(t.status for t in trials.values() if t.status is not None)
            assert kept.counts == ended
            for rung in (250, 1000, 4000):
                there = [t.scores[rung] for t in trials.values() if rung in t.scores]
                assert kept.at_rung(rung) == (len(there), min(there, default=None))
