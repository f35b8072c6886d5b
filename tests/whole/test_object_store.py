"""A search whose checkpoints are in an object store: a real S3 server, on loopback."""

import shutil
import signal
from pathlib import Path

import s3
import searches

SPACE = """
name: stored
networks: {generator_width: {choice: [16, 32]}, critic_width: 32}
training: {n_critic: 1, critic_lr: {low: 1e-4, high: 1e-2, log: true}}
objective: {critic_steps: 5, final_trials: 2,
  final_critic_steps: 20, final_cones: false, final_num_critics: 2}
search: {num_trials: 3, sampler: random, max_concurrent_trials: 1}
asha: {grace_generator_steps: 20, max_generator_steps: 80, reduction_factor: 2}
reporting: {report_every_generator_steps: 10, checkpoint_every_generator_steps: 15}
"""


def test_who_loses_the_machine_goes_on_from_the_storage_alone(tmp_path: Path):
    """It began in one process, and goes on where Ray is: both write to the storage."""
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    with s3.serving() as server:
        stored = ("--set", f"results.storage={server.uri()}")
        environment = server.environment
        first = searches.start(
            space, *stored, "--runs-dir", "lost", "--local", environment=environment
        )
        searches.wait_for_reports(first, tmp_path / "lost" / "stored", 12)
        first.signal(signal.SIGTERM)
        status, out, err = first.ended(100)
        assert (status, err) == (130, "")
        trials = len(searches.rows(tmp_path / "lost" / "stored"))
        shutil.rmtree(tmp_path / "lost")
        status, said, err = searches.run(
            space, *stored, "--runs-dir", "other", environment=environment
        )
        assert status == 2
        assert "already holds a search: add --resume to resume it" in err

        status, said, err = searches.run(
            space, *stored, "--runs-dir", "other", "--resume", environment=environment
        )
        assert (status, err) == (0, "")
        assert "fetching the search from there" in said
        kept = {name.rpartition("/")[2] for name in server.objects() if "/ray/" not in name}
        assert {"spec.yaml", "study.log", "trials.csv", "best.yaml", "generator.pt"} <= kept
        assert "driver.json" not in kept
        checkpoints = {n.split("/ray/")[1] for n in server.objects() if n.endswith("state.pt")}
    status, _, err = searches.run(space, "--runs-dir", "unbroken", "--local")
    assert (status, err) == (0, "")

    run_dir = tmp_path / "other" / "stored"
    unbroken = searches.rows(tmp_path / "unbroken" / "stored")
    assert searches.without_times(searches.rows(run_dir)) == searches.without_times(unbroken)
    assert trials > 1, "it went on where the first one stopped"
    assert not (run_dir / "ray").exists()
    # The last two of each trial, and at an end what was about to be removed; of 6 or more each.
    assert 3 <= len(checkpoints) <= 9
    secret = environment["AWS_SECRET_ACCESS_KEY"].encode()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if secret in path.read_bytes()]
    assert secret.decode() not in out + said


def test_a_store_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path):
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    with s3.serving() as server:
        environment = dict(server.environment)
        missing = server.uri().replace("s3://", "s3://no-such-")
        status, _, err = searches.run(
            space, "--set", f"results.storage={missing}", environment=environment
        )
    assert status == 2
    assert "results.storage: " in err
    assert environment["AWS_SECRET_ACCESS_KEY"] not in err
    assert [path.name for path in tmp_path.iterdir()] == ["space.yaml"]
