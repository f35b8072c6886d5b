"""Searches in one process, without Ray: the same files and numbers as on one worker of Ray's."""

import contextlib
import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import process_state
import pytest
import searches
import torch

import tuner
from tuner.results import read_sessions
from tuner.space.spec import read_spec

ROOT = Path(__file__).parents[2]
SPACE = """
name: small
data: {dataset: eight_gaussians}
networks: {critic_width: 16, generator_width: {choice: [16, 32]}, latent_dim: 4}
training: {batch_size: 16, n_critic: 1, critic_lr: {low: 1e-5, high: 1e-1, log: true}}
objective: {critic_steps: 5, final_trials: 2,
  final_critic_steps: 5, final_cones: false, final_num_critics: 1}
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
    return searches.without_times(searches.rows(run_dir)), searches.best(run_dir)


def trials_reported(run_dir: Path) -> set[float]:
    return {report["trial"] for report in searches.reports(run_dir)}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, str]], str]:
    """The outcome of the search, run in one process to its end."""
    space = tmp_path_factory.mktemp("unbroken") / "space.yaml"
    space.write_text(SPACE)
    status, _, err = searches.run(space, "--local")
    assert (status, err) == (0, "")
    return outcome(space.parent / "runs" / "small")


def test_most_of_a_search_on_ray_and_the_rest_without_it_end_as_one_process_does(
    space: Path, unbroken: Any
) -> None:
    """To the bit, and so do the trials that one worker of Ray's trained to their end."""
    assert {row["status"] for row in unbroken[0]} == {"completed", "stopped"}
    one_at_a_time = ("--set", "search.max_concurrent_trials=1")
    search = searches.start(space, *one_at_a_time)
    run_dir = space.parent / "runs" / "small"
    searches.wait_until(search, lambda: max(trials_reported(run_dir), default=0) == 4)
    search.signal_all(signal.SIGTERM)  # which Ray must not get: it would end first
    status, out, err = search.ended(60)
    assert (status, err) == (130, "")
    assert out.splitlines()[-1].endswith("--resume")
    table, expected = searches.without_times(searches.rows(run_dir)), unbroken[0]
    by_ray = [row for row in table if row["status"] in ("completed", "stopped")]
    assert len(by_ray) >= 3
    for row in by_ray:
        for key in ("status", "generator_steps", "w1", "critic_lr", "seed"):
            assert row[key] == expected[int(row["trial_id"])][key]
    status, _, err = searches.run(space, *one_at_a_time, "--local", "--resume")
    assert (status, err) == (0, "")
    assert outcome(run_dir) == unbroken


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_one_that_is_broken_off_resumes_by_the_command_that_it_prints(
    space: Path, number: signal.Signals, unbroken: Any
) -> None:
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
    assert outcome(run_dir) == unbroken


def test_a_finished_search_is_given_more_trials_and_reports_at_other_steps(
    space: Path, unbroken: Any
) -> None:
    """The trials are those of a search that was of so many from the start, and so is the final."""
    run_dir = space.parent / "runs" / "small"
    fewer = ("--set", "search.num_trials=3", "--set", "reporting.report_every_generator_steps=45")
    assert searches.run(space, "--local", *fewer)[0] == 0
    began_s = (run_dir / "spec.yaml").stat().st_mtime
    status, out, err = searches.run(space, "--local", "--resume")
    assert (status, err) == (0, "")
    assert "changed: search.num_trials is now 6, was 3\n" in out
    assert "changed: reporting.report_every_generator_steps is now 10, was 45\n" in out
    assert read_spec(run_dir / "spec.yaml").num_trials == 6
    assert 0 < (run_dir / "spec.yaml").stat().st_mtime - began_s < 0.1  # when it began
    assert len(read_sessions(run_dir)) == 2
    rows, expected = searches.rows(run_dir), unbroken[0]
    for key in ("trial_id", "status", "generator_steps", "w1", "critic_lr", "seed"):
        assert [row[key] for row in rows] == [row[key] for row in expected]
    scored = [{row["trial_id"]: row["w1_final"] for row in table} for table in (rows, expected)]
    assert all(scored[0][number] == score for number, score in scored[1].items() if score)
    status, out, err = searches.run(space, "--local", "--resume")
    assert (status, err) == (0, "")
    assert "changed" not in out


def test_a_network_that_raises_is_tried_again_and_then_its_trial_has_failed(with_network) -> None:
    space = with_network('raise RuntimeError("this network is tired")')
    status, out, err = searches.run(space, "--local", "--set", "search.num_trials=1")
    run_dir = space.parent / "runs" / "small"
    assert (status, err) == (1, f"no trial completed: see {run_dir / 'trials.csv'}\n")
    (row,) = searches.rows(run_dir)
    assert (row["status"], row["message"]) == ("failed", "RuntimeError: this network is tired")
    assert "trial 00000 restarts from its last checkpoint (1 of 1): RuntimeError: this net" in out
    assert out.count("\nRuntimeError: this network is tired\n") == 2  # each with its traceback
    assert "broken.py" in out


def test_on_a_terminal_a_debugger_stops_in_a_network_and_the_search_continues(
    with_network,
) -> None:
    """Nothing is drawn over its prompt, and no module of Ray's is imported."""
    program = "from tuner.search import main; assert main(['space.yaml', '--local']) == 0"
    space = with_network("breakpoint()")
    space.write_text(space.read_text().replace("num_trials: 6", "num_trials: 1"))
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", f"{program}; import sys; assert 'ray' not in sys.modules"],
        cwd=space.parent,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(space.parent)},
        stdin=end,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    os.write(terminal, b"p self.calls * 1000\nc\n")
    shown = _read_to_the_end(terminal)
    assert process.wait() == 0, shown
    assert "(Pdb) " in shown
    assert "\n45000\n" in shown
    assert "trial 00000 completed" in shown
    assert "\x1b" not in shown, "a screen is drawn by escape sequences"


def _read_to_the_end(terminal: int) -> str:
    """Read what is shown on a terminal until the last program has left it."""
    shown = b""
    with open(terminal, "rb", buffering=0) as file, contextlib.suppress(OSError):
        while more := file.read(4096):
            shown += more
    return shown.decode().replace("\r\n", "\n")


def test_leaving_the_debugger_interrupts_the_search(with_network) -> None:
    space = with_network("breakpoint()")  # at whose prompt the input is at its end
    status, out, err = searches.run(space, "--local", "--set", "search.num_trials=1")
    assert (status, err) == (130, "")
    assert "(Pdb) " in out
    assert out.splitlines()[-1].endswith("--local --set search.num_trials=1 --resume")


def test_from_a_thread_it_leaves_the_process_as_it_was(space: Path) -> None:
    before, threads = process_state.snapshot(), torch.get_num_threads()
    results: list[tuner.Result] = []

    def search() -> None:
        runs_dir = space.parent / "runs"
        results.append(
            tuner.run_search(space, num_trials=2, runs_dir=runs_dir, local=True, quiet=True)
        )

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert [len(result.trials) for result in results] == [2]
    assert process_state.changed(before) == {}
    assert torch.get_num_threads() == threads
    assert float(torch.tensor(1e-40) * 1.0) > 0.0  # denormals are not flushed


def test_it_is_refused_beside_a_cluster(space: Path) -> None:
    status, _, err = searches.run(space, "--local", "--address", "auto")
    assert status == 2
    assert err.splitlines()[-1].endswith("argument --address: not allowed with argument --local")
    with pytest.raises(
        tuner.BadInput, match="cannot be combined with address: give one of the two"
    ):
        tuner.run_search(space, local=True, address="auto", quiet=True)
