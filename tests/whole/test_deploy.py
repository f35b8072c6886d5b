"""The files that deploy a search, checked by what will read them, and `ray job submit` for real."""

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.runtime_env import RuntimeEnv

from tuner.cluster.gauges import GAUGES
from tuner.search import parser
from tuner.space.yaml_file import load_yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RAY_VERSION = "2.60.0"
#: The `ray` command of a Python that may have no `ray` beside it.
RAY: list[str | Path] = ["-m", "ray.scripts.scripts"]

#: What `ray.io/v1` has beside pods, of KubeRay 1.5: the names and types that its API documents.
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_COUNT = {"type": "integer", "minimum": 0}
_POD = {"type": "object"}  # checked as what it is, below
_GROUP = {"rayStartParams": _TEXTS, "template": _POD}


def _closed(required: list[str], **properties: Any) -> dict[str, Any]:
    found = {"type": "object", "additionalProperties": False, "required": required}
    return found | {"properties": properties}


RAY_JOB = _closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata={"type": "object", "required": ["name"]},
    spec=_closed(
        ["entrypoint", "rayClusterSpec"],
        activeDeadlineSeconds=_COUNT,
        backoffLimit=_COUNT,
        entrypoint={"type": "string"},
        rayClusterSpec=_closed(
            ["headGroupSpec"],
            authOptions=_closed(["mode"], mode={"enum": ["disabled", "token"]}),
            autoscalerOptions=_closed(
                [],
                idleTimeoutSeconds=_COUNT,
                upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
            ),
            enableInTreeAutoscaling={"type": "boolean"},
            headGroupSpec=_closed(["rayStartParams", "template"], **_GROUP),
            rayVersion={"type": "string"},
            workerGroupSpecs={
                "type": "array",
                "items": _closed(
                    ["groupName", "minReplicas", "maxReplicas", *_GROUP],
                    groupName={"type": "string"},
                    replicas=_COUNT,
                    minReplicas=_COUNT,
                    maxReplicas=_COUNT,
                    numOfHosts=_COUNT,
                    **_GROUP,
                ),
            },
        ),
        runtimeEnvYAML={"type": "string"},
        shutdownAfterJobFinishes={"type": "boolean"},
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        submitterConfig=_closed([], backoffLimit=_COUNT),
        ttlSecondsAfterFinished=_COUNT,
    ),
)

SPACE = """
name: submitted
networks: {generator_width: 16, critic_width: 16}
training: {critic_lr: {low: 1e-4, high: 1e-2, log: true}}
objective: {critic_steps: 5, final_critic_steps: 10, final_cones: false, final_num_critics: 1}
search: {num_trials: 2, seed: 3}
asha: {grace_generator_steps: 5, max_generator_steps: 10, reduction_factor: 2}
"""


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {name.lower(): pin for name, _, pin in (line.partition("==") for line in lines) if pin}


def read_yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def commands(name: str) -> list[list[str]]:
    """The searches that a file runs or tells of, with comment marks and line ends taken out."""
    text = re.sub(r"\\?\n\s*#?\s*", " ", (DEPLOY / name).read_text())
    found = re.findall(r"python -m tuner\.search (search_spaces/.*?|/.*?)(?=--resume\b)", text)
    return [shlex.split(command) for command in found]


def test_cluster_yaml_is_what_ray_up_takes() -> None:
    config = prepare_config(read_yaml("cluster.yaml"))
    validate_config(config)
    with pytest.raises(jsonschema.ValidationError, match="'workers' was unexpected"):
        validate_config(config | {"workers": 2})
    gpu = config["available_node_types"]["gpu"]
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, config["max_workers"])


def test_no_cluster_opens_more_than_ssh_or_goes_without_a_token() -> None:
    config = read_yaml("cluster.yaml")
    (rule,) = config["provider"]["security_group"]["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"]) == (22, 22)
    assert all(r["CidrIp"].endswith("/32") for r in rule["IpRanges"])
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert any("--dashboard-host=127.0.0.1" in c for c in config["head_start_ray_commands"])
    assert "export RAY_AUTH_TOKEN RAY_AUTH_MODE=token" in (DEPLOY / "slurm.sh").read_text()
    job = read_yaml("rayjob.yaml")
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_rayjob_yaml_is_a_ray_job_of_kuberay() -> None:
    job = read_yaml("rayjob.yaml")
    jsonschema.validate(job, RAY_JOB)
    with pytest.raises(jsonschema.ValidationError, match="'entrypint' was unexpected"):
        jsonschema.validate(job | {"spec": job["spec"] | {"entrypint": ""}}, RAY_JOB)


def test_the_pods_of_rayjob_yaml_are_what_kubernetes_takes() -> None:
    cluster = read_yaml("rayjob.yaml")["spec"]["rayClusterSpec"]
    head, worker = cluster["headGroupSpec"], *cluster["workerGroupSpecs"]
    for pod in (group["template"] for group in (head, worker)):
        document = {"apiVersion": "v1", "kind": "PodTemplate", "template": pod}
        kubernetes_validate.validate(document, "1.37", strict=True)
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        for variable in pod["spec"]["containers"][0]["env"]:
            is_secret = re.search("KEY|TOKEN|PASSWORD", variable["name"])
            assert ("valueFrom" if is_secret else "value") in variable
    document["template"]["spec"]["containers"][0]["imag"] = "a"
    with pytest.raises(kubernetes_validate.ValidationError, match="'imag' was unexpected"):
        kubernetes_validate.validate(document, "1.37", strict=True)
    assert "nvidia.com/gpu" in worker["template"]["spec"]["containers"][0]["resources"]["limits"]


def test_slurm_sh_is_a_script_that_shellcheck_lets_pass() -> None:
    for checker in (["bash", "-n"], [str(Path(sys.executable).parent / "shellcheck")]):
        done = subprocess.run([*checker, DEPLOY / "slurm.sh"], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    head, _, body = (DEPLOY / "slurm.sh").read_text().partition("set -euo pipefail")
    assert "#SBATCH" not in body, "sbatch stops reading at the first command"
    assert "#SBATCH --requeue" in head


@pytest.mark.parametrize("name", ["cluster.yaml", "rayjob.yaml", "slurm.sh"])
def test_who_deploys_a_search_has_three_lines_to_change(name: str) -> None:
    lines = (DEPLOY / name).read_text().splitlines()
    assert len([line for line in lines if "# CHANGE" in line]) == 3


@pytest.mark.parametrize(
    ("name", "count"),
    [("cluster.yaml", 1), ("rayjob.yaml", 1), ("runtime_env.yaml", 2), ("README.md", 1)],
)
def test_every_command_is_one_that_the_search_takes(name: str, count: int) -> None:
    found = commands(name)
    assert len(found) == count
    for command in found:
        args = parser().parse_args(command)
        space = Path(re.sub(r"^(/project|/home/ray/wgan-tuner)/", "", str(args.space)))
        _, faults = load_yaml(ROOT / space, args.set)
        assert faults == []


def test_slurm_sh_gives_the_search_options_that_it_takes() -> None:
    text = (DEPLOY / "slurm.sh").read_text().replace("\\\n", "")
    (command,) = re.findall(r'tuner\.search "\$\{search\[@\]\}" (.*) &', text)
    (space,) = re.findall(r"search=\(\"\$\{@:-(.*)\}\"\)", text)
    assert (ROOT / space).is_file()
    args = parser().parse_args([space, *shlex.split(command)])
    assert args.resume
    assert load_yaml(ROOT / space, args.set)[1] == []


def test_the_image_holds_what_the_project_is() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert [name for name in copied if not (ROOT / name).exists()] == []
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert {name.rstrip("*") for name in setuptools["packages"]["find"]["include"]} <= copied
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert "RUN pip install --no-cache-dir -c constraints.txt ." in lines
    assert lines[-1] == "USER 1000"


def test_all_have_the_versions_that_the_tests_run_with() -> None:
    assert pins()["ray"] == RAY_VERSION
    assert read_yaml("rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == RAY_VERSION
    assert f"rayproject/ray:{RAY_VERSION}-" in read_yaml("cluster.yaml")["docker"]["image"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^\w-]", entry)[0].lower() for entry in project["dependencies"]} - {"ray"}
    environment = read_yaml("runtime_env.yaml")
    assert sorted(environment["pip"]) == sorted(f"{name}=={pins()[name]}" for name in names)
    RuntimeEnv(**environment)  # it raises where Ray would


def test_the_dashboard_shows_every_gauge_and_no_other() -> None:
    board = json.loads((DEPLOY / "grafana" / "search.json").read_text())
    assert board["schemaVersion"] >= 36  # data sources by uid
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["title"]
        assert set(panel["gridPos"]) == set("hwxy")
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    named = {name for query in queries for name in re.findall(r"ray_wgan_\w+", query)}
    assert named == {f"ray_{name}" for name in GAUGES}
    assert all('{search=~"$search"}' in query for query in queries if "ray_wgan_" in query)
    tags = {tag for query in queries for tag in re.findall(r"by \((.*?)\) \(ray_wgan_", query)}
    assert tags == {"search", "search, status"}
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert variables["search"]["query"]["query"] == "label_values(ray_wgan_trials, search)"


@contextmanager
def _ray_head(folder: Path, python: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A cluster of this machine, with a token: the address for jobs, and the environment."""
    port = 20000 + secrets.randbelow(10000) // 3 * 3
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on loopback alone
    }
    environment.pop("PYTHONPATH", None)
    ports = ["--port", port, "--dashboard-port", port + 1, "--ray-client-server-port", port + 2]
    more = ["--num-cpus", 1, "--temp-dir", folder / "ray", "--node-ip-address", "127.0.0.1"]
    more += ["--dashboard-agent-listen-port", 0]  # the usual one may be another Ray's
    command = [python, *RAY, "start", "--head", "--block", *ports, *more]
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(
            [str(word) for word in command], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            while "Ray runtime started" not in (folder / "head.log").read_text():
                assert head.poll() is None, (folder / "head.log").read_text()
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port + 1}", environment
        finally:
            head.send_signal(signal.SIGTERM)  # upon which it ends all that it started
            head.wait(timeout=60)


def _submit(
    ray: list[str | Path], address: str, folder: Path, entrypoint: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command on the cluster, to its end; a head that has just begun takes none yet."""
    where = ["--address", address, "--working-dir", folder]
    while True:
        done = subprocess.run(
            [*ray, "job", "submit", *where, "--", *entrypoint.split()],
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        if "No available agent to submit job" not in done.stderr:
            return done


def test_a_submitted_job_brings_the_code_with_it(tmp_path: Path) -> None:
    """The cluster's Python has the dependencies and cannot import this project by itself."""
    bare = tmp_path / "bare"
    venv.create(bare, symlinks=True)
    (site,) = bare.glob("lib/python*/site-packages")
    # A path file of a path: what is installed there, but not what is installed there by one.
    (site / "dependencies.pth").write_text(str(Path(pytest.__file__).parent.parent))
    python, project = bare / "bin" / "python", tmp_path / "project"
    for package in ("tuner", "trainables"):
        shutil.copytree(ROOT / package, project / package)
    (project / "space.yaml").write_text(SPACE)

    folder = Path(f"/tmp/wj{secrets.token_hex(3)}")  # a Unix socket's path may have 107 characters
    folder.mkdir()
    try:
        with _ray_head(folder, python) as (address, environment):
            alone = [python, "-c", "import tuner"]
            found = subprocess.run(alone, cwd=folder, env=environment, capture_output=True)
            assert b"No module named 'tuner'" in found.stderr
            search = f"{python} -m tuner.search space.yaml --runs-dir {tmp_path / 'runs'}"
            done = _submit([python, *RAY], address, project, search, environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "joining Ray at 127.0.0.1:" in done.stdout, "a job joins the cluster that it is in"
        assert (tmp_path / "runs" / "submitted" / "best.yaml").exists()
        assert (tmp_path / "runs" / "submitted" / "trials.csv").read_text().count("\n") == 3
    finally:
        shutil.rmtree(folder)
