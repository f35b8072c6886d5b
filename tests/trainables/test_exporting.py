"""An exported generator makes the generator's own samples, loaded by libraries alone."""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables import exporting
from trainables.checkpoint import DamagedCheckpointError, Identity
from trainables.config import NetworkConfig, TrialConfig
from trainables.data import Scale
from trainables.exporting import SUFFIXES, ExportError, Format, MissingLibraries, export
from trainables.networks import CodeNotAllowed
from trainables.training.state import TrainState
from trainables.trial import generator_file, load_generator

pytestmark = pytest.mark.usefixtures("one_thread")

CPU, ALLOWED = torch.device("cpu"), ["custom_networks"]
POINTS = NetworkConfig(latent_dim=5, generator_width=8, critic_width=8)
IMAGES = NetworkConfig(
    architecture="dcgan", latent_dim=5, generator_width=4, critic_width=4, generator_norm="batch"
)
#: Columns of which one is large and one small, as a table has.
SCALE = Scale(np.array([1e6, 0.0, -3.0]), np.array([1.0, 1e-9, 1e5]))
#: Formats that hold a graph.
GRAPHS: tuple[Format, ...] = ("pt2", "torchscript", "onnx")


def saved(
    folder: Path, networks: NetworkConfig, shape: tuple[int, ...], scale: Scale | None = None
) -> Path:
    """A generator's file, with statistics of batches as training leaves them."""
    config = TrialConfig(networks=networks)
    state = TrainState.create(config, shape, "cpu")
    for name, buffer in state.scored.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(torch.linspace(0, 1, len(buffer)))
    content = generator_file(state, config, shape, scale)
    torch.save(content | Identity("gp_00003").kept(), folder / "generator.pt")
    return folder / "generator.pt"


def exported(path: Path, format: Format) -> Path:
    generator, latent_dim = load_generator(path, CPU, ALLOWED)
    target = path.with_name(f"exported{SUFFIXES[format]}")
    content = torch.load(path, weights_only=True)
    assert export(generator, content, latent_dim, format, target) < 1e-5
    return target


def loaded(path: Path, format: Format) -> tuple[Callable[[Tensor], Tensor], dict[str, str]]:
    """What a program without this one gets: a function, and the metadata."""
    extra = {"metadata.json": ""}
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)

        def run(latents: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {"latents": latents.numpy()})[0])

        return run, session.get_modelmeta().custom_metadata_map
    if format == "pt2":
        program = torch.export.load(path, extra_files=extra).module()
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            program = torch.jit.load(str(path), _extra_files=extra)
    text: Any = extra["metadata.json"]
    return program, json.loads(text)


@pytest.mark.parametrize("format", GRAPHS)
def test_vectors_are_in_the_units_of_the_data(format: Format, tmp_path: Path) -> None:
    path = saved(tmp_path, POINTS, (3,), SCALE)
    samples, metadata = loaded(exported(path, format), format)
    latents = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    expected = load_generator(path, CPU)[0](latents)
    for column, factor in enumerate(SCALE.factor):
        one, other = samples(latents)[:, column], expected[:, column]
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-5 * factor)
    assert samples(latents[:1]).shape == (1, 3)
    assert metadata["latent_distribution"] == "standard normal"
    assert metadata["sample_values"] == "vectors in the units of the data"
    assert (metadata["latent_dim"], metadata["sample_shape"]) == ("5", "[3]")
    assert metadata["trial"] == "gp_00003"


def test_images_are_normalised_by_what_training_left(tmp_path: Path) -> None:
    """Each by itself: not by the others of its batch, as in training."""
    path = saved(tmp_path, IMAGES, (1, 8, 8))
    samples, metadata = loaded(exported(path, "onnx"), "onnx")
    latents = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    expected = load_generator(path, CPU)[0](latents).detach()
    assert expected.std(0).min() > 0
    torch.testing.assert_close(samples(latents), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(samples(latents[:1]), expected[:1], rtol=0, atol=1e-6)
    assert metadata["sample_values"] == "images in [-1, 1]"


@pytest.mark.parametrize(
    "networks", [POINTS, NetworkConfig(latent_dim=5, generator="custom_networks:NoisyGenerator")]
)
def test_a_safetensors_file_loads_as_the_generator_itself(
    networks: NetworkConfig, tmp_path: Path
) -> None:
    from safetensors import safe_open

    path = saved(tmp_path, networks, (3,), SCALE)
    target = exported(path, "safetensors")
    one, other = (load_generator(p, CPU, ALLOWED, Identity("gp_00003")) for p in (path, target))
    assert one[1] == other[1] == 5
    passes = []
    for generator in (one[0], other[0]):
        torch.manual_seed(0)
        passes.append(generator(torch.ones(2, 5)))
    assert torch.equal(*passes)
    content = torch.load(path, weights_only=True)
    with safe_open(target, "pt") as file:
        assert set(file.keys()) == content["state_dict"].keys()
        assert json.loads(file.metadata()["networks"]) == content["networks"]


def test_a_safetensors_file_is_trusted_no_more_than_another(tmp_path: Path) -> None:
    networks = NetworkConfig(latent_dim=5, generator="custom_networks:CustomGenerator")
    target = exported(saved(tmp_path, networks, (3,)), "safetensors")
    with pytest.raises(CodeNotAllowed, match="add --allow-code custom_networks"):
        load_generator(target, CPU)
    with pytest.raises(DamagedCheckpointError, match="is of trial gp_00003"):
        load_generator(target, CPU, ALLOWED, Identity("gp_00004"))
    target.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(DamagedCheckpointError, match="cannot be read"):
        load_generator(target, CPU, ALLOWED)


@pytest.mark.parametrize("format", GRAPHS)
def test_a_generator_with_random_layers_is_refused(format: Format, tmp_path: Path) -> None:
    networks = NetworkConfig(latent_dim=5, generator="custom_networks:NoisyGenerator")
    with pytest.raises(ExportError, match=r"random numbers besides the latents.*safetensors"):
        exported(saved(tmp_path, networks, (3,)), format)
    assert [p.name for p in tmp_path.iterdir()] == ["generator.pt"]


class Branching(nn.Module):
    """What it does with a batch depends on the latents, by an ``if`` of Python."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, latents: Tensor) -> Tensor:
        return self.weight * (latents if latents[0, 0] > 0 else -latents)


@pytest.mark.parametrize(
    ("format", "message"),
    [("torchscript", "makes other samples"), ("pt2", "cannot be recorded as a graph")],
)
def test_a_generator_that_no_graph_represents_is_refused(
    format: Format, message: str, tmp_path: Path
) -> None:
    content = {"networks": {}, "sample_shape": [5]}
    with pytest.raises(ExportError, match=rf"{message}.*: export it as safetensors"):
        export(Branching(), content, 5, format, tmp_path / "file")


def test_libraries_that_are_missing_are_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingLibraries, match="onnx needs onnx and onnxruntime") as missing:
        export(Branching(), {"networks": {}, "sample_shape": [5]}, 5, "onnx", tmp_path / "file")
    assert missing.value.names == ("onnx", "onnxruntime")


def test_the_smallest_deviation_that_is_an_error_is_one_of_the_unit_of_training() -> None:
    """A step of float32 next to 1e9 is 64; in training, that column was between -1 and 1."""
    factor = torch.tensor([1.0, 1e-9])
    expected = torch.tensor([[1e9, 0.0]])
    rounded = torch.tensor([[1e9 + 64, 0.0]])
    assert exporting._deviation(rounded, expected, factor) == 0
    wrong = torch.tensor([[1e9, 1e-11]])
    assert exporting._deviation(wrong, expected, factor) == pytest.approx(0.01)
