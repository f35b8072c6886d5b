"""This machine and the folder of all searches: what no file can say of itself."""

import os
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuner.driver import preflight
from tuner.driver.request import SearchRequest, check_document
from tuner.errors import BadInput, Fault
from tuner.space.sections import ResourceConfig, ResultsConfig
from tuner.space.spec import SearchSpec, read_saved_spec
from tuner.space.yaml_file import load_yaml

MakeSpec = Callable[..., SearchSpec]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    def make(num_cpus: int, num_gpus: int) -> None:
        monkeypatch.setattr(preflight, "num_cpus", lambda: num_cpus)
        monkeypatch.setattr(preflight, "num_gpus", lambda: num_gpus)

    return make


@pytest.mark.parametrize("compiles", [True, {"choice": [False, True]}])
def test_compiling_needs_a_compiler(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiles: object
):
    asked = make_spec(training={"compile": compiles}).training
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    (fault,) = preflight.compiler_faults(asked)
    assert fault.where == "training.compile"
    assert fault.message.startswith("needs a C++ compiler, and this machine has none: install g++")
    assert preflight.compiler_faults(make_spec().training) == []
    (tmp_path / "g++").touch(mode=0o755)
    assert preflight.compiler_faults(asked) == []


def test_there_is_a_cpu():
    assert 1 <= preflight.num_cpus() <= (os.cpu_count() or 1)


CPU_MAX = "/sys/fs/cgroup/cpu.max"


@pytest.mark.parametrize(
    ("affinity", "quota", "max_count", "num_cpus"),
    [
        (range(8), "max 100000", None, 8), ({3, 5, 6}, "max 100000", None, 3),
        (range(8), "200000 100000", None, 2), (range(8), "150000 100000", None, 2),
        (range(8), "50000 100000", None, 1), (range(8), "max 100000", "4", 4),
        ({3, 5, 6}, "200000 100000", "1", 1),
    ],
)  # fmt: skip
def test_cpus_are_the_least_of_affinity_quota_and_what_is_set(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    affinity: Collection[int],
    quota: str,
    max_count: str | None,
    num_cpus: int,
):
    """Of 8 CPUs; a quota, which is that of a container, counts by whole CPUs, rounded up."""
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    open_, exists = open, os.path.exists
    monkeypatch.setattr(
        "builtins.open",
        lambda name, *args: open_(tmp_path / "cpu.max" if name == CPU_MAX else name, *args),
    )
    monkeypatch.setattr("os.path.exists", lambda name: name == CPU_MAX or exists(name))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: affinity)
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    if max_count is not None:
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", max_count)
    assert preflight.num_cpus() == num_cpus


def test_a_count_of_cpus_that_is_no_integer_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "two")
    with pytest.raises(BadInput, match=r"LOKY_MAX_CPU_COUNT must be an integer, got 'two': corr"):
        preflight.num_cpus()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_a_process_that_is_bound_to_one_cpu_counts_one():
    code = (
        "import os; from tuner.driver.preflight import num_cpus; "
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(num_cpus())"
    )
    command = [sys.executable, "-c", code]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("visible", "num_gpus"),
    [(None, 4), ("0", 1), ("2,3", 2), ("0,1,2,3,4,5", 4), ("", 0), ("-1", 0), ("1,-1,2", 1)],
)
def test_gpus_are_those_that_cuda_would_show(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, num_gpus: int
):
    devices = [Path(f"/dev/nvidia{i}") for i in range(4)]
    monkeypatch.setattr(preflight.Path, "glob", lambda *_: iter(devices))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert preflight.num_gpus() == num_gpus


def test_gpus_without_nvidias_devices_are_counted_by_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """As in Windows' Linux, which has one device for all kinds of GPU."""
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(preflight, "_DEVICES", tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert preflight.num_gpus() == 0
    (tmp_path / "dxg").touch()
    assert preflight.num_gpus() == 2


def test_a_trial_that_this_machine_cannot_hold_is_refused(machine: Callable[[int, int], None]):
    machine(8, 1)
    assert preflight.machine_faults(ResourceConfig(cpus_per_trial=9, gpus_per_trial=2)) == [
        Fault(
            "resources.cpus_per_trial",
            "must be at most 8, all that this machine has, got 9: lower it, or give --address",
        ),
        Fault(
            "resources.gpus_per_trial",
            "must be at most 1, all that this machine has, got 2: lower it, or give --address",
        ),
    ]


@pytest.mark.parametrize(("cpus", "gpus"), [(8, 1), (0.5, 0.25), (1, 0)])
def test_a_trial_that_fits_is_not(machine: Callable[[int, int], None], cpus: float, gpus: float):
    machine(8, 1)
    assert preflight.machine_faults(ResourceConfig(cpus_per_trial=cpus, gpus_per_trial=gpus)) == []


def test_even_a_share_of_a_gpu_needs_one(machine: Callable[[int, int], None]):
    machine(8, 0)
    (fault,) = preflight.machine_faults(ResourceConfig(gpus_per_trial=0.25))
    assert "must be at most 0, all that this machine has, got 0.25" in fault.message


@pytest.mark.parametrize("folder", ["", "runs", "runs/of/mine"])
def test_a_folder_that_can_be_made_is_right_and_is_not_made(tmp_path: Path, folder: str):
    assert preflight.folder_faults(ResultsConfig(runs_dir=str(tmp_path / folder))) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "runs", "runs/of/mine"])
def test_a_file_in_the_folders_place_is_refused(tmp_path: Path, below: str):
    (tmp_path / "file").touch()
    (fault,) = preflight.folder_faults(ResultsConfig(runs_dir=str(tmp_path / "file" / below)))
    assert fault.where == "results.runs_dir"
    expected = f"{tmp_path}/file cannot be written to (Not a directory): give another by --runs-dir"
    assert fault.message == expected


def test_a_folder_name_that_is_too_long_is_refused(tmp_path: Path):
    (fault,) = preflight.folder_faults(ResultsConfig(runs_dir=str(tmp_path / ("x" * 300))))
    assert "cannot be written to (File name too long): give another" in fault.message


def save(runs_dir: Path, spec: SearchSpec) -> None:
    folder = runs_dir / spec.name
    folder.mkdir()
    (folder / "spec.yaml").write_text(spec.to_yaml())


@pytest.mark.parametrize("resume", [False, True])
def test_a_new_name_is_free(tmp_path: Path, make_spec: MakeSpec, resume: bool):
    assert preflight.name_faults(tmp_path, make_spec(), resume=resume) == []


def test_a_name_that_is_taken_needs_resume(tmp_path: Path, make_spec: MakeSpec):
    save(tmp_path, make_spec())
    assert preflight.name_faults(tmp_path, make_spec(), resume=True) == []
    assert preflight.name_faults(tmp_path, make_spec(), resume=False) == [
        Fault(
            "name",
            f"{tmp_path}/search already holds a search: add --resume to resume it, or "
            "start another by --name",
        )
    ]


def test_resuming_another_search_names_every_key_that_changed(tmp_path: Path, make_spec: MakeSpec):
    save(tmp_path, make_spec(training={"critic_lr": {"low": 1e-5, "high": 1e-2}}))
    changed = make_spec(
        training={"critic_lr": {"low": 1e-4, "high": 1e-2}, "constraint": "clip"},
        search={"num_trials": 4, "sampler": "random", "seed": 1},
        results={"runs_dir": "elsewhere"},
    )
    faults = preflight.name_faults(tmp_path, changed, resume=True)
    assert {fault.where: fault.message.split(":")[0] for fault in faults} == {
        key: f"was {was!r} when this search began, is now {now!r}"
        for key, was, now in [
            ("search.seed", 0, 1),
            ("training.beta1", 0.0, None),
            ("training.beta2", 0.9, None),
            ("training.clip_value", None, 0.01),
            ("training.constraint", "gradient_penalty", "clip"),
            ("training.critic_lr.low", 1e-5, 1e-4),
            ("training.generator_lr", 1e-4, 5e-5),
            ("training.gp_weight", 10.0, None),
            ("training.optimizer", "adam", "rmsprop"),
        ]
    }
    assert all(
        "set it back to resume, or start another search by --name" in f.message for f in faults
    )


def test_what_no_trial_depends_on_may_change(tmp_path: Path, make_spec: MakeSpec):
    save(tmp_path, make_spec())
    changed = make_spec(
        search={
            "num_trials": 5,
            "sampler": "random",
            "time_budget_s": 60,
            "generator_steps": 9,
            "gpu_hours": 9,
        },
        objective={"final_seeds": 3},
        resources={"cpus_per_trial": 0.5, "gpus_per_trial": 1, "retries_per_trial": 0},
        reporting={"report_every_generator_steps": 7},
        results={"runs_dir": "elsewhere"},
        mlflow={"experiment": "other"},
    )
    assert preflight.name_faults(tmp_path, changed, resume=True) == []


def test_a_key_that_an_earlier_version_did_not_know_is_no_change(
    tmp_path: Path, make_spec: MakeSpec
):
    """It has its default, whatever the section; only another value than that is a change."""
    save(tmp_path, make_spec())
    saved = tmp_path / "search" / "spec.yaml"
    document = yaml.safe_load(saved.read_text())
    del document["training"]["cuda_graph"], document["objective"]["final_trials"]
    saved.write_text(yaml.safe_dump(document))
    assert preflight.name_faults(tmp_path, make_spec(), resume=True) == []
    changed = make_spec(objective={"final_trials": 2})
    (fault,) = preflight.name_faults(tmp_path, changed, resume=True)
    default = make_spec().objective.final_trials
    assert str(fault).startswith(
        f"objective.final_trials: was {default} when this search began, is now 2: set it back"
    )


@pytest.mark.parametrize(
    "training",
    [{"loss": "minimax"}, {"constraint": {"choice": ["gradient_penalty", "orthogonal"]}}],
)
def test_a_search_from_before_r1_packs_and_smoothing_is_resumed_without_them(
    tmp_path: Path, make_spec: MakeSpec, training: dict
):
    spec = make_spec(training=training)
    save(tmp_path, spec)
    saved = tmp_path / "search" / "spec.yaml"
    document = yaml.safe_load(saved.read_text())
    added = ("r1_weight", "r2_weight", "label_smoothing", "pack", "feature_matching_weight")
    for key in (*added, "historical_averaging_weight"):
        document["training"].pop(key, None)
    saved.write_text(yaml.safe_dump(document))
    assert preflight.name_faults(tmp_path, spec, resume=True) == []
    resumed = read_saved_spec(saved)
    assert resumed.training.pack == 1
    assert not resumed.training.r1_weight
    assert not resumed.training.label_smoothing
    assert not resumed.training.feature_matching_weight
    assert not resumed.training.historical_averaging_weight


def test_a_search_of_a_sampler_that_is_gone_is_not_resumed(tmp_path: Path, make_spec: MakeSpec):
    save(tmp_path, make_spec())
    saved = tmp_path / "search" / "spec.yaml"
    saved.write_text(saved.read_text().replace("sampler: random", "sampler: cmaes"))
    assert preflight.name_faults(tmp_path, make_spec(), resume=True) == [
        Fault(
            "search.sampler",
            f"must be tpe, random, gp or grid, got 'cmaes' in {saved}, which cannot be resumed by "
            "this version: start another search by --name",
        )
    ]


def test_a_range_that_became_a_value_is_told(tmp_path: Path, make_spec: MakeSpec):
    save(tmp_path, make_spec())
    faults = preflight.name_faults(tmp_path, make_spec(training={"critic_lr": 1e-3}), resume=True)
    assert "training.critic_lr" in [fault.where for fault in faults]


def test_a_saved_search_that_somebody_broke_is_told(tmp_path: Path, make_spec: MakeSpec):
    save(tmp_path, make_spec())
    (tmp_path / "search" / "spec.yaml").write_text("a: [")
    with pytest.raises(BadInput, match=r"search/spec\.yaml: 1 fault\n  line 1, .* is not YAML"):
        preflight.name_faults(tmp_path, make_spec(), resume=True)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("what?", "must not hold '?', which has a meaning"),
        ("a%41b", "must not hold '%41', which"),
        ("caf\udce9", "must have a name in UTF-8"),
    ],
)
def test_a_folder_that_no_address_can_name_is_a_fault(tmp_path: Path, name: str, rule: str):
    """Of a relative one the whole path counts."""
    results = ResultsConfig.model_construct(runs_dir=str(tmp_path / name / "runs"))
    (fault,) = preflight.folder_faults(results)
    assert fault.message.startswith(rule)
    assert fault.message.encode()


def test_a_null_byte_in_the_folder_is_a_fault(tmp_path: Path):
    (fault,) = preflight.folder_faults(ResultsConfig(runs_dir=str(tmp_path / "a\0b" / "c")))
    assert fault.message.startswith("must not hold a null byte, got ")


@pytest.mark.parametrize("name", ["mlflow.db", "mlflow.db.lock", "mlflow-artifacts", "a_file"])
def test_a_name_that_is_no_folder_of_a_search_is_refused(
    tmp_path: Path, make_spec: MakeSpec, name: str
):
    (tmp_path / "a_file").touch()
    (fault,) = preflight.name_faults(tmp_path, make_spec(name=name), resume=False)
    assert str(fault) == (
        f"name: {tmp_path / name} is not the folder of a search: give another name by --name"
    )


def _older(
    runs_dir: Path, spec: SearchSpec, key: str, section: str = "objective"
) -> tuple[dict[str, Any], Path]:
    """Save a search from before a key of a section; returns its space, and what was saved."""
    save(runs_dir, spec)
    saved = runs_dir / "search" / "spec.yaml"
    document = yaml.safe_load(saved.read_text())
    del document[section][key]
    saved.write_text(yaml.safe_dump(document))
    given = {"name": "search", "training": spec.resolved()["training"]}
    given |= {"search": {"num_trials": 4, "sampler": "random"}}
    return given | {"results": {"runs_dir": str(runs_dir)}}, saved


def test_a_search_older_than_the_ground_metric_resumes_with_pixels(
    tmp_path: Path, make_spec: MakeSpec
):
    spec = make_spec(results={"runs_dir": str(tmp_path)})
    document, saved = _older(tmp_path, spec, "ground")
    for given in (document, load_yaml(saved)[0]):
        request = SearchRequest("space.yaml", given, resume=True)
        assert check_document(request, print)[0].objective.ground == "pixels"
    now = {**document, "objective": {"ground": "energies"}}
    with pytest.raises(BadInput, match="ground: was 'pixels' when this search began, is now 'ene"):
        check_document(SearchRequest("space.yaml", now, resume=True), print)


def test_a_search_older_than_cones_resumes_without_them(tmp_path: Path, make_spec: MakeSpec):
    spec = make_spec(results={"runs_dir": str(tmp_path)}, objective={"ground": "pixels"})
    document, _ = _older(tmp_path, spec, "final_cones")
    for objective in ({"ground": "pixels"}, {"ground": "pixels", "final_trials": 3}):
        given = {**document, "objective": objective}
        request = SearchRequest("space.yaml", given, resume=True)
        resumed = check_document(request, print)[0].objective
        assert (resumed.final_cones, resumed.ground) == (False, "pixels")
    now = {**document, "objective": {"ground": "pixels", "final_cones": True}}
    with pytest.raises(BadInput, match="final_cones: was False when this search began, is now Tr"):
        check_document(SearchRequest("space.yaml", now, resume=True), print)


def test_a_search_older_than_scaled_learning_rates_resumes_with_one_rate(
    tmp_path: Path, make_spec: MakeSpec
):
    spec = make_spec(results={"runs_dir": str(tmp_path)}, objective={"ground": "pixels"})
    document, _ = _older(tmp_path, spec, "scaled_critic_lr")
    given = {**document, "objective": {"ground": "pixels"}}
    request = SearchRequest("space.yaml", given, resume=True)
    rung = check_document(request, print)[0].objective.rung
    assert rung.learning_rate_at(4096) == rung.learning_rate


def test_a_search_older_than_promotion_resumes_by_stopping(tmp_path: Path, make_spec: MakeSpec):
    spec = make_spec(results={"runs_dir": str(tmp_path)})
    document, saved = _older(tmp_path, spec, "variant", "asha")
    for given in (document, load_yaml(saved)[0]):
        request = SearchRequest("space.yaml", given, resume=True)
        assert check_document(request, print)[0].asha.variant == "stopping"
    now = {**document, "asha": {"variant": "promotion"}}
    with pytest.raises(BadInput, match="variant: was 'stopping' when this search began, is now 'p"):
        check_document(SearchRequest("space.yaml", now, resume=True), print)


def test_a_resumed_search_keeps_its_ground_metric(tmp_path: Path, make_spec: MakeSpec):
    spec = make_spec(results={"runs_dir": str(tmp_path)})
    save(tmp_path, spec)
    request = SearchRequest("space.yaml", spec.resolved(), resume=True)
    assert check_document(request, print)[0].objective.ground == "energies"
