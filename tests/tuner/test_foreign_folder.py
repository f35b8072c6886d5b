"""The folder of another person's search: no command runs code that it holds or names."""

import contextlib
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_search
import torch
import yaml

import tuner
from trainables.config import DataConfig, ObjectiveConfig
from trainables.data import load
from trainables.datasets.cache import recall
from trainables.networks import CodeNotAllowed
from trainables.trial import load_generator, settings_restored
from tuner import compare, export, narrow, report, results, sample, search, sync, train
from tuner.cluster.scoring import score_checkpoint
from tuner.errors import BadInput
from tuner.list import main as list_searches
from tuner.space.spec import SearchSpec
from tuner.study.study import Study
from tuner.tracking.model import save
from tuner.tracking.tracker import Tracker

#: A network that works, in a module that leaves a mark when it is imported.
POISON = """
from pathlib import Path
from torch import nn

Path({mark!r}).touch()

class Net(nn.Linear):
    def __init__(self, latent_dim, sample_shape):
        super().__init__(latent_dim, *sample_shape)
"""
OWN = """
name: own
data: {dataset: eight_gaussians}
training: {critic_lr: {low: 1e-5, high: 1e-2, log: true}}
search: {num_trials: 2, sampler: random}
"""
SMALL = """
name: small
data: {dataset: eight_gaussians}
networks: {generator_width: 8, critic_width: 8, latent_dim: 4}
training: {batch_size: 8, n_critic: 1}
objective: {critic_steps: 2, num_critics: 1, final_trials: 1,
  final_critic_steps: 2, final_cones: false,
            final_num_critics: 1}
search: {num_trials: 1, sampler: random}
asha: {grace_generator_steps: 1, max_generator_steps: 2, reduction_factor: 2}
"""
REFUSED = (
    "names poison:Net, whose module poison would be imported and run: if you trust it, add "
    "--allow-code poison, or from Python allow_code=['poison']"
)
#: The files of a search's folder that a command may read.
FILES = (
    *("spec.yaml", "best.yaml", "study.log", "metrics.jsonl", "retrained.json", "trials.csv"),
    *("best/generator.pt", "samples/00000/step_000250.png", "../mlflow.db"),
)
#: A command line for each command, of which RUN is the poisoned folder.
COMMANDS: dict[str, tuple[Callable[..., int], list[str]]] = {
    "report": (report.main, ["RUN"]),
    "list": (list_searches, ["RUN/.."]),
    "compare": (compare.main, ["RUN", "--by", "critic_lr"]),
    "narrow": (narrow.main, ["RUN"]),
    "sample": (sample.main, ["RUN", "--num", "4"]),
    "export": (export.main, ["RUN", "--format", "safetensors"]),
    "sample a file": (sample.main, ["RUN/best/generator.pt", "--num", "4"]),
    "train": (train.main, ["RUN"]),
    "train best.yaml": (train.main, ["RUN/best.yaml"]),
    "sync": (sync.main, ["RUN"]),
    "search spec.yaml": (search.main, ["RUN/spec.yaml", "--dry-run"]),
    "resume spec.yaml": (search.main, ["RUN/spec.yaml", "--resume", "--local"]),
}
READS = ("report", "list", "compare")


class Touches:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that is made when code of the folder runs."""
    return tmp_path / "code-ran"


@pytest.fixture
def run_dir(
    make_spec: Callable[..., SearchSpec], uri: str, tmp_path: Path, mark: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:  # fmt: skip
    """A finished search whose files name ``poison:Net``; the module could be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    spec = make_spec(
        name="poisoned",
        data={"dataset": "eight_gaussians"},
        networks={"generator": "poison:Net", "latent_dim": 5, "critic_width": 8},
        search={"num_trials": 2, "sampler": "random"},
    )
    folder = tmp_path / "runs" / "poisoned"
    folder.parent.mkdir()

    def follow(search_id: str) -> Any:
        return Tracker(spec, folder, search_id, lambda text: None, uri)

    small_search.tell_search(spec, folder, follow, finish=True)
    best = results.read_snapshot(folder).trials[0].config.applied()
    (folder / "best.yaml").write_text(f"# trial 00000: w1 1\n{yaml.safe_dump(best)}")
    poison(folder / "best" / "generator.pt")
    for place in (folder, tmp_path / "elsewhere"):
        place.mkdir(exist_ok=True)
        (place / "poison.py").write_text(POISON.format(mark=str(mark)))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "elsewhere")])
    monkeypatch.setenv("PYTHONPATH", "")
    yield folder
    for module in ("poison", "mine"):
        sys.modules.pop(module, None)


def poison(path: Path) -> None:
    """Write a generator file that names ``poison:Net``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "state_dict": {"weight": torch.zeros(2, 5), "bias": torch.zeros(2)},
            "networks": {"generator": "poison:Net", "latent_dim": 5},
            "sample_shape": [2],
        },
        path,
    )


def run(command: str, run_dir: Path, *options: str) -> int:
    main, arguments = COMMANDS[command]
    return main([*(part.replace("RUN", str(run_dir)) for part in arguments), *options])


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_imports_what_a_folder_names(
    run_dir: Path, mark: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = [*sys.path]
    status = run(command, run_dir)
    assert not mark.exists()
    assert "poison" not in sys.modules
    assert sys.path == path
    if command in READS:
        assert status == 0
    else:
        assert status == 2
        assert REFUSED in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", ["sample", "sample a file", "search spec.yaml"])
def test_a_module_that_the_user_allows_is_imported(run_dir: Path, mark: Path, command: str) -> None:
    """So the module can be imported, and nothing but the missing word keeps it from that."""
    assert run(command, run_dir, "--allow-code", "other", "--allow-code", "poison") == 0
    assert mark.exists()


@pytest.mark.parametrize("word", ["poison.inner", "poiso", "poison:Net", "other", ""])
def test_another_module_that_the_user_allows_changes_nothing(
    run_dir: Path, mark: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    assert run("sample", run_dir, "--allow-code", word) == 2
    assert "add --allow-code poison, or" in capsys.readouterr().err
    assert not mark.exists()


@pytest.mark.parametrize("word", [[], ["--allow-code", "torch.hub"]])
def test_a_function_of_a_library_is_not_called(
    run_dir: Path, mark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: list[str]
) -> None:
    """``torch.hub.load`` runs the file ``hubconf.py`` of any folder or repository."""
    (tmp_path / "hubconf.py").write_text(POISON.format(mark=str(mark)) + "\ndef G(**_): ...\n")
    arguments = {"repo_or_dir": str(tmp_path), "model": "G", "source": "local"}
    networks = {"generator": "torch.hub:load", "generator_args": arguments, "latent_dim": 5}
    path = run_dir / "best" / "generator.pt"
    torch.save({"state_dict": {}, "networks": networks, "sample_shape": [2]}, path)
    assert sample.main([str(path), *word]) == 2
    refused = "must be a class in a module of your own" if word else "names torch.hub:load, whose"
    assert refused in capsys.readouterr().err
    assert not mark.exists()


def test_a_module_in_the_folder_itself_is_not_found(
    run_dir: Path, mark: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Allowed by its name, it is looked for where the user keeps modules, and nowhere else."""
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not p.endswith("elsewhere")])
    for command in ("sample", "train", "train best.yaml", "search spec.yaml"):
        assert run(command, run_dir, "--allow-code", "poison") == 2
        assert "no module poison was found: put it into" in capsys.readouterr().err
    assert not mark.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_unpickles_a_file_of_a_folder(
    run_dir: Path, mark: Path, command: str, tmp_path: Path
) -> None:
    """Whatever a command makes of such a file: it may be refused, but does not run."""
    hostile = pickle.dumps(Touches(mark))
    for name in FILES:
        copy = Path(shutil.copytree(run_dir.parent, tmp_path / "copy"))
        (copy / run_dir.name / name).write_bytes(hostile)
        with contextlib.suppress(Exception):
            run(command, copy / run_dir.name)
        assert not mark.exists(), name
        shutil.rmtree(copy)
    pickle.loads(hostile)
    assert mark.exists()  # or this test would show nothing


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["spec.yaml", "best.yaml"])
def test_no_command_builds_what_a_yaml_tag_names(
    run_dir: Path, mark: Path, command: str, name: str
) -> None:
    with (run_dir / name).open("a") as file:
        file.write(f"\nmlflow: !!python/object/apply:os.mkdir [{str(mark)!r}]\n")
    with contextlib.suppress(Exception):
        run(command, run_dir)
    assert not mark.exists()


def test_the_cache_of_decoded_images_is_not_unpickled(tmp_path: Path, mark: Path) -> None:
    """It lies in the runs folder, and a search of any images there reads it."""
    np.save(tmp_path / "key.npy", np.array([Touches(mark)], dtype=object))
    (tmp_path / "key.json").write_text('{"shape": [1], "checksum": "", "left_out": []}')
    notes: list[str] = []
    assert recall(tmp_path, "key", notes.append) is None
    assert "decoding again" in notes[0]
    assert not mark.exists()


# --- A search of the user's own that meets files of a stranger's -------------------------------


def test_a_warm_start_takes_no_network_but_those_of_the_users_file(
    run_dir: Path, mark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = "trial_id,status,generator_steps,w1,w1_final,critic_lr,generator\\n"
    row = "00000,completed,4000,0.5,,0.002,poison:Net\\n"
    (run_dir / "trials.csv").write_text((table + row).replace("\\n", "\n"))
    (tmp_path / "mine.py").write_text(POISON.format(mark=str(tmp_path / "mine-ran")))
    text = OWN + "networks: {generator: {choice: [mine:Net]}, latent_dim: 5}\n"
    (tmp_path / "own.yaml").write_text(text)
    assert search.main([str(tmp_path / "own.yaml"), "--dry-run", "--warm-start", str(run_dir)]) == 0
    assert "critic_lr: 0.002" in capsys.readouterr().out
    assert (tmp_path / "mine-ran").exists()  # of the file that the user gave
    assert not mark.exists()


def test_a_journal_that_names_another_network_is_refused(
    run_dir: Path, mark: Path, make_spec: Callable[..., SearchSpec]
) -> None:
    """A resume takes its trials' configurations from there."""
    clean = make_spec(name="poisoned", search={"num_trials": 2, "sampler": "random"})
    with pytest.raises(BadInput, match="trial 0 has the class poison:Net, which the search does"):
        Study(run_dir / "study.log", clean).trials()
    (run_dir / "spec.yaml").write_text(clean.to_yaml())
    for command in ("report", "sample", "train"):
        assert run(command, run_dir, *(["--allow-code", "poison"] * (command != "report"))) == 2
    assert not mark.exists()


def test_a_folder_may_name_custom_metrics_of_no_module_that_is_not_allowed(
    run_dir: Path, mark: Path, make_spec: Callable[..., SearchSpec], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Neither in its search space nor in its journal."""
    space = {"data": {"dataset": "eight_gaussians"}, "search": {"num_trials": 1}}
    metrics = {"objective": {"metrics": "poison:Net"}}
    other = tmp_path / "runs" / "other"
    other.mkdir()
    (other / "study.log").touch()
    (other / "spec.yaml").write_text(make_spec(name="other", **space, **metrics).to_yaml())
    assert search.main([str(other / "spec.yaml"), "--dry-run"]) == 2
    assert REFUSED in " ".join(capsys.readouterr().err.split())
    Study(other / "study.log", make_spec(name="other", **space, **metrics)).ask()
    with pytest.raises(BadInput, match="trial 0 has the class poison:Net, which the search does"):
        Study(other / "study.log", make_spec(name="other", **space)).trials()
    assert not mark.exists()


def test_the_final_imports_no_network_but_those_of_the_search(run_dir: Path, mark: Path) -> None:
    checkpoint = str(run_dir / "best")
    data, objective = load(DataConfig(dataset="eight_gaussians")), ObjectiveConfig()
    with settings_restored():
        for allowed in ((), {"mine"}):
            with pytest.raises(CodeNotAllowed, match="names poison:Net"):
                score_checkpoint(checkpoint, "poisoned_00000", data, objective, 1, False, allowed)
    assert not mark.exists()


def test_a_resumed_search_gives_mlflow_no_generator_that_it_has_not_written(
    run_dir: Path, mark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    command = [str(tmp_path / "small.yaml"), "--local", "--resume"]
    assert search.main(command) == 0
    shutil.copy(run_dir / "best" / "generator.pt", tmp_path / "runs" / "small" / "best")
    capsys.readouterr()
    assert search.main(command) == 0
    assert "MLflow got no model: " in capsys.readouterr().out
    assert not mark.exists()


# --- From Python, and served by MLflow ---------------------------------------------------------


def test_from_python_the_best_generator_needs_the_users_word(run_dir: Path, mark: Path) -> None:
    best = tuner.load_search(run_dir).best
    assert best is not None
    with pytest.raises(BadInput, match=r"add --allow-code poison, or from Python allow_code="):
        _ = best.latent_dim
    assert not mark.exists()
    allowed = tuner.load_search(run_dir, allow_code=["poison"]).best
    assert allowed is not None
    assert allowed.generator(torch.ones(1, 5)).tolist() == [[0, 0]]
    assert mark.exists()


def test_a_file_needs_the_users_word_for_its_very_module(run_dir: Path, mark: Path) -> None:
    path, cpu = run_dir / "best" / "generator.pt", torch.device("cpu")
    for allowed in ((), ("poison.inner",), ["pois"], "poisonous"):
        with pytest.raises(CodeNotAllowed, match="names poison:Net"):
            load_generator(path, cpu, allowed)
    assert not mark.exists()
    assert load_generator(path, cpu, "poison")[1] == 5


@pytest.mark.filterwarnings("ignore")  # MLflow warns at its own hints
def test_a_served_model_imports_the_network_that_the_search_wrote_and_no_other(
    run_dir: Path, mark: Path, tmp_path: Path
) -> None:
    from mlflow import pyfunc

    (tmp_path / "elsewhere" / "mine.py").write_text(POISON.format(mark=str(tmp_path / "mine-ran")))
    generator, model = tmp_path / "generator.pt", tmp_path / "model"
    saved = torch.load(run_dir / "best" / "generator.pt", weights_only=True)
    torch.save({**saved, "networks": {"generator": "mine:Net", "latent_dim": 5}}, generator)
    save(model, generator, None, None)
    latents = torch.ones(3, 5).numpy()
    assert pyfunc.load_model(str(model)).predict(latents).tolist() == [[0, 0]] * 3
    assert (tmp_path / "mine-ran").exists()
    (file,) = (model / "data").glob("*.pt")
    shutil.copy(run_dir / "best" / "generator.pt", file)
    with pytest.raises(CodeNotAllowed, match="names poison:Net"):
        pyfunc.load_model(str(model))
    assert not mark.exists()
