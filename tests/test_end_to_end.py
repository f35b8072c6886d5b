"""The command as a user runs it: searches on a real Ray, killed and resumed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

from trainables.config import NetworkConfig, TrialConfig
from trainables.networks import build_generator

SPACE = """
name: small
networks: {generator_width: {choice: [16, 32]}, critic_width: 32}
training:
  gp_weight: {low: 1e-1, high: 1e2, log: true}
  n_critic: {low: 1, high: 2}
  critic_lr: {choice: [1e-3, 3e-3, 1e18]}
  generator_lr: {low: 1e-4, high: 1e-2, log: true}
objective: {critic_steps: 5, final_critic_steps: 300, final_num_critics: 2}
search: {num_trials: 8, seed: 3}
asha: {grace_generator_steps: 20, max_generator_steps: 80, reduction_factor: 2}
reporting: {report_every_generator_steps: 10, checkpoint_every_generator_steps: 15}
"""
#: Columns that hold wall time, the only ones that may differ between two equal searches.
TIMES = {"training_seconds", "scoring_seconds", "final_scoring_seconds"}


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def _start(space: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tuner.search", str(space), *options],
        cwd=space.parent,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"COLUMNS": "200"},
    )


def _run(space: Path, *options: str) -> tuple[int, str, str]:
    process = _start(space, *options)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def _rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _without_times(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def _reports(run_dir: Path) -> list[dict[str, float]]:
    path = run_dir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _wait_for_reports(process: subprocess.Popen[str], run_dir: Path, count: int) -> None:
    while len(_reports(run_dir)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def _finals(run_dir: Path) -> int:
    """How many trials the final has scored so far, as the journal has them."""
    return (run_dir / "study.log").read_text().count('"finals"')


def _best_in_mlflow(database: Path) -> tuple[str, float]:
    """The trial that the one search of a database chose, and its score by the final."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    (search,) = (r for r in client.search_runs(experiments) if "best_trial" in r.data.tags)
    best = search.data.tags["best_trial"]
    (trial,) = (
        r for r in client.search_runs(experiments) if r.data.tags.get("tuner.trial_id") == best
    )
    (once,) = client.get_metric_history(trial.info.run_id, "w1_final")
    assert once.value == search.data.metrics["best_w1_final"]
    return best, once.value


def _mlflow_runs(database: Path) -> dict[str, list[tuple[str, str]]]:
    """(name, status) of the runs in a database: the searches' and the trials'."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs: dict[str, list[tuple[str, str]]] = {"searches": [], "trials": []}
    for run in client.search_runs(experiments):
        kind = "trials" if "mlflow.parentRunId" in run.data.tags else "searches"
        runs[kind].append((str(run.info.run_name), run.info.status))
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "generator_steps")]
        assert len(steps) == len(set(steps)), "a report was logged twice"
    return runs


def test_a_search_with_two_workers_leaves_all_that_it_promises(space: Path) -> None:
    status, out, err = _run(space, "--runs-dir", "runs")
    assert status == 0, err
    assert err == ""
    run_dir = space.parent / "runs" / "small"
    assert out.splitlines()[-1].endswith(
        f"mlflow ui --backend-store-uri sqlite:///{run_dir.parent}/mlflow.db"
    )

    rows = _rows(run_dir)
    assert [row["trial_id"] for row in rows] == [f"{n:05d}" for n in range(8)]
    counts = Counter(row["status"] for row in rows)
    assert counts["completed"] >= 1
    assert counts["diverged"] >= 1, "a learning rate of 1e18 must diverge"
    assert counts["failed"] == counts["running"] == 0

    by_trial = {n: [r for r in _reports(run_dir) if r["trial"] == n] for n in range(8)}
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
    assert _best_in_mlflow(run_dir.parent / "mlflow.db") == (
        best["trial_id"], float(best["w1_final"]),
    )  # fmt: skip
    config = TrialConfig.model_validate(yaml.safe_load((run_dir / "best.yaml").read_text()))
    assert config.seed == int(best["seed"])
    saved = torch.load(run_dir / "best" / "generator.pt", weights_only=True)
    generator = build_generator(NetworkConfig(**saved["networks"]), tuple(saved["sample_shape"]))
    generator.load_state_dict(saved["state_dict"])
    assert generator(torch.randn(3, config.networks.latent_dim)).shape == (3, 1, 8, 8)
    assert (run_dir / "best" / "samples.png").read_bytes().startswith(b"\x89PNG")

    runs = _mlflow_runs(run_dir.parent / "mlflow.db")
    assert runs["searches"] == [("small", "FINISHED")]
    ends = {"completed": "FINISHED", "stopped": "FINISHED", "diverged": "FAILED"}
    assert sorted(runs["trials"]) == [(f"small {r['trial_id']}", ends[r["status"]]) for r in rows]


def test_killed_or_interrupted_and_resumed_ends_where_an_unbroken_search_does(space: Path) -> None:
    """One worker and one seed: the same trials and the same numbers, however often broken."""
    one = ("--set", "search.max_concurrent_trials=1", "--runs-dir")
    unbroken = _start(space, *one, "unbroken")
    broken = _start(space, *one, "broken")
    run_dir = space.parent / "broken" / "small"
    _wait_for_reports(broken, run_dir, 14)
    os.kill(broken.pid, signal.SIGKILL)
    broken.communicate()
    out, err = unbroken.communicate(timeout=200)
    assert unbroken.returncode == 0, err

    broken = _start(space, *one, "broken", "--resume")
    _wait_for_reports(broken, run_dir, 28)
    broken.send_signal(signal.SIGINT)
    out, err = broken.communicate(timeout=60)
    assert (broken.returncode, err) == (130, "")
    assert "--runs-dir broken --resume" in out.splitlines()[-1]
    statuses = dict(_mlflow_runs(run_dir.parent / "mlflow.db")["searches"])
    assert statuses == {"small": "KILLED"}

    broken = _start(space, *one, "broken", "--resume")
    while _finals(run_dir) < 1:  # and once more after the first of the final's scores
        assert broken.poll() is None, broken.communicate()
        time.sleep(0.02)
    os.kill(broken.pid, signal.SIGKILL)
    broken.communicate()
    finals = _finals(run_dir)

    status, out, err = _run(space, *one, "broken", "--resume")
    assert status == 0, err
    assert _finals(run_dir) == sum(bool(r["w1_final"]) for r in _rows(run_dir)) > finals
    assert (run_dir / "study.log").read_text().count('"floor"') == 1
    assert _best_in_mlflow(run_dir.parent / "mlflow.db")[0] in out
    expected = _rows(space.parent / "unbroken" / "small")
    assert _without_times(_rows(run_dir)) == _without_times(expected)
    best = [(space.parent / d / "small" / "best.yaml").read_text() for d in ("broken", "unbroken")]
    assert best[0] == best[1]
    runs = _mlflow_runs(run_dir.parent / "mlflow.db")
    assert runs["searches"] == [("small", "FINISHED")]
    assert len(runs["trials"]) == len({name for name, _ in runs["trials"]}) == 8
    assert {status for _, status in runs["trials"]} <= {"FINISHED", "FAILED"}
