"""The command that exports a generator: which one, to which file, and what it refuses."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import small_search
import torch
from saved_generator import save

from trainables.config import NetworkConfig, TrialConfig
from trainables.exporting import SUFFIXES, Format
from trainables.training.state import TrainState
from trainables.trial import generator_file
from tuner import sample
from tuner.export import FORMATS, main
from tuner.space.spec import SearchSpec
from tuner.tracking.tracker import Tracker

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run_dir(
    make_spec: Callable[..., SearchSpec], uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    spec = make_spec(name="gp", search={"num_trials": 2, "sampler": "random"})

    def follow(search_id: str) -> Any:
        return Tracker(spec, tmp_path / "gp", search_id, lambda text: None, uri)

    small_search.tell_search(spec, tmp_path / "gp", follow, finish=True)
    save(tmp_path / "gp" / "best" / "generator.pt", 3)
    (tmp_path / "gp" / "best.yaml").write_text("# trial 00000: w1 1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "gp"


def array(source: Path) -> np.ndarray:
    assert sample.main([str(source), "--out", "samples.npy", "--num", "8"]) == 0
    return np.load("samples.npy")


def test_its_samples_are_those_of_the_search(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime

    from trainables.latents import drawn

    assert main([str(run_dir), "--format", "onnx"]) == 0
    said = "gp-00000.onnx: from latents [n, 5], standard normal, to samples [n, 2], vectors in the"
    assert capsys.readouterr().out.startswith(said)
    session = onnxruntime.InferenceSession("gp-00000.onnx")
    (samples,) = session.run(["samples"], {"latents": drawn(8, 5, seed=0).numpy()})
    np.testing.assert_allclose(samples, array(run_dir), atol=1e-6)


def test_safetensors_are_drawn_from_as_the_search_is(run_dir: Path) -> None:
    """Also where the file is exported again."""
    assert main([str(run_dir), "--format", "safetensors", "--out", "a.safetensors"]) == 0
    assert main(["a.safetensors", "--format", "safetensors", "--out", "b.safetensors"]) == 0
    np.testing.assert_array_equal(array(Path("b.safetensors")), array(run_dir))


def test_every_format_has_its_purpose_and_its_suffix() -> None:
    assert tuple(FORMATS) == tuple(SUFFIXES) == get_args(Format)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "no/x.onnx"], "--out: there is no folder no: make it first"),
        (["--trial", "7"], "has no trial '7': its trials are 0 to 1"),
        (["--trial", "1"], "trial 00001 has no generator, as is saved at each rung"),
        (["--out", "gp"], "gp: 1 fault\n  cannot be written"),
    ],
)
def test_what_cannot_be_done_is_refused(
    run_dir: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([str(run_dir), "--format", "safetensors", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = run_dir.parent / "gp-00000.safetensors"
    assert main([str(run_dir), "--format", "safetensors"]) == 0
    capsys.readouterr()
    for module in [name for name in sys.modules if name.startswith("safetensors")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    command = f"{sys.executable} -m pip install safetensors\n"
    assert main([str(run_dir), "--format", "safetensors"]) == 2
    assert capsys.readouterr().err.endswith(f"safetensors needs safetensors: {command}")
    assert main([str(exported), "--format", "pt2"]) == 2
    assert capsys.readouterr().err.endswith(f"needs safetensors: {command}")


def test_a_generator_that_a_format_cannot_hold_replaces_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    networks = NetworkConfig(latent_dim=5, generator="custom_networks:NoisyGenerator")
    config = TrialConfig(networks=networks)
    state = TrainState.create(config, (2,), "cpu")
    torch.save(generator_file(state, config, (2,)), "noisy.pt")
    Path("noisy.ts").write_text("an earlier one")
    arguments = ["noisy.pt", "--format", "torchscript", "--allow-code", "custom_networks"]
    assert main(arguments) == 2
    assert "--format torchscript: draws random numbers" in capsys.readouterr().err
    assert Path("noisy.ts").read_text() == "an earlier one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noisy.pt", "noisy.ts"]
