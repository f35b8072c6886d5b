"""A search on a cluster of several nodes, which come, go, fill up and do not share their files."""

import shutil
import signal
import subprocess
from pathlib import Path

import faulty
import pytest
import searches
from ray_cluster import Cluster

SPACE = """
name: nodes
data: {{dataset: eight_gaussians}}
networks:
  generator: faulty:Generator
  generator_args: {{fault: {{choice: [{fault}]}}, marks: {{choice: [{marks}]}}}}
  critic_width: 16
  critic_depth: 1
  latent_dim: 4
training: {{n_critic: 1, batch_size: 16, critic_lr: {{low: 1e-4, high: 1e-2, log: true}}}}
objective: {{critic_steps: 5, final_trials: 2,
  final_critic_steps: 5, final_cones: false, final_num_critics: 1}}
search: {{sampler: random, num_trials: 6}}
asha: {{grace_generator_steps: 100, max_generator_steps: {steps}, reduction_factor: 1}}
resources: {{wait_for_nodes_s: 60}}
reporting: {{report_every_generator_steps: 50, checkpoint_every_generator_steps: 100}}
"""


@pytest.fixture
def make_space(tmp_path: Path):
    def make(fault: str = "none", steps: int = 400) -> Path:
        shutil.copy(faulty.__file__, tmp_path / "faulty.py")
        (tmp_path / "marks").mkdir(exist_ok=True)
        path = tmp_path / "space.yaml"
        path.write_text(SPACE.format(fault=fault, steps=steps, marks=tmp_path / "marks"))
        return path

    return make


@pytest.mark.timeout(600)
def test_nodes_come_and_go_and_nothing_is_lost_or_doubled(ray_cluster: Cluster, make_space):
    """A node joins in mid-search and is used, another is killed: the end is that of one process."""
    space = make_space("slow", steps=600)  # a trial lasts longer than a node takes to start
    few = ("--set", "search.num_trials=3")
    run_dir, marks = space.parent / "runs" / "nodes", space.parent / "marks"
    first = ray_cluster.add()
    address = ("--address", ray_cluster.address)
    search = searches.start(space, *few, *address, environment=ray_cluster.environment)
    searches.wait_until(search, (marks / f"on_{first}").exists)
    searches.wait_for_reports(search, run_dir, 2)
    second = ray_cluster.add()
    searches.wait_until(search, (marks / f"on_{second}").exists)
    ray_cluster.kill(first)
    (marks / "hurry").touch()
    assert search.ended()[0::2] == (0, ""), search.said()
    assert "its node died" in (run_dir / "search.log").read_text()

    assert searches.run(space, *few, "--runs-dir", "one", "--local")[0::2] == (0, "")
    tables = [
        searches.without_times(searches.rows(space.parent / runs / "nodes"))
        for runs in ("one", "runs")
    ]
    assert tables[0] == tables[1]
    # Node-local SQLite serves any number of nodes: the driver alone writes to it.
    runs = searches.mlflow_runs(run_dir.parent / "mlflow.db")
    assert runs["searches"] == [("nodes", "FINISHED")]
    assert sorted(runs["trials"]) == [(f"nodes {n:05d}", "FINISHED") for n in range(3)]


def test_a_trial_that_rays_memory_monitor_ends_is_restarted(ray_cluster: Cluster, make_space):
    """The node's monitor is told that memory is short some GB from now; a trial takes them.

    Whatever else the machine does meanwhile may cost a trial a restart, too.
    """
    memory = {
        line.split(":")[0]: int(line.split()[1])
        for line in Path("/proc/meminfo").read_text().splitlines()
    }
    used = 1 - memory["MemAvailable"] / memory["MemTotal"]
    more = min(7 * 2**20, memory["MemAvailable"] // 2)  # meminfo counts in KiB
    threshold = used + more / memory["MemTotal"]
    environment = {
        "RAY_memory_usage_threshold": f"{threshold:.4f}",
        "RAY_memory_monitor_refresh_ms": "100",
    }
    ray_cluster.add(environment=environment)
    space = make_space("memory_once")
    options = ("--address", ray_cluster.address, "--set", "search.num_trials=1")
    options += ("--set", "resources.retries_per_trial=6")
    search = searches.run(space, *options, environment=ray_cluster.environment)
    assert search[0::2] == (0, ""), search
    run_dir = space.parent / "runs" / "nodes"
    assert [row["status"] for row in searches.rows(run_dir)] == ["completed"]
    log = (run_dir / "search.log").read_text()
    assert "restarts from its last checkpoint (1 of 6): its node was running out of memory" in log


def test_a_node_with_a_folder_of_its_own_is_refused_before_the_start(
    ray_cluster: Cluster, make_space
):
    space = make_space()
    runs = space.parent / "runs"
    runs.mkdir()
    own_mounts = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*own_mounts, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody but its administrator hide a folder from a process")
    hidden = [*own_mounts, "sh", "-c", f'mount -t tmpfs tmpfs {runs} && exec "$@"', "sh"]
    node = ray_cluster.add(under=hidden)
    options = ("--address", ray_cluster.address)
    status, _out, err = searches.run(space, *options, environment=ray_cluster.environment)
    assert status == 2
    assert f"node {node}: does not see the folder '{runs}/nodes' of the search's checkpoints" in err
    assert "results.storage" in err
    assert not (runs / "nodes").exists()


def test_a_trial_runs_where_the_accelerator_and_the_resource_that_it_asks_for_are(
    ray_cluster: Cluster, make_space
):
    """Declared ones: which node a trial goes to is all that they decide."""
    plain = ray_cluster.add()
    special = ray_cluster.add("--num-gpus", "1", "--resources", '{"fast_disk": 1}')
    space = make_space()
    options = ["--address", ray_cluster.address, "--set", "search.num_trials=1"]
    options += ["--set", "resources.gpus_per_trial=auto"]
    options += ["--set", "resources.custom={fast_disk: 0.5}"]
    status, _, err = searches.run(space, *options, environment=ray_cluster.environment)
    assert (status, err) == (0, "")
    marks = space.parent / "marks"
    assert (marks / f"on_{special}").exists()
    assert not (marks / f"on_{plain}").exists()

    nowhere = [*options[:2], "--set", "resources.accelerator_type=H100"]
    nowhere += ["--set", "resources.wait_for_nodes_s=0"]
    status, _out, err = searches.run(
        space, *nowhere, "--name", "other", environment=ray_cluster.environment
    )
    assert status == 2
    assert "no node has 1 CPU, 0.001 accelerator_type:H100 for a trial; the nodes have" in err


def test_waiting_for_a_node_ends_when_told_to(ray_cluster: Cluster, make_space):
    space = make_space()
    options = ("--address", ray_cluster.address, "--set", "resources.wait_for_nodes_s=1000")
    search = searches.start(space, *options, environment=ray_cluster.environment)
    searches.wait_until(search, lambda: "waiting for a node with 1 CPU" in search.said()[0])
    search.signal(signal.SIGTERM)
    assert search.ended(60)[0::2] == (130, "interrupted\n")
    assert not (space.parent / "runs" / "nodes").exists()
