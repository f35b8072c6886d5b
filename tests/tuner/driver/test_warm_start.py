"""A search that begins with an earlier one's best trials."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tuner.driver import warm_start
from tuner.errors import BadInput
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]

TABLE = """\
trial_id,status,generator_steps,w1,w1_final,constraint,critic_lr,gp_weight,n_critic,message
00000,completed,4000,0.9,,gradient_penalty,0.0001,10.0,5,
00001,stopped,250,0.1,,gradient_penalty,0.0002,10.0,5,
00002,completed,4000,0.5,0.7,gradient_penalty,0.0003,200.0,2,
00003,completed,4000,0.4,0.8,clip,0.0004,,3,
00004,completed,4000,0.8,,gradient_penalty,0.0001,10.0,5,
"""
TRAINING = {
    "constraint": {"choice": ["gradient_penalty", "clip"]},
    "critic_lr": {"low": 1e-5, "high": 1e-2, "log": True},
    "generator_lr": 1e-4,
    "optimizer": "adam",
    "gp_weight": {"low": 0.1, "high": 100, "log": True},
}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "trials.csv").write_text(TABLE)
    return tmp_path


def test_the_best_completed_trials_come_first_the_finals_before_the_rungs(
    run_dir: Path, make_spec: MakeSpec
):
    """Values outside the new ranges are left to the sampler; equal points are one."""
    search = make_spec(training=TRAINING)
    assert warm_start.best_points(run_dir, dict(search)) == [
        {"training": {"constraint": "gradient_penalty", "critic_lr": 3e-4}},
        {"training": {"constraint": "clip", "critic_lr": 4e-4}},
        {"training": {"constraint": "gradient_penalty", "critic_lr": 1e-4, "gp_weight": 10.0}},
    ]


def test_at_most_so_many(run_dir: Path, make_spec: MakeSpec):
    rows = [f"{i:05d},completed,4000,{i},,clip,{(i + 1) * 1e-4},,5," for i in range(20)]
    (run_dir / "trials.csv").write_text("\n".join([TABLE.splitlines()[0], *rows]) + "\n")
    found = warm_start.best_points(run_dir, dict(make_spec(training=TRAINING)))
    assert [point["training"]["critic_lr"] for point in found] == [
        pytest.approx((i + 1) * 1e-4) for i in range(warm_start.NUM_POINTS)
    ]


def test_they_fit_the_search_that_they_are_for(run_dir: Path, make_spec: MakeSpec):
    points = warm_start.best_points(run_dir, dict(make_spec(training=TRAINING)))
    search = make_spec(training=TRAINING, initial_points=points)
    assert len(search.first_points) == 3


@pytest.mark.parametrize(
    ("table", "training", "what"),
    [
        (None, TRAINING, r"trials\.csv cannot be read \(No such file or directory\): give the"),
        (
            "nonsense\n1\n",
            TRAINING,
            r"trials\.csv cannot be read \(it has no column trial_id, status",
        ),
        (TABLE.replace("completed", "stopped"), TRAINING, "has no completed trial to start from"),
        (TABLE, {"beta1": {"low": 0.1, "high": 0.5}}, "no trial with a value in a range of this"),
    ],
)
def test_where_there_is_nothing_to_take_over_it_is_refused(
    run_dir: Path, make_spec: MakeSpec, table: str | None, training: dict, what: str
):
    if table is None:
        (run_dir / "trials.csv").unlink()
    else:
        (run_dir / "trials.csv").write_text(table)
    with pytest.raises(BadInput, match=what):
        warm_start.best_points(run_dir, dict(make_spec(training=training)))
