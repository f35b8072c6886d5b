"""Searches in one process, without Ray: the same files and numbers as on one worker of Ray's."""

import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import searches
import torch

import tuner

ROOT = Path(__file__).parents[2]
SPACE = """
name: small
data: {dataset: eight_gaussians}
networks: {critic_width: 16, generator_width: {choice: [16, 32]}, latent_dim: 4}
training: {batch_size: 16, n_critic: 1, critic_lr: {low: 1e-5, high: 1e-1, log: true}}
objective: {critic_steps: 5, final_trials: 2, final_critic_steps: 5, final_num_critics: 1}
search: {num_trials: 6, sampler: tpe}
asha: {grace_generator_steps: 20, max_generator_steps: 180, reduction_factor: 3}
reporting: {report_every_generator_steps: 10, checkpoint_every_generator_steps: 30}
"""
BROKEN = """
from torch import nn


class Generator(nn.Module):
    def __init__(self, latent_dim, sample_shape):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(latent_dim, sample_shape[0]), nn.Tanh())
        self.calls = 0

    def forward(self, latents):
        self.calls += self.training
        if self.training and self.calls == 45:
            {at_45}
        return self.layers(latents)
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture
def with_network(space: Path):
    """A space whose generator does something at its 45th call in training."""

    def make(at_45: str) -> Path:
        (space.parent / "broken.py").write_text(BROKEN.format(at_45=at_45))
        text = SPACE.replace("generator_width: {choice: [16, 32]}", "generator: broken:Generator")
        space.write_text(text + "resources: {retries_per_trial: 1}\n")
        return space

    return make


def outcome(run_dir: Path) -> tuple[list[dict[str, str]], str]:
    """All of a search that must be the same in an equal one."""
    return searches.without_times(searches.rows(run_dir)), (run_dir / "best.yaml").read_text()


def test_it_ends_as_on_one_worker_of_rays_to_the_bit(space: Path) -> None:
    one_at_a_time = ("--set", "search.max_concurrent_trials=1")
    for options in (("--local", "--name", "local"), (*one_at_a_time, "--name", "ray")):
        status, _, err = searches.run(space, *options)
        assert (status, err) == (0, "")
    local, on_ray = (outcome(space.parent / "runs" / name) for name in ("local", "ray"))
    assert local == on_ray
    assert {row["status"] for row in local[0]} == {"completed", "stopped"}


def test_a_search_begun_on_ray_resumes_without_it_to_the_same_end(space: Path) -> None:
    status, _, err = searches.run(space, "--local", "--name", "unbroken")
    assert (status, err) == (0, "")
    one_at_a_time = ("--set", "search.max_concurrent_trials=1")
    search = searches.start(space, *one_at_a_time)
    run_dir = space.parent / "runs" / "small"
    searches.wait_for_reports(search, run_dir, 25)
    search.signal(signal.SIGTERM)
    assert search.ended()[0] == 130
    status, _, err = searches.run(space, *one_at_a_time, "--local", "--resume")
    assert (status, err) == (0, "")
    assert outcome(run_dir) == outcome(space.parent / "runs" / "unbroken")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_one_that_is_broken_off_resumes_by_the_command_that_it_prints(
    space: Path, number: signal.Signals
) -> None:
    status, _, err = searches.run(space, "--local", "--name", "unbroken")
    assert (status, err) == (0, "")
    search = searches.start(space, "--local")
    run_dir = space.parent / "runs" / "small"
    searches.wait_for_reports(search, run_dir, 25)
    search.signal(number)
    status, out, err = search.ended()
    again = ["space.yaml", "--local", "--resume"]
    if number == signal.SIGINT:
        assert (status, err) == (130, "")
        command = shlex.split(out.splitlines()[-1].partition(": ")[2])
        assert command[1:3] == ["-m", "tuner.search"]
        again = command[3:]
    status, _, err = searches.run(space, *again[1:])
    assert (status, err) == (0, "")
    assert outcome(run_dir) == outcome(space.parent / "runs" / "unbroken")


def test_it_never_imports_ray(space: Path) -> None:
    code = (
        "import sys; from tuner.search import main; status = main([sys.argv[1], '--local']); "
        "assert 'ray' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, space],
        cwd=space.parent,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(space.parent)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "starting Ray" not in done.stdout


def test_a_network_that_raises_is_tried_again_and_then_its_trial_has_failed(with_network) -> None:
    space = with_network('raise RuntimeError("this network is tired")')
    status, out, err = searches.run(space, "--local", "--set", "search.num_trials=1")
    assert status == 1
    (row,) = searches.rows(space.parent / "runs" / "small")
    assert (row["status"], row["message"]) == ("failed", "RuntimeError: this network is tired")
    assert "trial 00000 goes on from its last checkpoint (1 of 1): RuntimeError: this net" in out
    assert err.count("RuntimeError: this network is tired") == 2  # with the line that raised it
    assert "broken.py" in err


def test_a_debugger_stops_in_a_network_and_the_search_continues(with_network) -> None:
    space = with_network("breakpoint()")
    done = subprocess.run(
        [sys.executable, "-m", "tuner.search", space, "--local", "--set", "search.num_trials=1"],
        cwd=space.parent,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(space.parent)},
        input="p self.calls * 1000\nc\n",
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "(Pdb) 45000" in done.stdout


def test_leaving_the_debugger_interrupts_the_search(with_network) -> None:
    space = with_network("breakpoint()")
    done = subprocess.run(
        [sys.executable, "-m", "tuner.search", space, "--local", "--set", "search.num_trials=1"],
        cwd=space.parent,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(space.parent)},
        input="q\n",
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (130, "")
    assert done.stdout.splitlines()[-1].endswith("--local --set search.num_trials=1 --resume")


def test_from_a_thread_it_leaves_the_process_as_it_was(space: Path) -> None:
    before = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    results: list[tuner.Result] = []

    def search() -> None:
        runs_dir = space.parent / "runs"
        results.append(tuner.run_search(space, runs_dir=runs_dir, local=True, quiet=True))

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert [len(result.trials) for result in results] == [6]
    assert (torch.get_num_threads(), signal.getsignal(signal.SIGINT)) == before
    assert float(torch.tensor(1e-40) * 1.0) > 0.0  # denormals are not flushed


def test_it_is_refused_beside_a_cluster(space: Path) -> None:
    status, _, err = searches.run(space, "--local", "--address", "auto")
    assert status == 2
    assert err.splitlines()[-1].endswith("argument --address: not allowed with argument --local")
    with pytest.raises(tuner.BadInput, match="goes with no address: give one of the two"):
        tuner.run_search(space, local=True, address="auto", quiet=True)
