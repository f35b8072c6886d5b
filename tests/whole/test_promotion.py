"""A search on Ray whose trials wait at rungs: killed and resumed, it promotes as if it was not."""

import signal
from pathlib import Path

import promotions
import searches

from tuner.results import read_snapshot

SPACE = """
name: promoted
data: {dataset: eight_gaussians}
networks: {critic_width: 16, generator_width: {choice: [16, 32]}, latent_dim: 4}
training: {batch_size: 16, n_critic: 1, critic_lr: {low: 1e-5, high: 1e-1, log: true}}
objective: {critic_steps: 5, final_trials: 1,
  final_critic_steps: 5, final_cones: false, final_num_critics: 1}
search: {num_trials: 7, sampler: random, max_concurrent_trials: 1, seed: 2}
asha: {grace_generator_steps: 5, max_generator_steps: 20, reduction_factor: 2, variant: promotion}
"""


def test_a_search_on_ray_that_is_killed_promotes_the_trials_that_waited(tmp_path: Path) -> None:
    space, run_dir = tmp_path / "space.yaml", tmp_path / "runs" / "promoted"
    space.write_text(SPACE)
    search = searches.start(space)
    searches.wait_for_reports(search, run_dir, 4)
    search.signal(signal.SIGKILL)
    search.ended()
    waiting = {t.number: t.waiting_at for t in read_snapshot(run_dir).trials if t.waiting_at}
    assert waiting[1] == 10  # which waits there for nine reports

    status, out, err = searches.run(space, "--resume")
    assert (status, err) == (0, "")
    assert " waits at generator step 5, w1 " in out
    reports = promotions.rung_reports(run_dir)
    assert [(number, rung) for number, rung, _ in reports] == promotions.by_algorithm_2(reports, 7)
    at_20 = {number for number, rung, _ in reports if rung == 20}
    assert 1 in at_20

    ends = {number: rung for number, rung, _ in sorted(reports, key=lambda report: report[1])}
    rows = searches.rows(run_dir)
    assert [int(row["generator_steps"]) for row in rows] == [ends[number] for number in range(7)]
    statuses = ["completed" if number in at_20 else "stopped" for number in range(7)]
    assert [row["status"] for row in rows] == statuses
    runs = searches.mlflow_runs(run_dir.parent / "mlflow.db")
    assert {state for ended in runs.values() for _, state in ended} == {"FINISHED"}
    # Every checkpoint that is recorded is there, and no other.
    trials = read_snapshot(run_dir).trials
    kept = {path for t in trials for path in (*t.checkpoints, *t.generators.values())}
    assert {str(path) for path in (run_dir / "ray").glob("*/*/checkpoint_*")} == kept
