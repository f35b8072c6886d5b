"""Export a generator for programs that do not have this one.

Every file has the same metadata, as text: the distribution and length of the latents, and the
shape and values of the samples.
"""

import importlib.util
import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast, final

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from trainables.latents import drawn
from trainables.networks import in_one_line
from trainables.training import seeded

#: ``pt2`` is what ``torch.export`` saves.
Format = Literal["pt2", "torchscript", "onnx", "safetensors"]
#: The end of a file's name, by format.
SUFFIXES: Mapping[Format, str] = {
    "pt2": ".pt2",
    "torchscript": ".ts",
    "onnx": ".onnx",
    "safetensors": ".safetensors",
}
#: The libraries that a format needs besides PyTorch.
_LIBRARIES: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "safetensors": ("safetensors",),
}
#: The names of the graph's input and output in ONNX, and of the metadata in files of PyTorch.
LATENTS, SAMPLES, METADATA = "latents", "samples", "metadata.json"
#: Latents with which the graph is recorded, and batches with which the file is tested: of all
#: sizes up to this, and each of other latents.
_NUM_RECORDED, _LARGEST_TESTED = 2, 8
#: The largest deviation of a sample, in the unit of training, that is not an error.
_TOLERANCE = 1e-3

Samples = Callable[[Float[Tensor, "n latent_dim"]], Float32[Tensor, "n *sample"]]


class ExportError(Exception):
    """A generator that cannot be written in a format; the text is written for the user."""


@final
class MissingLibraries(ExportError):
    """The format needs libraries that are not installed.

    Attributes:
        names: Their names, as pip knows them.
    """

    def __init__(self, format: Format, names: tuple[str, ...]) -> None:
        super().__init__(f"{format} needs {' and '.join(names)}")
        self.names = names


def check_libraries(format: Format) -> None:
    """Check that the libraries that a format needs are installed.

    Raises:
        MissingLibraries: if one is not.
    """
    missing = [
        name for name in _LIBRARIES.get(format, ()) if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise MissingLibraries(format, tuple(missing))


def metadata_of(content: Mapping[str, Any], latent_dim: int) -> dict[str, str]:
    """Describe a generator to those who load it elsewhere; numbers and mappings are JSON.

    Args:
        content: The content of its ``generator.pt``.
        latent_dim: The length of a latent.
    """
    shape = content["sample_shape"]
    is_image = len(shape) == 3
    facts = {
        "latent_distribution": "standard normal",
        "latent_dim": json.dumps(latent_dim),
        "sample_shape": json.dumps(list(shape)),
        "sample_values": "images in [-1, 1]" if is_image else "vectors in the units of the data",
        "networks": json.dumps(content["networks"]),
    }
    return facts | ({"trial": content["trial"]} if "trial" in content else {})


def export(
    generator: nn.Module, content: Mapping[str, Any], latent_dim: int, format: Format, path: Path
) -> float:
    """Write a generator in a format, then load the file and compare its samples.

    Args:
        generator: The generator of ``load_generator``, on the CPU: it maps latents
            [n, latent_dim] to samples in the units of the data.
        content: The content of its ``generator.pt``.
        latent_dim: The length of a latent.
        format: The format.
        path: The file.

    Returns:
        The largest deviation of a sample of the file from the generator's own, in the unit in which
        it was trained; 0 for ``safetensors``, which is no program but the weights.

    Raises:
        MissingLibraries: if the format needs one that is not installed.
        ExportError: if the file cannot represent the generator.
    """
    check_libraries(format)
    metadata = metadata_of(content, latent_dim)
    if format == "safetensors":
        _write_safetensors(content, metadata, path)
        return 0.0
    generator = generator.requires_grad_(False)
    _refuse_random(generator, latent_dim, format)
    with warnings.catch_warnings():
        # torch.jit is deprecated in favour of torch.export, which is one of the formats. What else
        # is warned of, as of values that are recorded as constants, the comparison decides.
        warnings.simplefilter("ignore")
        try:
            _WRITERS[format](generator, drawn(_NUM_RECORDED, latent_dim, seed=0), metadata, path)
            loaded = _LOADERS[format](path)
            parts = [drawn(num, latent_dim, seed=num) for num in range(1, _LARGEST_TESTED + 1)]
            pairs = [(loaded(part).float(), generator(part).float()) for part in parts]
        except Exception as error:  # a network of the user's may raise any type
            raise ExportError(
                f"cannot be recorded as a graph ({in_one_line(error)}): {_WAY_OUT}"
            ) from error
    scale = content.get("scale")
    factor = 1.0 if scale is None else scale["factor"]
    deviation = max(_deviation(samples, expected, factor) for samples, expected in pairs)
    if not deviation <= _TOLERANCE:
        raise ExportError(
            f"its graph makes other samples (they differ by {deviation:.2g}), as one does whose "
            f"forward pass depends on the latents by Python's if or for: {_WAY_OUT}"
        )
    return deviation


_WAY_OUT = "export it as safetensors, which keeps its weights, to be loaded with its code"


def _refuse_random(generator: nn.Module, latent_dim: int, format: Format) -> None:
    """Refuse a generator that draws random numbers besides the latents."""
    latents = drawn(_NUM_RECORDED, latent_dim, seed=0)
    passes = []
    for seed in (0, 1):
        with seeded(seed):
            passes.append(generator(latents))
    if not torch.equal(*passes):
        raise ExportError(
            "draws random numbers besides the latents, so that no two passes are alike and "
            f"{format} cannot be checked: {_WAY_OUT}"
        )


def _deviation(samples: Tensor, expected: Tensor, factor: Tensor | float) -> float:
    """Return the largest deviation in the unit of training, beyond float32's rounding."""
    if samples.shape != expected.shape:
        return float("inf")
    rounding = 4 * torch.finfo(expected.dtype).eps * expected.abs()
    excess = ((samples.double() - expected.double()).abs() - rounding).clamp_min(0) / factor
    return float(excess.max())


def _write_safetensors(content: Mapping[str, Any], metadata: dict[str, str], path: Path) -> None:
    """Write the weights by their names, and the scale of vectors into the metadata."""
    from safetensors.torch import save_file

    weights = content["state_dict"]
    if others := [name for name, value in weights.items() if not isinstance(value, Tensor)]:
        raise ExportError(f"has values that are no tensors, which safetensors lacks: {others[0]}")
    if (scale := content.get("scale")) is not None:
        metadata["scale"] = json.dumps({name: column.tolist() for name, column in scale.items()})
    # Copied, as tensors may share their memory.
    save_file({name: value.clone().contiguous() for name, value in weights.items()}, path, metadata)


def _export(generator: nn.Module, latents: Tensor) -> Any:
    return torch.export.export(generator, (latents,), dynamic_shapes=({0: torch.export.Dim("n")},))


def _write_pt2(
    generator: nn.Module, latents: Tensor, metadata: Mapping[str, str], path: Path
) -> None:
    buffer = io.BytesIO()  # given a path, it insists on its suffix
    torch.export.save(
        _export(generator, latents), buffer, extra_files={METADATA: json.dumps(metadata)}
    )
    path.write_bytes(buffer.getvalue())


def _write_torchscript(
    generator: nn.Module, latents: Tensor, metadata: Mapping[str, str], path: Path
) -> None:
    traced = torch.jit.trace(generator, latents, check_trace=False)
    torch.jit.save(traced, str(path), _extra_files={METADATA: json.dumps(metadata)})


def _write_onnx(
    generator: nn.Module, latents: Tensor, metadata: Mapping[str, str], path: Path
) -> None:
    import onnx

    program = torch.onnx.export(
        _export(generator, latents),
        input_names=[LATENTS],
        output_names=[SAMPLES],
        external_data=False,
        verbose=False,
    )
    model = cast(Any, program).model_proto
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)


def _load_pt2(path: Path) -> Samples:
    return torch.export.load(io.BytesIO(path.read_bytes())).module()


def _load_torchscript(path: Path) -> Samples:
    return torch.jit.load(str(path))


def _load_onnx(path: Path) -> Samples:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def samples(latents: Tensor) -> Tensor:
        return torch.from_numpy(session.run([SAMPLES], {LATENTS: latents.numpy()})[0])

    return samples


_WRITERS = {"pt2": _write_pt2, "torchscript": _write_torchscript, "onnx": _write_onnx}
_LOADERS = {"pt2": _load_pt2, "torchscript": _load_torchscript, "onnx": _load_onnx}
