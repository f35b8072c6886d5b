from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import NetworkConfig, TrialConfig
from trainables.data import Data, load
from trainables.networks import build_generator
from trainables.trial import Report, Schedule, check, run

CPU = torch.device("cpu")
SCHEDULE = Schedule(
    rungs=(12, 24), report_every_generator_steps=5, checkpoint_every_generator_steps=8
)
TIMES = ("seconds", "generator_steps_per_s")


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
    steps = schedule.report_at()
    assert steps == sorted(set(steps))
    assert steps[-1] == max(rungs)
    assert rungs <= set(steps)
    assert set(range(every, max(rungs), every)) <= set(steps)
    saved = {step for step in steps if schedule.saves_at(step)}
    assert saved == rungs | set(range(saves, max(rungs), saves))


def test_scores_come_at_rungs_and_only_there(data: Data) -> None:
    reports = list(run(_config(), data, SCHEDULE, CPU))
    assert [r.metrics["generator_steps"] for r in reports] == [5, 8, 10, 12, 15, 16, 20, 24]
    assert [r.metrics["generator_steps"] for r in reports if "w1" in r.metrics] == [12, 24]
    assert [r.metrics["generator_steps"] for r in reports if r.save] == [8, 12, 16, 24]
    assert all(type(v) is float for r in reports for v in r.metrics.values())


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
    at_rung = broken_at in SCHEDULE.rungs  # then that rung's report is said again
    expected = [
        r
        for r in unbroken
        if r.metrics["generator_steps"] > broken_at
        or (at_rung and r.metrics["generator_steps"] == broken_at)
    ]
    assert _numbers(resumed) == _numbers(expected)


def test_a_trial_saved_at_its_last_rung_says_its_score_again_and_ends(
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


def test_a_trial_never_reads_the_held_out_parts_but_to_be_scored(data: Data) -> None:
    """Other held-out data changes the scores and nothing else."""
    other = Data(data.train, data.fit[::-1] * 0.5, data.read * 0.5, data.final * 0.5)
    results = [_numbers(list(run(_config(), d, SCHEDULE, CPU))) for d in (data, other)]
    scored = ("w1", "w1_stderr", "w1_train", "independent_critic_lipschitz")
    scores = [[r["w1"] for r in reports if "w1" in r] for reports in results]
    rest = [[{k: v for k, v in r.items() if k not in scored} for r in rs] for rs in results]
    assert rest[0] == rest[1]
    assert scores[0] != scores[1]


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


def test_check_passes_what_fits(data: Data) -> None:
    check(_config(), data)


def test_check_says_which_shape_is_wrong(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.training.build_generator", lambda *_: torch.nn.Linear(32, 5))
    monkeypatch.setattr(
        "trainables.training.build_critic", lambda *_: torch.nn.Sequential(torch.nn.Linear(5, 1))
    )
    with pytest.raises(ValueError, match=r"must give \[batch, \(1, 8, 8\)\] .* got \(2, 5\)"):
        check(_config(), data)
