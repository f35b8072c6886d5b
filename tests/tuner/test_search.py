"""The command: what it refuses, how it says so, and what it checks without training."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from tuner.cli.status import ExitStatus
from tuner.driver import preflight
from tuner.driver.request import check_document
from tuner.search import main, parser, search_request
from tuner.space.spec import read_spec, validate
from tuner.storage.lock import own_folder
from tuner.study.study import Study

Space = Callable[[str], Path]

SMALL = """
name: small
data: {dataset: eight_gaussians}
networks: {generator_width: {choice: [8, 16]}}
training: {critic_lr: {low: 1e-4, high: 1e-2, log: true}}
search: {num_trials: 3, sampler: random}
asha: {grace_generator_steps: 10, max_generator_steps: 40, reduction_factor: 2}
"""


@pytest.fixture(autouse=True)
def _away_from_any_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preflight, "num_cpus", lambda: 8)
    monkeypatch.setattr(preflight, "num_gpus", lambda: 0)


def refused(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> list[str]:
    """The lines on stderr of a command that is refused, without its first one."""
    assert main([str(argument) for argument in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    heading, *faults = captured.err.splitlines()
    count = f"{len(faults)} faults" if len(faults) > 1 else "1 fault"
    assert heading == f"{argv[0]}: {count}"
    return [fault.removeprefix("  ") for fault in faults]


EVERYTHING_WRONG = """
name: ../x
dat: {}
data: {dataset: digit}
networks: {latent_dim: 1.5, generator_width: {choice: []}, critic_depth: true}
training:
  constraint: gradient_penalty
  clip_value: 0.01
  critic_lr: {low: 0.1, high: 1e-3}
  beta1: {low: 0, high: 0.9, log: true}
  beta2: .nan
  batchsize: 64
  latent_dim: 8
objective: {critic_steps: {low: 1, high: 10}}
search: {num_trials: 10, sampler: tpee}
asha: {grace_generator_steps: 4000}
asha: {grace_generator_steps: 4000}
resources: {cpus_per_trial: 64, gpus_per_trial: 0.5}
reporting: {report_every_generator_steps: 0}
results: {runs_dir: space.yaml/runs}
mlflow: {tracking_uri: "http://me:secret@host"}
"""


def test_every_fault_is_told_at_once_and_nothing_is_written(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = space(EVERYTHING_WRONG)
    faults = refused(capsys, path, "--set", "nonsense")
    assert faults == [
        "asha: is given twice, on lines 16 and 17: keep one",
        "--set: must read dotted.key=value, got 'nonsense'",
        "dat: no such key; did you mean data?",
        "name: must be letters, digits, '.', '_' and '-', and start with a letter or digit, "
        "100 characters at most, got '../x'",
        "data.dataset: must be digits, eight_gaussians, twenty_five_gaussians, swiss_roll, "
        "two_moons, parallel_lines, mnist, fashion_mnist, kmnist, cifar10, celeba, image_folder "
        "or array, got 'digit'; did you mean digits?",
        "networks.latent_dim: must be a whole number, got 1.5",
        "networks.generator_width.choice: must list at least one value, got []",
        "networks.critic_depth: must be a whole number, got True",
        "training.critic_lr: low must be below high, got low 0.1 and high 0.001: swap or change "
        "them, or give one fixed value",
        "training.beta1: low must be above 0 on a log scale, got 0.0: give a small positive low, "
        "or leave log out",
        "training.beta2: must be a finite number, got nan",
        "training.batchsize: no such key; did you mean batch_size?",
        "training.latent_dim: no such key; did you mean networks.latent_dim?",
        "objective.critic_steps: must be a whole number, got {'high': 10, 'low': 1}",
        "search.sampler: must be tpe, random, gp or grid, got 'tpee'; did you mean tpe?",
        "asha: grace_generator_steps must be below max_generator_steps, else there is no rung at "
        "which to stop a trial, got 4000 and 4000: lower the first or raise the second",
        "reporting.report_every_generator_steps: must be at least 1, got 0",
        "mlflow.tracking_uri: must not hold a password or user, which would be written into "
        "spec.yaml: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment, "
        "or for a database write a variable in its place, as in mysql://me:$DB_PASSWORD@host/db",
        "training.clip_value: has no effect when constraint is gradient_penalty: leave clip_value "
        "out, or set constraint to clip",
        "resources.cpus_per_trial: must be at most 8, all that this machine has, got 64: lower "
        "it, or give --address",
        "resources.gpus_per_trial: must be at most 0, all that this machine has, got 0.5: lower "
        "it, or give --address",
        f"results.runs_dir: {tmp_path}/space.yaml cannot be written to (Not a directory): give "
        "another by --runs-dir",
    ]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("a: [", "line 1, column 5: is not YAML: "),
        ("- 1", "must be a mapping of keys to values, got list"),
        (b"name: \xff", "is not UTF-8 text: save it as UTF-8"),
        (SMALL + "search: {num_trials: 1}", "search: is given twice, on lines 6 and 8: keep"),
        (SMALL.replace("num_trials: 3, ", ""), "search: needs num_trials or a budget"),
        (SMALL.replace("random", "grid"), "training.critic_lr: is a range of real numbers, and a"),
    ],
)
def test_a_refused_search_leaves_no_folder(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, what: str
):
    path = space(content)
    (fault,) = refused(capsys, path)
    assert fault.startswith(what)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["--resume"]])
def test_data_that_is_too_little_is_refused_before_anything_is_started_or_written(
    space: Space,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
):
    np.save(tmp_path / "few.npy", np.random.default_rng(0).uniform(-1, 1, (400, 2)))
    path = space(SMALL)
    array = ("--set", "data={dataset: array, path: few.npy}")
    (fault,) = refused(capsys, path, *array, *arguments)
    assert fault.startswith("data.path: must have at least 500 samples, so that each part (60% ")
    assert fault.endswith("got 400: add samples")
    assert {file.name for file in tmp_path.iterdir()} == {"few.npy", path.name}


def test_a_missing_file_and_a_folder_are_refused(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    space(SMALL)
    assert refused(capsys, tmp_path / "spce.yaml") == [
        f"no such file; in {tmp_path} there are space.yaml"
    ]
    assert refused(capsys, tmp_path) == ["cannot be read: Is a directory"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--name", "../x"], "name: must be letters, digits"),
        (["--name", ""], "name: must be letters, digits"),
        (["--runs-dir", ""], "results.runs_dir: must not be empty"),
        (["--runs-dir", "space.yaml"], "results.runs_dir: {}/space.yaml cannot be written to"),
        (["--set", "search.num_trials=0"], "search.num_trials: must be at least 1, got 0"),
        (["--set", "asha.brackets=9"], "asha: brackets must be at most 2"),
        (["--set", "results.folder=x", "--runs-dir", "r"], "results.folder: no such key"),
        (["--set", "results=3", "--runs-dir", "r"], "results: must be a mapping"),
    ],
)
def test_an_option_is_checked_like_the_key_it_stands_for(
    space: Space,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    what: str,
):
    path = space(SMALL)
    (fault,) = refused(capsys, path, *arguments)
    assert fault.startswith(what.format(tmp_path))
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_taken_is_refused_and_the_search_left_alone(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = space(SMALL)
    saved = tmp_path / "runs" / "small" / "spec.yaml"
    saved.parent.mkdir(parents=True)
    saved.write_text(read_spec(path).to_yaml())
    (fault,) = refused(capsys, path)
    assert fault == (
        f"name: {saved.parent} already holds a search: add --resume to resume it, or start "
        "another by --name"
    )
    for dry in ([], ["--dry-run"]):
        (fault,) = refused(capsys, path, *dry, "--resume", "--set", "search.seed=4")
        assert fault.startswith("search.seed: was 0 when this search began, is now 4: set it back")
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "the following arguments are required: SPACE.yaml"),
        (["a.yaml", "--resum"], "unrecognized arguments: --resum"),
        (["a.yaml", "--set"], "argument --set: expected one argument"),
    ],
)
def test_a_wrong_option_ends_with_status_2(
    capsys: pytest.CaptureFixture[str], argv: list[str], said: str
):
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    assert said in capsys.readouterr().err


def test_ctrl_c_while_reading_ends_with_status_130(
    space: Space, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tuner.driver.request.load_yaml", interrupt)
    assert main([str(space(SMALL))]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_cluster_is_not_measured_by_this_machine(space: Space):
    args = parser().parse_args([str(space(SMALL)), "--address", "auto", "--dry-run"])
    args.set = ["resources.cpus_per_trial=64"]
    found, runs_dir, _ = check_document(search_request(args), Console().print)
    assert found.resources.cpus_per_trial == 64
    assert runs_dir == Path("runs").absolute()


def test_the_environment_may_name_the_cluster(space: Space, monkeypatch: pytest.MonkeyPatch):
    for value, address in (("auto", "auto"), ("", None)):
        monkeypatch.setenv("RAY_ADDRESS", value)
        assert search_request(parser().parse_args([str(space(SMALL))])).address == address


def test_a_dry_run_says_what_would_run_and_writes_nothing(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = space(SMALL)
    arguments = ["--name", "other", "--runs-dir", "r", "--set", "search.num_trials=5"]
    assert main([str(path), "--dry-run", *arguments]) == 0
    out = capsys.readouterr().out
    resolved, said = out.split("\n\n", 1)
    read = read_spec(path, ["name=other", "results.runs_dir=r", "search.num_trials=5"])
    assert validate(yaml.safe_load(resolved)) == (read, [])
    *described, estimate = said.splitlines()
    assert estimate.startswith("time: roughly ")
    assert "with 5 trials at once on this machine at" in estimate
    assert described == [
        "data: 8192 samples to train on, 8192 to train the independent critics, 4096 to evaluate "
        "them on at the rungs and 8192 in the final, each of shape (2,)",
        "searched: training.critic_lr, networks.generator_width",
        "rungs: 10, 20, 40 generator steps",
        "trials: 5",
        "largest possible budget: 200 generator steps",
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_a_dry_run_names_the_faults_of_all_checks_at_once(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A run stops before it loads the data, which may take minutes."""
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self, latent_dim, sample_shape):\n        raise ValueError('wrong')\n"
    )
    text = SMALL.replace("{generator_width: {choice: [8, 16]}}", "{generator: 'nets:Net'}")
    text = text.replace("sampler: random", "sampler: tpee")
    text += "resources: {cpus_per_trial: 64}\n"
    path = space(text)
    found = refused(capsys, path, "--dry-run")
    assert [fault.partition(":")[0] for fault in found] == [
        "search.sampler", "resources.cpus_per_trial", "networks.generator",
    ]  # fmt: skip
    assert len(refused(capsys, path)) == 2

    without_data = ["--set", "data.dataset=array", "--set", "data.path=nowhere.npy"]
    found = refused(capsys, path, "--dry-run", *without_data)
    assert [fault.partition(":")[0] for fault in found] == [
        "search.sampler", "resources.cpus_per_trial", "data.path",
    ]  # fmt: skip


def test_a_search_for_a_cluster_is_checked_without_its_machines(
    space: Space, capsys: pytest.CaptureFixture[str]
):
    path = space(SMALL + "resources: {cpus_per_trial: 64, gpus_per_trial: 4}\n")
    assert main([str(path), "--dry-run", "--for-cluster"]) == 0
    assert "time: " not in capsys.readouterr().out
    found = refused(capsys, path, "--dry-run", "--for-cluster", "--set", "search.sampler=tpee")
    assert [fault.partition(":")[0] for fault in found] == ["search.sampler"]
    with pytest.raises(SystemExit, match="2"):
        main([str(path), "--for-cluster"])
    assert "--for-cluster only checks a search for another machine: add --dry-run" in (
        capsys.readouterr().err
    )


def test_a_dry_run_of_a_name_that_is_taken_is_no_fault(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = space(SMALL.replace("num_trials: 3", "time_budget_s: 60"))
    (tmp_path / "runs" / "small").mkdir(parents=True)
    (tmp_path / "runs" / "small" / "spec.yaml").write_text(read_spec(path).to_yaml())
    assert main([str(path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "trials: until the budget is used up\nlargest possible budget: inf gen" in out


def test_homes_and_variables_are_replaced_in_every_place_and_kept_in_the_search(
    space: Space,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """So that the folder of searches, moved to another user's machine, finds its places there."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    points = np.random.default_rng(0).uniform(-1, 1, (600, 2))
    np.save(tmp_path / "scratch" / "points.npy", points)
    path = space(
        SMALL.replace("dataset: eight_gaussians", "dataset: array, path: $SCRATCH/points.npy")
        + "results: {storage: ~/storage}\nmlflow: {tracking_uri: 'sqlite:///~/mlflow.db'}\n"
    )
    request = search_request(parser().parse_args([str(path), "--runs-dir=~/runs"]))
    spec, runs_dir, _ = check_document(request, lambda line: None)
    assert runs_dir == tmp_path / "home" / "runs"
    assert spec.results.location == str(tmp_path / "home" / "storage")
    assert (spec.results.runs_dir, spec.results.storage) == ("~/runs", "~/storage")
    assert main([str(path), "--dry-run", "--runs-dir=~/runs"]) == 0
    out = capsys.readouterr().out
    assert "  path: $SCRATCH/points.npy\n" in out
    assert not (Path.cwd() / "~").exists()


def test_a_variable_that_is_not_set_is_a_fault_of_each_place(
    space: Space, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("NOWHERE", raising=False)
    path = space(
        SMALL.replace("dataset: eight_gaussians", "dataset: array, path: $NOWHERE/x.npy")
        + "results: {runs_dir: $NOWHERE/runs, storage: $NOWHERE/s}\n"
        + "mlflow: {tracking_uri: 'sqlite:///$NOWHERE/mlflow.db'}\n"
    )
    keys = ["data.path", "mlflow.tracking_uri", "results.runs_dir", "results.storage"]
    faults = refused(capsys, path)
    assert [fault.partition(":")[0] for fault in faults] == keys
    assert all("set NOWHERE, or write $$ for a dollar sign" in fault for fault in faults)
    bucket = ("--set", "results.storage=s3://bucket/$NOWHERE/x")
    assert "must not hold $NOWHERE" in refused(capsys, path, *bucket)[-1]


def test_a_search_from_another_persons_folder_sends_no_password_to_its_mlflow(
    space: Space,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter22")
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "study.log").touch()
    mlflow = "mlflow: {tracking_uri: 'https://evil.example'}\n"
    (folder / "spec.yaml").write_text(SMALL + mlflow)
    (fault,) = refused(capsys, folder / "spec.yaml")
    assert fault == (
        "mlflow.tracking_uri: stands in a search's folder, which another person may have written, "
        "and MLFLOW_TRACKING_PASSWORD would be sent to https://evil.example: if it is yours, "
        "confirm it by --set mlflow.tracking_uri=https://evil.example"
    )
    confirmed = ["--set", "mlflow.tracking_uri=https://evil.example"]
    assert main([str(folder / "spec.yaml"), "--dry-run", *confirmed]) == 0
    assert main([str(space(SMALL + mlflow)), "--dry-run"]) == 0  # the user's own file


def test_a_dry_run_says_what_a_resume_would(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path, run_dir = space(SMALL), tmp_path / "runs" / "small"
    resume = [str(path), "--dry-run", "--resume"]
    assert main(resume) == 0
    new = f"{run_dir} holds no search yet: --resume would start it"
    assert capsys.readouterr().out.splitlines()[-1] == new

    run_dir.mkdir(parents=True)
    (run_dir / "spec.yaml").write_text(read_spec(path).to_yaml())
    study = Study(run_dir / "study.log", read_spec(path))
    for _ in range(2):
        study.ask()
    study.end(0, "failed", {}, None)
    files = {file: file.read_bytes() for file in run_dir.iterdir()}
    assert main([*resume, "--set", "search.num_trials=5"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "changed: search.num_trials is now 5, was 3",
        f"{run_dir} holds 2 trials: 1 ended, 1 to resume",
    ]
    with own_folder(run_dir):
        assert main(resume) == 2
    assert f"{run_dir} is in use by a search that is running" in capsys.readouterr().err
    (run_dir / ".lock").unlink(missing_ok=True)
    assert {file: file.read_bytes() for file in run_dir.iterdir()} == files
    study.set_data("those of another day")
    assert main(resume) == 2
    assert "data: are not those that this search began with" in capsys.readouterr().err


def test_bad_input_is_refused_before_anything_heavy_is_loaded(space: Space, tmp_path: Path):
    """By the command as a person types it, in a process of its own."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tuner.search", space(EVERYTHING_WRONG)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    loaded = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2
    assert done.stdout in ("", f"checking {tmp_path / 'space.yaml'} ...\n")  # if it takes long
    assert said[0] == f"{tmp_path / 'space.yaml'}: {len(said) - 1} faults"
    assert not any("Traceback" in line for line in said)
    modules = {line.split("|")[-1].strip().split(".")[0] for line in loaded}
    assert "pydantic" in modules
    assert modules & {"torch", "ray", "optuna", "mlflow", "sklearn", "pandas"} == set()


# --- Networks of one's own ---------------------------------------------------------------------

OWN = """
name: own
data: {dataset: eight_gaussians}
networks:
  generator: %s:%s
  generator_args: {width: {low: 2, high: 8}}
search: {num_trials: 2}
"""
NET = """
from torch import nn

class Generator(nn.Linear):
    def __init__(self, latent_dim, sample_shape, width):
        if width > 6:
            raise ValueError("no wider than 6")
        super().__init__(latent_dim, 2)

class Flat(nn.Linear):
    def __init__(self, latent_dim, sample_shape, width):
        super().__init__(latent_dim, width)

class Bare(nn.Linear):
    def __init__(self, latent_dim, sample_shape):
        super().__init__(latent_dim, 2)
"""
WRONG_NETWORKS = [
    ("nowhere", "Net", ["networks.generator: no module nowhere was found: put it into the folder"]),
    ("own_nets", "Generatr", ["networks.generator: own_nets ("]),
    (
        "own_nets",
        "Generator",
        ["networks.generator: own_nets:Generator must be callable with (lat"],
    ),
    ("own_nets", "Flat", ["networks.generator: the generator must map latents of shape (2, 32)"]),
    ("own_nets", "Bare", ["networks.generator_args: "]),
]


@pytest.fixture
def own_nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module beside the search space, which is not where the search is started."""
    (tmp_path / "own_nets.py").write_text(NET)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)


@pytest.mark.usefixtures("own_nets")
@pytest.mark.parametrize(("module", "name", "expected"), WRONG_NETWORKS)
def test_a_network_that_cannot_be_trained_is_refused_before_anything_starts(
    space: Space,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    module: str,
    name: str,
    expected: list[str],
):
    """At every end of its arguments' ranges: the generator that is too wide is found out too."""
    found = refused(capsys, space(OWN % (module, name)))
    assert [fault[: len(what)] for fault, what in zip(found, expected, strict=False)] == expected
    assert not list((tmp_path / "elsewhere").glob("runs/own"))


@pytest.mark.usefixtures("own_nets")
def test_one_that_can_be_is_found_beside_the_search_space(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = space(OWN % ("own_nets", "Generator"))
    narrow = ("--set", "networks.generator_args.width.high=6")
    assert main([str(path), "--dry-run", *narrow]) == ExitStatus.DONE
    assert "networks.generator_args.width" in capsys.readouterr().out
    assert os.environ["PYTHONPATH"] == str(tmp_path)  # Ray's workers look there too


# --- Warm starts -------------------------------------------------------------------------------


def test_a_warm_start_runs_an_earlier_searchs_best_first(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    earlier = tmp_path / "runs" / "earlier"
    earlier.mkdir(parents=True)
    (earlier / "trials.csv").write_text(
        "trial_id,status,generator_steps,w1,w1_final,critic_lr\n00000,completed,4000,0.5,,0.002\n"
    )
    path = space(SMALL + "initial_points: [{training: {critic_lr: 3e-3}}]\n")
    for run in ("earlier", str(earlier)):  # by its name, or its folder
        assert main([str(path), "--dry-run", "--warm-start", run]) == ExitStatus.DONE
        said = capsys.readouterr().out
        assert said.index("critic_lr: 0.002") < said.index("critic_lr: 0.003")
    assert main([str(path), "--warm-start", "later"]) == ExitStatus.BAD_INPUT
    assert "later/trials.csv cannot be read (No such file or directory)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ("5", "initial_points: must be a list, got 5"),
        (
            "[{training: {critic_lr: 3e-3}}, {training: {critic_lr: 3}}]",
            "initial_points.1.training.critic_lr: must lie in 0.0001 to 0.01, got 3: ",
        ),
    ],
)
def test_under_a_warm_start_a_fault_of_an_initial_point_names_it_as_the_file_does(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str], points: str, expected: str
):
    (tmp_path / "trials.csv").write_text(
        "trial_id,status,generator_steps,w1,w1_final,critic_lr\n00000,completed,4000,0.5,,0.002\n"
    )
    path = space(f"{SMALL}initial_points: {points}\n")
    (fault,) = refused(capsys, path, "--warm-start", str(tmp_path))
    assert fault.startswith(expected)


def test_a_resumed_search_keeps_the_points_that_it_began_with(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The earlier search may have gone on, or away."""
    path = space(SMALL)
    began = path.read_text() + "initial_points: [{training: {critic_lr: 3e-3}}]\n"
    saved = tmp_path / "runs" / yaml.safe_load(SMALL)["name"]
    saved.mkdir(parents=True)
    (saved / "spec.yaml").write_text(read_spec(space(began)).to_yaml())
    space(SMALL)
    args = parser().parse_args([str(path), "--resume", "--warm-start", "gone"])
    found, _, _ = check_document(search_request(args), Console().print)
    assert found.first_points == [{"training.critic_lr": 3e-3}]


def test_custom_metrics_are_tried_on_real_samples_before_the_start(
    space: Space, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, fault in (("Means", None), ("Raising", "but raised RuntimeError: out of order")):
        path = space(SMALL + f"objective: {{metrics: custom_metrics:{name}}}\n")
        assert main([str(path), "--dry-run"]) == (0 if fault is None else 2)
        printed = capsys.readouterr()
        if fault is None:
            assert "metrics: custom_metrics:Means gives mean distance " in printed.out
        else:
            assert "objective.metrics: custom_metrics:Raising must accept" in printed.err
            assert fault in printed.err


def test_a_port_that_is_taken_is_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SMALL)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status = main([str(space), "--local", "--runs-dir", "runs", "--serve", str(port)])
    assert status == ExitStatus.BAD_INPUT
    assert f"cannot listen on port {port} (Address already in use): give another" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "runs" / "small" / "study.log").exists()
