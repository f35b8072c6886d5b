"""The promises of docs/cluster.md: a real search is looked at, real attacks are made."""

import ast
import contextlib
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import searches
import torch
import yaml

from trainables.checkpoint import DamagedCheckpointError, damage
from trainables.config import DataConfig
from trainables.data import BadData, load
from trainables.trial import load_generator
from tuner import report
from tuner.search import main
from tuner.space.spec import validate
from tuner.study.study import Study

SPACE = """
name: small
data: {dataset: eight_gaussians}
networks: {generator_width: 16, critic_width: 16, critic_depth: 1}
training: {n_critic: 1, batch_size: 16, critic_lr: {low: 1e-4, high: 1e-2, log: true}}
objective: {critic_steps: 5, final_trials: 1,
  final_critic_steps: 5, final_cones: false, final_num_critics: 1}
search: {num_trials: 3}
asha: {grace_generator_steps: 100, max_generator_steps: 300, reduction_factor: 1}
reporting: {report_every_generator_steps: 10, checkpoint_every_generator_steps: 50}
"""
#: What nobody else would write; each in a variable that some part of a search reads.
SECRETS = {
    "AWS_ACCESS_KEY_ID": "key-of-s3-7b8b965a",
    "AWS_SECRET_ACCESS_KEY": "secret-of-s3-5d41402a",
    "AWS_SESSION_TOKEN": "session-of-s3-9e107d9d",
    "MLFLOW_TRACKING_PASSWORD": "password-of-mlflow-e4d909c2",
    "MLFLOW_TRACKING_TOKEN": "token-of-mlflow-1f3870be",
    "RAY_AUTH_TOKEN": "c3fcd3d76192e4007dfb496cca67e13b",
}
#: Of the dashboard's API: what runs, and what would run code for whoever may ask.
API = ("/nodes?view=summary", "/api/v0/actors", "/api/jobs/")


# --- Servers bind to loopback by default, Ray's too; tokens are asked for ----------------------


@dataclass(frozen=True)
class Seen:
    """What a search showed while it ran, and what it said and left."""

    listening: dict[str, set[str]]
    statuses: dict[str, int]
    output: str
    folder: Path
    ray_logs: Path


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A search with secrets in its environment, looked at while its trials run."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "space.yaml").write_text(SPACE)
    said = folder / "said.txt"
    with said.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tuner.search", "space.yaml"],
            cwd=folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "200", **SECRETS},
        )
    try:
        while len(searches.reports(folder / "runs" / "small")) < 2:
            assert process.poll() is None, said.read_text()
            time.sleep(0.05)
        commands = {pid: _command(pid) for pid in _tree(process.pid)}
        listening = {commands[pid]: _listening(pid) for pid in commands}
        dashboard = re.search(r"http://127\.0\.0\.1:\d+", said.read_text())
        assert dashboard is not None, said.read_text()
        statuses = {path: _status(dashboard[0] + path) for path in API}
        statuses["with the token"] = _status(dashboard[0] + API[0], SECRETS["RAY_AUTH_TOKEN"])
        session = re.search(r"--session_dir=(\S+)", " ".join(commands.values()))
        assert session is not None, commands
        assert process.wait(timeout=200) == 0, said.read_text()
        yield Seen(listening, statuses, said.read_text(), folder, Path(session[1], "logs"))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def _tree(root: int) -> set[int]:
    """A process and all that it started, and they, as /proc has them."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found, grown = set(), {root}
    while grown > found:
        found = grown
        grown = found | {pid for pid, parent in parents.items() if parent in found}
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except FileNotFoundError:  # it has ended meanwhile
        return ""


def _listening(pid: int) -> set[str]:
    """The addresses, in hexadecimal digits, at which a process waits for connections."""
    inodes = set()
    with contextlib.suppress(FileNotFoundError):  # the process has ended meanwhile
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                inodes.add(str(entry.readlink()))
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes}


def _is_loopback(address: str) -> bool:
    """127.0.0.0/8, ::1 and ::ffff:127.0.0.0/8, as /proc writes them: words of four bytes turned."""
    host = address.partition(":")[0]
    mapped, v6 = "0000000000000000FFFF0000", "00000000000000000000000001000000"
    return host == v6 or (host.removeprefix(mapped).endswith("7F") and len(host) in (8, 32))


def _status(url: str, token: str | None = None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("0100007F:1F90", True),
        ("00000000000000000000000001000000:1F90", True),
        ("0000000000000000FFFF00000100007F:1F90", True),
        ("00000000:1F90", False),
        ("00000000000000000000000000000000:1F90", False),
        ("0201A8C0:1F90", False),
        ("0000000000000000FFFF00000201A8C0:1F90", False),
    ],
)
def test_an_address_is_told_from_loopback(address: str, *, expected: bool):
    assert _is_loopback(address) == expected


def test_every_server_of_a_search_listens_on_loopback_alone(seen: Seen):
    servers = {command: found for command, found in seen.listening.items() if found}
    for part in ("gcs_server", "raylet", "dashboard"):
        assert any(part in command for command in servers), servers
    elsewhere = {
        command[:80]: addresses
        for command, found in servers.items()
        if (addresses := {address for address in found if not _is_loopback(address)})
    }
    assert elsewhere == {}


def test_rays_dashboard_answers_nobody_without_the_token(seen: Seen):
    assert seen.statuses == {**dict.fromkeys(API, 401), "with the token": 200}


# --- No credential in a log, a param, an artifact or spec.yaml ---------------------------------


def test_no_credential_is_in_any_file_that_a_search_leaves_nor_in_what_it_says(seen: Seen):
    files = [path for path in (seen.folder / "runs").rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"spec.yaml", "trials.csv", "study.log", "metrics.jsonl", "mlflow.db"} <= names
    logs = [path for path in seen.ray_logs.rglob("*") if path.is_file()]
    assert logs
    found = {
        (str(path), name)
        for path in [*files, *logs, seen.folder / "said.txt"]
        for name, secret in SECRETS.items()
        if secret.encode() in path.read_bytes()
    }
    assert found == set()


def test_a_password_in_the_yaml_is_refused_and_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    uri = "https://someone:secret-5d41402a@example.org"
    found, faults = validate({"name": "a", "search": {"num_trials": 1},
                                "mlflow": {"tracking_uri": uri}})  # fmt: skip
    assert found is None
    assert [fault.where for fault in faults] == ["mlflow.tracking_uri"]
    assert "must not hold a password" in faults[0].message
    assert "5d41402a" not in str(faults[0])


# --- Nothing unpickled that a stranger could have put there ------------------------------------


class Touches:
    """A pickle that makes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_such_a_pickle_does_what_it_should(tmp_path: Path):
    """Or the tests below would show nothing."""
    pickle.loads(pickle.dumps(Touches(tmp_path / "made")))
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_with_code_is_refused_and_the_code_not_run(tmp_path: Path, *, legacy: bool):
    made = tmp_path / "made"
    for name, content in {
        "state.pt": {"state": Touches(made), "metrics": {}},
        "generator.pt": {"state_dict": Touches(made), "networks": {}, "sample_shape": [2]},
    }.items():
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=not legacy)
    found = "is no file of torch.save" if legacy else "holds more than tensors, numbers and text"
    assert damage(tmp_path) == f"state.pt {found}"
    with pytest.raises(DamagedCheckpointError, match=rf"generator\.pt must be .* but it {found}"):
        load_generator(tmp_path / "generator.pt", torch.device("cpu"))
    assert not made.exists()


@pytest.mark.parametrize("name", ["data.npy", "data.npz"])
def test_an_array_with_code_is_refused_and_the_code_not_run(tmp_path: Path, name: str):
    made, path = tmp_path / "made", tmp_path / name
    hostile = np.array([[Touches(made)]] * 600, dtype=object)
    np.save(path, hostile) if name.endswith("npy") else np.savez(path, samples=hostile)
    with pytest.raises(BadData, match="must"):
        load(DataConfig(dataset="array", path=str(path)))
    assert not made.exists()


@pytest.mark.parametrize(
    "hostile",
    [
        "!!python/object/apply:os.system ['touch made']",
        "!!python/object/apply:subprocess.check_output [['touch', 'made']]",
        "!!python/object/new:pathlib.Path {state: [touch, made]}",
        "!!python/name:os.system",
    ],
)
def test_yaml_with_code_is_refused_and_the_code_not_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    hostile: str,
):
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(f"{SPACE}\nmlflow: {hostile}\n")
    assert main(["space.yaml", "--dry-run"]) == 2
    assert "could not determine a constructor for the tag" in capsys.readouterr().err
    Path("space.yaml").write_text(SPACE)
    assert main(["space.yaml", "--dry-run", "--set", f"mlflow={hostile}"]) == 2
    assert not Path("made").exists()


# --- Names from YAML cannot leave the runs folder ----------------------------------------------

NAMES = ["../x", "..", ".", "a/b", "/tmp/x", "a\\b", "", "-x", ".hidden", "a\0b", "a\n", "é"]
RESERVED = ["mlflow.db", "mlflow-artifacts", "data-cache"]


@pytest.mark.parametrize("by_option", [False, True])
@pytest.mark.parametrize("name", NAMES + RESERVED)
def test_a_name_that_would_leave_its_folder_is_refused_and_makes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    *,
    by_option: bool,
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    document = yaml.safe_load(SPACE) | ({} if by_option else {"name": name})
    Path("space.yaml").write_text(yaml.safe_dump(document, allow_unicode=True))
    assert main(["space.yaml", *([f"--name={name}"] if by_option else [])]) == 2
    assert "name: " in capsys.readouterr().err
    assert [str(path) for path in Path().rglob("*")] == ["space.yaml"]


def test_an_optimiser_in_an_older_journal_is_not_unpickled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Optuna's CMA-ES sampler kept its state as a pickle; no sampler that there is reads it."""
    run_dir, made = tmp_path / "old", tmp_path / "made"
    run_dir.mkdir()
    document = {"name": "old", "search": {"num_trials": 12, "sampler": "tpe"},
                "training": {"critic_lr": {"low": 1e-5, "high": 1e-2, "log": True}}}  # fmt: skip
    search, _ = validate(document)
    assert search is not None
    study = Study(run_dir / "study.log", search)
    for _ in range(11):  # from the 11th on, TPE goes by those that ended
        trial = study.ask()
        assert trial is not None
        study._storage.set_trial_system_attr(
            study._id(trial.number), "cma:optimizer:0", pickle.dumps(Touches(made)).hex()
        )
        study.end(trial.number, "completed", {"generator_steps": 4000.0, "w1": 1.0}, 1.0)
    assert Study(run_dir / "study.log", search).ask() is not None
    (run_dir / "spec.yaml").write_text(search.to_yaml().replace("sampler: tpe", "sampler: cmaes"))
    assert report.main([str(run_dir)]) == 2
    assert "must be tpe, random, gp or grid, got 'cmaes'" in capsys.readouterr().err
    assert not made.exists()


# --- The code itself ---------------------------------------------------------------------------

#: What runs code that it reads, and the argument that keeps it from that, where there is one.
RUNS_CODE = {
    "torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False),
    **dict.fromkeys(
        ["pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.loads", "cloudpickle.load",
         "cloudpickle.loads", "ray.cloudpickle.loads", "joblib.load", "shelve.open", "marshal.load",
         "marshal.loads", "dill.load", "dill.loads", "pandas.read_pickle", "torch.jit.load",
         "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.Loader",
         "yaml.FullLoader", "yaml.UnsafeLoader", "os.system", "os.popen", "eval", "exec",
         "importlib.import_module", "importlib.__import__", "__import__", "pkgutil.resolve_name",
         "pydoc.locate", "runpy.run_module", "runpy.run_path", "pydantic.ImportString",
         "importlib.util.spec_from_file_location", "importlib.util.module_from_spec",
         "torch.hub.load"]
    ),
}  # fmt: skip
#: The one place that imports what it read: test_foreign_folder.py tests what is checked before.
IMPORTS = ("trainables/networks/custom.py", "importlib.import_module")
#: What looks like it: a command is imported by its name in a fixed list, and an exported file is
#: loaded, to be compared, by the process that has just written it.
HARMLESS = {
    ("tuner/__main__.py", "importlib.import_module"),
    ("trainables/exporting.py", "torch.jit.load"),
}


def _that_run_code(source: str) -> set[str]:
    """The names of ``RUNS_CODE`` that a file uses, under any name, without what keeps them safe."""
    tree = ast.parse(source)
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full |= {a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0]
                     for a in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom):
            full |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = set()
    for node in ast.walk(tree):
        name = _dotted(node, full)
        if name not in RUNS_CODE or not _is_unsafe(called.get(id(node)), RUNS_CODE[name]):
            continue
        found.add(name)
    return found


def _dotted(node: ast.AST, full: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, full)}.{node.attr}"
    return full.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _is_unsafe(call: ast.Call | None, safe: tuple[str, bool] | None) -> bool:
    if call is None or safe is None:  # handed on, or never safe
        return True
    given = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
    return given.get(safe[0]) is not safe[1]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch\ntorch.load(p, weights_only=True)", set()),
        ("import torch\ntorch.load(p)", {"torch.load"}),
        ("import torch\ntorch.load(p, weights_only=flag)", {"torch.load"}),
        ("import torch as t\nread = t.load", {"torch.load"}),
        ("import numpy as np\nnp.load(p, allow_pickle=False)", set()),
        ("import numpy as np\nnp.load(p, allow_pickle=True)", {"numpy.load"}),
        ("from pickle import loads as innocent\ninnocent(b)", {"pickle.loads"}),
        ("import pickle\nclass A(pickle.Unpickler): pass", {"pickle.Unpickler"}),
        ("import pickle\ntry: pass\nexcept pickle.UnpicklingError: pass", set()),
        ("import yaml\nyaml.safe_load(t)", set()),
        ("import yaml\nyaml.load(t, Loader=yaml.Loader)", {"yaml.load", "yaml.Loader"}),
        ("eval('1')", {"eval"}),
        ("import importlib\nimportlib.import_module(name)", {"importlib.import_module"}),
        ("from importlib import import_module as i\ni(name)", {"importlib.import_module"}),
        ("import importlib.util as u\nu.find_spec(name)", set()),
        ("__import__(name)", {"__import__"}),
        ("model.eval()", set()),
        ("import os.path\nos.system('ls')", {"os.system"}),
    ],
)
def test_what_runs_code_is_found_under_any_name(source: str, found: set[str]):
    assert _that_run_code(source) == found


def test_no_file_runs_code_that_it_reads_but_for_custom_networks():
    root = Path(__file__).parents[2]
    files = [path for package in ("tuner", "trainables") for path in (root / package).rglob("*.py")]
    assert len(files) > 40
    found = {
        (str(path.relative_to(root)), name)
        for path in files
        for name in _that_run_code(path.read_text(encoding="utf-8"))
    }
    assert found == {IMPORTS, *HARMLESS}
