"""The command as a user runs it: searches on a real Ray, killed and resumed."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import searches
import torch
import yaml
from ray_cluster import Cluster

from trainables.config import NetworkConfig, TrialConfig
from trainables.networks import build_generator
from tuner.space.spec import read_spec
from tuner.study.study import Study

SPACE = """
name: small
networks: {generator_width: {choice: [16, 32]}, critic_width: 32}
training:
  gp_weight: {low: 1e-1, high: 1e2, log: true}
  n_critic: {low: 1, high: 2}
  critic_lr: {choice: [1e-3, 3e-3, 1e18]}
  generator_lr: {low: 1e-4, high: 1e-2, log: true}
objective: {critic_steps: 5, final_critic_steps: 300, final_cones: false, final_num_critics: 2}
search: {num_trials: 8, seed: 3}
asha: {grace_generator_steps: 20, max_generator_steps: 80, reduction_factor: 2}
reporting: {report_every_generator_steps: 10, checkpoint_every_generator_steps: 15}
"""
#: How often a search is broken off at random: ``TIMES_BROKEN=50 pytest ...`` looks harder.
TIMES_BROKEN = int(os.environ.get("TIMES_BROKEN", "3"))


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def _finals(run_dir: Path) -> int:
    """How many trials the final has scored so far, as the journal has them."""
    return (run_dir / "study.log").read_text().count('"finals"')


def test_a_search_with_two_workers_leaves_all_that_it_promises(space: Path) -> None:
    status, out, err = searches.run(space, "--runs-dir", "runs")
    assert status == 0, err
    assert err == ""
    run_dir = space.parent / "runs" / "small"
    command, charts = out.splitlines()[-2:]
    assert command.endswith(f"mlflow ui --backend-store-uri sqlite:///{run_dir.parent}/mlflow.db")
    assert charts.startswith("and open http://127.0.0.1:5000/#/experiments/")

    rows = searches.rows(run_dir)
    assert [row["trial_id"] for row in rows] == [f"{n:05d}" for n in range(8)]
    counts = Counter(row["status"] for row in rows)
    assert counts["completed"] >= 1
    assert counts["diverged"] >= 1, "a learning rate of 1e18 must diverge"
    assert counts["failed"] == counts["running"] == 0

    by_trial = {n: [r for r in searches.reports(run_dir) if r["trial"] == n] for n in range(8)}
    for row in rows:
        reports = by_trial[int(row["trial_id"])]
        scored = [r["generator_steps"] for r in reports if "w1" in r]
        assert scored == [20, 40, 80][: len(scored)]
        ends_at = float(row["generator_steps"])
        assert ends_at == reports[-1]["generator_steps"]
        if row["status"] == "completed":
            assert scored == [20, 40, 80]
        if row["status"] == "stopped":
            assert ends_at in (20, 40)
        floors = {r["w1_floor"] for r in reports if "w1" in r}
        assert len(floors) == (1 if scored else 0)
        assert all("w1_floor" not in r for r in reports if "w1" not in r)
        if row["status"] == "diverged":
            assert "w1" not in reports[-1]

    completed = sorted(
        (r for r in rows if r["status"] == "completed"), key=lambda r: float(r["w1"])
    )
    in_final = [r for r in rows if r["w1_final"]]
    assert {r["trial_id"] for r in in_final} == {r["trial_id"] for r in completed[:3]}
    assert all(float(r["w1_final_stderr"]) > 0 for r in in_final)
    best = min(in_final, key=lambda r: float(r["w1_final"]))
    said = f"best: trial {best['trial_id']}, w1 {float(best['w1_final']):.4g} +- "
    assert said in out
    assert f"report: {run_dir / 'report.html'}\n" in out
    assert searches.best_in_mlflow(run_dir.parent / "mlflow.db") == (
        best["trial_id"], float(best["w1_final"]),
    )  # fmt: skip
    config = TrialConfig.model_validate(yaml.safe_load((run_dir / "best.yaml").read_text()))
    assert config.seed == int(best["seed"])
    saved = torch.load(run_dir / "best" / "generator.pt", weights_only=True)
    generator = build_generator(NetworkConfig(**saved["networks"]), tuple(saved["sample_shape"]))
    generator.load_state_dict(saved["state_dict"])
    assert generator(torch.randn(3, config.networks.latent_dim)).shape == (3, 1, 8, 8)
    assert (run_dir / "best" / "samples.png").read_bytes().startswith(b"\x89PNG")

    runs = searches.mlflow_runs(run_dir.parent / "mlflow.db")
    assert runs["searches"] == [("small", "FINISHED")]
    ends = {"completed": "FINISHED", "stopped": "FINISHED", "diverged": "FAILED"}
    assert sorted(runs["trials"]) == [(f"small {r['trial_id']}", ends[r["status"]]) for r in rows]


def _damage_a_checkpoint(run_dir: Path) -> Path | None:
    """Cut the last checkpoint of a trial that has not ended in half, if there is one."""
    study = Study(run_dir / "study.log", read_spec(run_dir / "spec.yaml"))
    waiting = [t for t in study.trials() if t.status is None and len(t.checkpoints) == 2]
    if not waiting:
        return None
    folder = Path(waiting[0].checkpoints[0])
    os.truncate(folder / "state.pt", (folder / "state.pt").stat().st_size // 2)
    return folder


def _break_off(
    search: searches.Search, run_dir: Path, moment: random.Random, *, in_order: bool
) -> str:
    """Wait for a moment at random, in the start or after some reports, and end the driver there.

    By reports, not by time alone: on a fast machine the search would be over too soon.
    """
    num_reports = len(searches.reports(run_dir))
    if moment.random() < 0.4 and not in_order:
        until_s = time.monotonic() + moment.uniform(0.1, 4)
        searches.wait_until(
            search,
            lambda: time.monotonic() >= until_s or len(searches.reports(run_dir)) > num_reports,
        )
    else:
        searches.wait_for_reports(search, run_dir, num_reports + moment.randint(2, 5))
        time.sleep(moment.uniform(0, 0.2))
    assert not search.is_over(), search.said()
    how = moment.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
    if in_order:
        how = signal.SIGINT
    search.signal(how)
    status, out, err = search.ended(60)
    assert status != 0, ("the signal was lost", out, err)
    # A signal before the search has begun to listen for it ends the process as it would any.
    if how != signal.SIGKILL and status == 130 and "resume with" in out:
        assert err == ""
        assert out.splitlines()[-1].endswith("--resume")
        return "saved"
    return "killed"


@pytest.mark.timeout(900)
def test_broken_off_at_many_moments_and_resumed_ends_where_an_unbroken_search_does(
    space: Path, ray_cluster: Cluster
):
    """One worker and one seed: the same trials and the same numbers, however often broken.

    The driver is killed or interrupted at ``TIMES_BROKEN`` moments, and once more in the final; one
    checkpoint is truncated as well. The cluster stays; the unbroken search needs none.
    """
    num_trials = 3 * TIMES_BROKEN
    few = ("--set", "search.max_concurrent_trials=1", "--set", f"search.num_trials={num_trials}")
    unbroken = searches.start(space, *few, "--runs-dir", "unbroken", "--local")
    ray_cluster.add()
    joined = ("--address", ray_cluster.address, "--set", "resources.wait_for_nodes_s=60")
    options = (*few, *joined, "--runs-dir", "broken", "--resume")

    def start() -> searches.Search:
        return searches.start(space, *options, environment=ray_cluster.environment)

    run_dir, moment = space.parent / "broken" / "small", random.Random(11)
    ended, damaged = [], None
    while len(ended) < TIMES_BROKEN or damaged is None:
        assert len(ended) < 2 * TIMES_BROKEN
        ended.append(_break_off(start(), run_dir, moment, in_order=len(ended) == 1))
        if damaged is None and (run_dir / "study.log").exists():
            damaged = _damage_a_checkpoint(run_dir)
    assert {"killed", "saved"} == set(ended)
    assert damaged is not None
    assert unbroken.ended()[0::2] == (0, "")

    broken = start()  # and once more after the first of the final's scores
    searches.wait_until(broken, lambda: _finals(run_dir) >= 1)
    broken.signal(signal.SIGKILL)
    broken.ended()
    finals = _finals(run_dir)

    status, out, err = searches.run(space, *options, environment=ray_cluster.environment)
    assert (status, err) == (0, "")
    assert f"{damaged.name} is damaged" in (run_dir / "search.log").read_text()
    assert _finals(run_dir) == sum(bool(r["w1_final"]) for r in searches.rows(run_dir)) > finals
    assert (run_dir / "study.log").read_text().count('"floor"') == 1
    assert searches.best_in_mlflow(run_dir.parent / "mlflow.db")[0] in out
    expected = searches.rows(space.parent / "unbroken" / "small")
    assert searches.without_times(searches.rows(run_dir)) == searches.without_times(expected)
    assert searches.best(run_dir) == searches.best(space.parent / "unbroken" / "small")
    runs = searches.mlflow_runs(run_dir.parent / "mlflow.db")
    assert runs["searches"] == [("small", "FINISHED")]
    assert len(runs["trials"]) == len({name for name, _ in runs["trials"]}) == num_trials
    assert {status for _, status in runs["trials"]} <= {"FINISHED", "FAILED"}
