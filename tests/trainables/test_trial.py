import itertools
import math
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import DataConfig, NetworkConfig, ObjectiveConfig, TrialConfig
from trainables.data import Data, as_floats, as_tensor, load
from trainables.networks import build_generator
from trainables.objective import score
from trainables.training import TrainState, train
from trainables.trial import (
    Finalist,
    Report,
    Schedule,
    final_floor,
    floor,
    generator_file,
    load_generator,
    run,
)

CPU = torch.device("cpu")
SCHEDULE = Schedule(
    rungs=(12, 24), report_every_generator_steps=5, checkpoint_every_generator_steps=8
)
TIMES = ("seconds", "generator_steps_per_s")
SCORED = ("w1", "w1_stderr", "w1_train", "independent_critic_lipschitz")


@pytest.fixture(scope="module")
def data() -> Data:
    return load(TrialConfig().data)


def _config(**training: object) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "networks": {"generator_width": 16, "critic_width": 16},
            "training": {"n_critic": 2, "batch_size": 16, **training},
            "objective": {"critic_steps": 4},
            "seed": 7,
        }
    )


def _nan(part: np.ndarray) -> np.ndarray:
    return np.full_like(part, np.nan)


def _numbers(reports: Sequence[Report]) -> list[dict[str, float]]:
    return [{k: v for k, v in r.metrics.items() if not k.endswith(TIMES)} for r in reports]


@given(
    rungs=st.sets(st.integers(1, 500), min_size=1, max_size=5),
    every=st.integers(1, 200),
    saves=st.integers(1, 200),
)
def test_a_trial_reports_at_every_rung_and_never_past_the_last(
    rungs: set[int], every: int, saves: int
) -> None:
    schedule = Schedule(
        rungs=tuple(sorted(rungs)),
        report_every_generator_steps=every,
        checkpoint_every_generator_steps=saves,
    )
    steps = list(schedule.report_at())
    assert steps == sorted(set(steps))
    assert list(schedule.report_at(steps[0])) == steps[1:]
    assert steps[-1] == max(rungs)
    assert rungs <= set(steps)
    assert set(range(every, max(rungs), every)) <= set(steps)
    saved = {step for step in steps if schedule.saves_at(step)}
    assert saved == rungs | set(range(saves, max(rungs), saves))


def test_the_steps_of_the_longest_trial_are_counted_one_by_one() -> None:
    schedule = Schedule(
        rungs=(10**9,), report_every_generator_steps=1, checkpoint_every_generator_steps=1
    )
    assert list(itertools.islice(schedule.report_at(), 3)) == [1, 2, 3]
    assert list(schedule.report_at(10**9 - 1)) == [10**9]


def test_only_reports_at_rungs_have_scores(data: Data) -> None:
    reports = list(run(_config(), data, SCHEDULE, CPU))
    assert [r.metrics["generator_steps"] for r in reports] == [5, 8, 10, 12, 15, 16, 20, 24]
    assert [r.metrics["generator_steps"] for r in reports if "w1" in r.metrics] == [12, 24]
    assert [r.metrics["generator_steps"] for r in reports if r.save] == [8, 12, 16, 24]
    assert all(type(v) is float for r in reports for v in r.metrics.values())


def test_custom_metrics_are_measured_at_rungs_if_requested_and_change_nothing(data: Data) -> None:
    reports = {}
    for at_rungs in (False, True):
        custom = {"metrics": "custom_metrics:Noisy", "metrics_at_rungs": at_rungs}
        objective = ObjectiveConfig.model_validate({"critic_steps": 4} | custom)
        config = _config().model_copy(update={"objective": objective})
        reports[at_rungs] = _numbers(list(run(config, data, SCHEDULE, CPU)))
    at = [r["generator_steps"] for r in reports[True] if "metrics/noise" in r]
    assert at == [12, 24]
    assert [
        {name: value for name, value in r.items() if name != "metrics/noise"} for r in reports[True]
    ] == reports[False]


@pytest.mark.parametrize(("reports", "saves"), [(1, 24), (24, 1), (7, 9)])
def test_what_a_trial_scores_depends_on_no_report_or_checkpoint_in_between(
    data: Data, reports: int, saves: int
) -> None:
    """So that a resume may change how often there is one."""
    other = Schedule(
        rungs=SCHEDULE.rungs,
        report_every_generator_steps=reports,
        checkpoint_every_generator_steps=saves,
    )
    scores = [
        [{key: r.metrics[key] for key in SCORED} for r in run(_config(), data, schedule, CPU)
         if "w1" in r.metrics]
        for schedule in (SCHEDULE, other)
    ]  # fmt: skip
    assert len(scores[0]) == 2
    assert scores[0] == scores[1]


@pytest.mark.parametrize("constraint", ["gradient_penalty", "clip"])
@pytest.mark.parametrize("broken_at", [8, 12, 16])
def test_a_trial_resumed_from_any_checkpoint_gives_the_same_reports(
    data: Data, tmp_path: Path, constraint: str, broken_at: int
) -> None:
    """To the bit, on the CPU: weights, both optimisers, random generators and counters are kept."""
    config = _config(constraint=constraint)
    unbroken = []
    for report in run(config, data, SCHEDULE, CPU):
        unbroken.append(report)
        if report.metrics["generator_steps"] == broken_at:
            assert report.save is not None
            report.save(tmp_path)
    resumed = list(run(config, data, SCHEDULE, CPU, checkpoint=tmp_path))
    at_rung = broken_at in SCHEDULE.rungs  # then the report of that rung is yielded again
    expected = [
        r
        for r in unbroken
        if r.metrics["generator_steps"] > broken_at
        or (at_rung and r.metrics["generator_steps"] == broken_at)
    ]
    assert _numbers(resumed) == _numbers(expected)


def test_a_trial_saved_at_its_last_rung_reports_its_score_again_and_ends(
    data: Data, tmp_path: Path
) -> None:
    *_, last = run(_config(), data, SCHEDULE, CPU)
    assert last.save is not None
    last.save(tmp_path)
    (again,) = run(_config(), data, SCHEDULE, CPU, checkpoint=tmp_path)
    assert again.metrics == last.metrics


def test_a_diverged_trial_ends_without_a_score_or_a_checkpoint(data: Data) -> None:
    *before, last = run(_config(critic_lr=1e18), data, SCHEDULE, CPU)
    assert last.metrics["diverged"] == 1.0
    assert last.metrics["generator_steps"] < 24
    assert "w1" not in last.metrics
    assert last.save is None
    assert all(r.metrics["diverged"] == 0.0 for r in before)


def test_the_held_out_parts_are_used_only_for_the_scores(data: Data) -> None:
    """Other held-out data changes the scores and nothing else."""
    halves = (data.critic_train[::-1] * 0.5, data.critic_eval * 0.5, data.final * 0.5)
    other = Data(data.train, *halves)
    results = [_numbers(list(run(_config(), d, SCHEDULE, CPU))) for d in (data, other)]
    scores = [[r["w1"] for r in reports if "w1" in r] for reports in results]
    rest = [[{k: v for k, v in r.items() if k not in SCORED} for r in rs] for rs in results]
    assert rest[0] == rest[1]
    assert scores[0] != scores[1]


def test_the_held_out_parts_do_not_affect_the_training(data: Data) -> None:
    """NaN spreads through every computation: here only into the score of the first rung."""
    held_out = ("critic_train", "critic_eval", "final")
    poisoned = replace(data, **{part: _nan(getattr(data, part)) for part in held_out})
    expected = _numbers(list(run(_config(), data, SCHEDULE, CPU)))
    *before, at_rung = _numbers(list(run(_config(), poisoned, SCHEDULE, CPU)))
    assert before == expected[: len(before)]
    assert at_rung["diverged"] == 1.0
    spoiled = (*SCORED, "diverged")
    rest = [{k: v for k, v in r.items() if k not in spoiled} for r in (at_rung, expected[3])]
    assert rest[0] == rest[1]


def test_no_rung_uses_the_part_for_the_final(data: Data) -> None:
    poisoned = replace(data, final=_nan(data.final))
    assert _numbers(list(run(_config(), poisoned, SCHEDULE, CPU))) == _numbers(
        list(run(_config(), data, SCHEDULE, CPU))
    )


def test_reports_have_the_scoring_time_of_all_rungs_and_rungs_their_own(data: Data) -> None:
    reports = [r.metrics for r in run(_config(), data, SCHEDULE, CPU)]
    at_rungs = [r["rung_scoring_seconds"] for r in reports if "w1" in r]
    assert sum("rung_scoring_seconds" in r for r in reports) == len(at_rungs) == 2
    assert reports[-1]["scoring_seconds"] == pytest.approx(sum(at_rungs))
    assert reports[0]["scoring_seconds"] == 0.0


def test_the_trials_critic_and_training_do_not_affect_the_score_of_its_generator(
    data: Data,
) -> None:
    """Generators of equal weights have the same scores next to any critic.

    A learning rate of 1e-30 moves no float32 weight, so the generators stay as the seed made them.
    """
    others = [
        ({}, {}),
        ({"constraint": "clip", "clip_value": 0.5}, {}),
        ({"constraint": "one_sided_penalty", "gp_weight": 0.1}, {"critic_width": 64}),
        ({"critic_lr": 1e-1, "n_critic": 3, "batch_size": 7}, {"critic_depth": 1}),
        ({"loss": "minimax", "instance_noise": 0.5}, {}),
    ]
    scores, estimates = [], set()
    for training, networks in others:
        config = _config(generator_lr=1e-30, **training)
        changed = config.networks.model_copy(update=networks)
        reports = run(config.model_copy(update={"networks": changed}), data, SCHEDULE, CPU)
        at_rungs = [r.metrics for r in reports if "w1" in r.metrics]
        scores.append([[r[key] for key in SCORED] for r in at_rungs])
        estimates.add(at_rungs[-1]["critic_estimate"])
    assert scores == [scores[0]] * len(others)
    assert len(estimates) == len(others)
    assert scores[0][0] == scores[0][1]  # and no rung's score depends on when it was taken


# --- The floor and the final -------------------------------------------------------------------

FINAL = ObjectiveConfig(final_critic_steps=40, final_num_critics=2)


def test_the_floor_of_alike_parts_is_near_zero_and_of_shifted_ones_the_shift() -> None:
    """W1 of two point clouds that a shift carries into one another is the shift's length."""
    points = load(DataConfig(dataset="twenty_five_gaussians"))
    alike = floor(points, ObjectiveConfig())
    assert abs(alike.w1) < 4 * alike.w1_stderr + 0.01
    shift = np.array([3.0, 4.0], np.float32)
    shifted = floor(replace(points, train=points.train + shift), ObjectiveConfig())
    assert shifted.w1 == pytest.approx(5.0, rel=0.02)


def test_the_floor_is_repeatable_and_does_not_use_the_part_for_the_final(data: Data) -> None:
    objective = ObjectiveConfig(critic_steps=10)
    poisoned = replace(data, final=_nan(data.final))
    assert floor(data, objective) == floor(poisoned, objective)


def test_of_new_real_samples_the_final_finds_no_distance_and_of_few_copies_it_does() -> None:
    points = np.random.default_rng(0).standard_normal((1600, 16), np.float32)
    parts = Data(points[:600], points[600:1000], points[1000:1200], points[1200:])
    objective = ObjectiveConfig(final_critic_steps=100)
    new = final_floor(parts, objective, CPU)
    assert abs(new.w1) < 3 * new.w1_stderr
    few = replace(parts, train=np.repeat(parts.train[:60], 10, axis=0))
    copies = final_floor(few, objective, CPU)
    assert copies.w1 > 0.5


@pytest.fixture(scope="module")
def generator_path(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    *_, last = run(_config(), data, SCHEDULE, CPU)
    folder = tmp_path_factory.mktemp("generator")
    assert last.save is not None
    last.save(folder)
    return folder / "generator.pt"


def test_the_final_uses_all_held_out_parts_and_no_training_data(
    data: Data, generator_path: Path
) -> None:
    score_of_all = Finalist.load(generator_path, CPU).score(data, FINAL)
    assert score_of_all.w1 > 0
    without_train = replace(data, train=_nan(data.train))
    assert Finalist.load(generator_path, CPU).score(without_train, FINAL) == score_of_all
    for part in ("critic_train", "critic_eval", "final"):
        moved = replace(data, **{part: getattr(data, part) * 0.5})
        assert Finalist.load(generator_path, CPU).score(moved, FINAL).w1 != score_of_all.w1


def test_the_final_of_a_generator_that_is_not_finite_is_nan(
    data: Data, generator_path: Path, tmp_path: Path
) -> None:
    saved = torch.load(generator_path, weights_only=True)
    next(iter(saved["state_dict"].values())).fill_(math.nan)
    torch.save(saved, tmp_path / "generator.pt")
    assert math.isnan(Finalist.load(tmp_path / "generator.pt", CPU).score(data, FINAL).w1)


def test_a_trial_on_a_table_saves_its_scale_and_is_scored_in_scaled_units(tmp_path: Path) -> None:
    """The final compares scaled samples with scaled data, so that units change nothing."""
    table = np.random.default_rng(0).standard_normal((1000, 2))
    scores = []
    for unit in (1.0, 2.0**30):
        folder = tmp_path / str(unit)
        folder.mkdir()
        np.save(folder / "table.npy", table * [1.0, unit])
        config = DataConfig(dataset="array", path=str(folder / "table.npy"))
        data = load(config)
        *_, last = run(_config(), data, SCHEDULE, CPU)
        assert last.save is not None
        last.save(folder)
        scores.append(
            (last.metrics["w1"], Finalist.load(folder / "generator.pt", CPU).score(data, FINAL))
        )
        generator, latent_dim = load_generator(folder / "generator.pt", CPU)
        spread = generator(torch.randn(100, latent_dim)).std(0)
        assert 0.01 < spread[1] / spread[0] / unit < 100
    assert scores[0] == scores[1]


def test_the_generator_file_rebuilds_the_generator(data: Data, tmp_path: Path) -> None:
    *_, last = run(_config(), data, SCHEDULE, CPU)
    assert last.save is not None
    last.save(tmp_path)
    saved = torch.load(tmp_path / "generator.pt", weights_only=True)
    state = torch.load(tmp_path / "state.pt", weights_only=True)["state"]["generator"]
    generator = build_generator(NetworkConfig(**saved["networks"]), tuple(saved["sample_shape"]))
    generator.load_state_dict(saved["state_dict"])
    for name, weight in generator.state_dict().items():
        torch.testing.assert_close(weight, state[name], rtol=0, atol=0)
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_a_generator_with_virtual_batch_norm_gives_the_same_samples_when_it_is_loaded(
    tmp_path: Path,
) -> None:
    """For its reference batch is in the file; whatever other samples are in the batch."""
    networks = {"architecture": "dcgan", "generator_norm": "virtual", "latent_dim": 3}
    widths = {"generator_width": 4, "critic_width": 4}
    training = {"loss": "non_saturating", "batch_size": 4, "ema_decay": 0.5}
    config = TrialConfig.model_validate({"networks": networks | widths, "training": training})
    state = TrainState.create(config, (1, 8, 8))
    list(train(state, config.training, torch.linspace(-1, 1, 20 * 64).view(20, 1, 8, 8), [3]))
    torch.save(generator_file(state, config, (1, 8, 8)), tmp_path / "generator.pt")
    generator, latent_dim = load_generator(tmp_path / "generator.pt", CPU)
    latents = torch.randn(6, latent_dim)
    assert torch.equal(generator(latents), state.scored(latents))
    torch.testing.assert_close(generator(latents[2:3])[0], state.scored(latents)[2])


def test_with_ema_decay_the_average_is_scored_and_saved(data: Data, tmp_path: Path) -> None:
    """The saved weights differ from the generator's, and give the score of the rung."""
    config = _config(ema_decay=0.9)
    *_, last = run(config, data, SCHEDULE, CPU)
    assert last.save is not None
    last.save(tmp_path)
    generator, latent_dim = load_generator(tmp_path / "generator.pt", CPU)
    trained = torch.load(tmp_path / "state.pt", weights_only=True)["state"]["generator"]
    weights = generator.state_dict()
    assert not all(torch.equal(weights[name], weight) for name, weight in trained.items())
    parts = as_tensor(data.critic_train), as_tensor(data.critic_eval)
    scored = score(generator, latent_dim, *parts, config.objective.rung)
    assert scored.w1 == last.metrics["w1"]


# --- Data that are kept as bytes ---------------------------------------------------------------


@pytest.fixture(scope="module")
def of_bytes() -> tuple[Data, Data]:
    """The same images as bytes and as floats, read-only."""
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 256, (num, 3, 8, 8), np.uint8) for num in (300, 100, 60, 60)]
    for part in parts:
        part.flags.writeable = False
    return Data(*parts), Data(*(as_floats(as_tensor(part)).numpy() for part in parts))


def test_bytes_train_and_score_as_their_floats_do(
    of_bytes: tuple[Data, Data], tmp_path: Path
) -> None:
    """To the bit: in training, at the rungs, in the floor, in the final and in the picture."""
    results = []
    for data in of_bytes:
        reports = list(run(_config(), data, SCHEDULE, CPU))
        assert reports[-1].save is not None
        reports[-1].save(tmp_path)
        final = Finalist.load(tmp_path / "generator.pt", CPU).score(data, FINAL)
        picture = (tmp_path / "samples.png").read_bytes()
        results.append((_numbers(reports), floor(data, FINAL), final, picture))
    assert results[0] == results[1]


FAULTS = """
import resource, torch
from trainables.trial import start_worker
start_worker(1, use_gpu=False)
for step in range(13):
    if step == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layers = [torch.ones(2**21) for _ in range(3)]
    joined = torch.cat(layers)
    del layers
    doubled = joined * 2
    del joined, doubled
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_the_tensors_of_a_step_reuse_the_memory_of_the_last_step() -> None:
    """By default glibc lets the kernel clear 16,352 pages, 64 MiB, at each of these steps."""
    command = [sys.executable, "-c", FAULTS]
    faults = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert faults < 10 * 16352 / 4
