"""What goes wrong in a trial or around it, made to go wrong: the promises of docs/failures.md."""

import functools
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import faulty
import psutil
import pytest
import searches

SPACE = """
name: faulty
data: {{dataset: eight_gaussians}}
networks:
  generator: faulty:Generator
  generator_args:
    fault: {{choice: [{faults}]}}
    marks: {{choice: [{marks}]}}
  critic_width: 16
  critic_depth: 1
  latent_dim: 4
training: {{n_critic: 1, batch_size: 16}}
objective: {{critic_steps: 5, final_trials: 1,
  final_critic_steps: 5, final_cones: false, final_num_critics: 1}}
search: {{sampler: {sampler}}}
asha: {{grace_generator_steps: 15, max_generator_steps: 40, reduction_factor: 1}}
reporting: {{report_every_generator_steps: 10, checkpoint_every_generator_steps: 10}}
resources: {{retries_per_trial: 1, report_timeout_s: 25}}
"""


#: A search that can be broken off between its trials.
IN_TURN = ("--set", "search.num_trials=6", "--set", "search.max_concurrent_trials=1")


def write_space(folder: Path, *faults: str, sampler: str = "grid") -> Path:
    """A search of trials that go wrong in these ways, one each where it is a grid."""
    shutil.copy(faulty.__file__, folder / "faulty.py")
    (folder / "marks").mkdir(exist_ok=True)
    path = folder / "space.yaml"
    values = {"faults": ", ".join(faults), "marks": folder / "marks", "sampler": sampler}
    path.write_text(SPACE.format(**values))
    return path


@pytest.fixture
def make_space(tmp_path: Path):
    return functools.partial(write_space, tmp_path)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The outcome of a search in which nothing goes wrong, run to its end in one process."""
    space = write_space(tmp_path_factory.mktemp("unbroken"), "none", sampler="random")
    assert searches.run(space, *IN_TURN, "--local")[0::2] == (0, "")
    return outcome(space.parent / "runs" / "faulty")


def outcome(run_dir: Path) -> list[dict[str, str]]:
    """What is the same in equal searches: a folder of the test's is among their values."""
    table = searches.without_times(searches.rows(run_dir))
    return [{k: v for k, v in row.items() if k != "generator_args.marks"} for row in table]


def by_fault(run_dir: Path) -> dict[str, dict[str, str]]:
    return {row["generator_args.fault"]: row for row in searches.rows(run_dir)}


def test_a_trial_that_goes_wrong_costs_only_itself(make_space):
    """Killed, hung, raising, not finite: each ends as promised, and the others complete."""
    faults = ("none", "hang_once", "kill", "raise", "nan")
    space = make_space(*faults)
    status, _out, err = searches.run(space)
    assert (status, err) == (0, "")
    run_dir = space.parent / "runs" / "faulty"
    rows = by_fault(run_dir)
    assert {fault: row["status"] for fault, row in rows.items()} == {
        "none": "completed",
        "hang_once": "completed",
        "kill": "failed",
        "raise": "failed",
        "nan": "diverged",
    }
    assert rows["raise"]["message"] == "RuntimeError: this network does not like its 50th batch"
    killed = "its process was killed, ran out of memory, or crashed"
    assert rows["kill"]["message"] == killed

    # Restarted from a checkpoint, each ends where it would have: they differ in nothing else.
    log = (run_dir / "search.log").read_text()
    number = {fault: int(row["trial_id"]) for fault, row in rows.items()}
    for fault in ("hang_once", "kill"):
        assert f"trial {number[fault]:05d} restarts from its last checkpoint (1 of 1)" in log
    assert "hung: no report for 25 s" in log
    steps = {
        fault: [r["generator_steps"] for r in searches.reports(run_dir) if r["trial"] == n]
        for fault, n in number.items()
    }
    assert steps["none"] == steps["hang_once"] == [10, 15, 20, 30, 40]
    assert steps["kill"] == steps["raise"] == [10, 15, 20]

    runs = searches.mlflow_runs(run_dir.parent / "mlflow.db")
    ends = {"completed": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}
    expected = [(f"faulty {row['trial_id']}", ends[row["status"]]) for row in rows.values()]
    assert sorted(runs["trials"]) == sorted(expected)


def test_a_search_whose_trials_all_fail_alike_stops_soon(make_space):
    space = make_space("raise", sampler="random")
    some = ("--set", "search.num_trials=50", "--set", "resources.max_equal_failures=3")
    some += ("--set", "resources.retries_per_trial=0", "--local")
    status, out, err = searches.run(space, *some)
    assert status == 3
    assert err == (
        "stopped: the last 3 trials failed alike: RuntimeError: this network does not like its "
        "50th batch\n"
    )
    assert "once that is fixed, resume with: " in out
    assert out.splitlines()[-1].endswith("--local --resume")
    rows = searches.rows(space.parent / "runs" / "faulty")
    assert [row["status"] for row in rows] == ["failed"] * 3


def test_of_two_searches_of_one_name_the_second_is_refused(make_space):
    space = make_space("none", sampler="random")
    many = ("--local", "--set", "search.num_trials=400")
    first = searches.start(space, *many)
    run_dir = space.parent / "runs" / "faulty"
    searches.wait_for_reports(first, run_dir, 1)
    before = (run_dir / "spec.yaml").read_bytes()
    for options in ((), ("--resume",)):
        status, _, err = searches.run(space, *many, *options)
        assert status == 2
        assert "is in use by a search that is running" in err or "already holds a search" in err
    first.signal(signal.SIGTERM)
    status, out, err = first.ended(60)
    assert (status, err) == (130, "")
    assert out.splitlines()[-1].endswith("--resume")
    assert f"report: {run_dir / 'report.html'}\n" in out
    assert "faulty" in (run_dir / "report.html").read_text()
    assert (run_dir / "spec.yaml").read_bytes() == before


def test_a_killed_agent_or_raylet_stops_the_search_and_a_resume_ends_as_an_unbroken_one(
    make_space, unbroken: list[dict[str, str]]
):
    """Ray ends the process itself soon after either: 30 ms after an agent of the raylet."""
    space = make_space("none", sampler="random")
    run_dir = space.parent / "runs" / "faulty"
    search = searches.start(space, *IN_TURN)
    searches.wait_for_reports(search, run_dir, 3)
    child_of(raylet_of(search), "ray::DashboardAgent").kill()
    status, out, err = search.ended(60)
    assert (status, err) == (3, "stopped: Ray's DashboardAgent on this machine has ended\n")
    assert out.splitlines()[-1].endswith("--resume")

    search = searches.start(space, *IN_TURN, "--resume")
    searches.wait_for_reports(search, run_dir, 8)
    raylet_of(search).kill()
    status, out, err = search.ended(60)
    assert (status, err) == (3, "stopped: Ray's raylet on this machine was killed by SIGKILL\n")
    assert out.splitlines()[-1].endswith("--resume")
    assert "state-dump" not in out
    status, _, err = searches.run(space, *IN_TURN, "--resume", "--local")
    assert (status, err) == (0, "")
    assert outcome(run_dir) == unbroken


def raylet_of(search: searches.Search) -> psutil.Process:
    return child_of(psutil.Process(search.process.pid), "raylet")


def child_of(parent: psutil.Process, name: str) -> psutil.Process:
    children = parent.children()
    (found,) = (one for one in children if Path(one.cmdline()[0]).name.startswith(name))
    return found


FULL_DISK = """
import pathlib, shutil, sys
sys.path.insert(0, sys.argv[1])
import searches

def main(space, small, in_turn, *place):
    options = ("--runs-dir", str(small), *in_turn)
    search = searches.start(space, *options, *place)
    searches.wait_for_reports(search, small / "faulty", 8)
    try:
        with (small / "filler").open("wb") as filler:
            while True:
                filler.write(bytes(4096))
                filler.flush()
    except OSError:
        pass
    status, out, err = search.ended(120)
    assert status == 3, (status, out, err)
    assert "No space left on device" in err.splitlines()[0], err
    assert len(err.splitlines()) == 1, err
    (small / "filler").unlink()
    status, out, err = searches.run(space, *options, "--resume", "--local")
    assert (status, err) == (0, ""), (status, out, err)
    shutil.move(small / "faulty", space.parent / ("local" if place else "ray"))

if __name__ == "__main__":
    space, small = map(pathlib.Path, sys.argv[2:4])
    for place in ((), ("--local",)):
        main(space, small, sys.argv[4:], *place)
"""


def test_a_full_disk_stops_the_search_and_space_resumes_it(
    make_space, tmp_path: Path, unbroken: list[dict[str, str]]
):
    """On a file system of 24 MiB that is really full; the end is that of an unbroken search."""
    own_mounts = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*own_mounts, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody but its administrator mount a small file system")
    space, small = make_space("none", sampler="random"), tmp_path / "small"
    small.mkdir()
    (tmp_path / "scenario.py").write_text(FULL_DISK)
    mount = f"mount -t tmpfs -o size=24m tmpfs {small} && exec "
    scenario = [sys.executable, tmp_path / "scenario.py", Path(faulty.__file__).parent, space]
    done = subprocess.run(
        [*own_mounts, "sh", "-c", mount + shlex.join(map(str, [*scenario, small, *IN_TURN]))],
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert [outcome(tmp_path / place) for place in ("ray", "local")] == [unbroken, unbroken]
