"""Export a generator for other programs: ``python -m tuner.export RUN --format onnx``.

The file maps standard normal latents to what ``python -m tuner.sample`` draws from them. It is
loaded again and compared with the generator before it takes its place.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tuner import cli, results
from tuner.errors import BadInput, Fault

#: What each format is for, as the names of ``trainables.exporting.Format``: importing it is slow.
FORMATS: Mapping[str, str] = {
    "pt2": "torch.export, for torch.export.load: needs PyTorch alone",
    "torchscript": "for torch.jit.load, also in C++; PyTorch deprecates it in favour of pt2",
    "onnx": "for ONNX Runtime and other runtimes, without PyTorch",
    "safetensors": "the weights by name and, as metadata, the network's configuration",
}


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    if args.out is not None and not args.out.absolute().parent.is_dir():
        message = f"there is no folder {args.out.parent}: make it first"
        raise BadInput(str(args.run), [Fault("--out", message)])
    print(_export(args))
    return cli.ExitStatus.DONE


def _parser() -> argparse.ArgumentParser:
    formats = "; ".join(f"{name}: {purpose}" for name, purpose in FORMATS.items())
    parser = cli.command_parser(
        "export", "Export the best generator of a search for other programs."
    )
    parser.add_argument(
        "run", type=cli.plain_path, metavar="RUN", help="its folder, or a file with a generator"
    )
    parser.add_argument("--format", required=True, choices=FORMATS, help=formats)
    parser.add_argument("--trial", metavar="ID", help="another trial than the best one")
    parser.add_argument(
        "--out",
        type=cli.path,
        metavar="FILE",
        help="(default: a file here, named for the trial and the format)",
    )
    cli.add_allow_code(parser)
    return parser


def _export(args: argparse.Namespace) -> str:
    """Write the file, and describe it."""
    from trainables import exporting
    from trainables.checkpoint import load_whole

    with results.find_generator(args.run, args.trial) as file:
        generator = file.load(args.allow_code)
        content = load_whole(file.path, "cpu")
    out = args.out or Path(file.name + exporting.SUFFIXES[args.format])
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "generator")
        try:
            deviation = exporting.export(
                generator.network, content, generator.latent_dim, args.format, path
            )
        except exporting.MissingLibraries as error:
            way_out = f"{sys.executable} -m pip install {' '.join(error.names)}"
            raise BadInput("--format", [Fault("", f"{error}: {way_out}")]) from error
        except exporting.ExportError as error:
            raise BadInput(str(args.run), [Fault(f"--format {args.format}", str(error))]) from error
        _put(path, out)
    facts = exporting.metadata_of(content, generator.latent_dim)
    shape = ", ".join(map(str, json.loads(facts["sample_shape"])))
    text = f"{out}: from latents [n, {generator.latent_dim}], {facts['latent_distribution']}, "
    text += f"to samples [n, {shape}], {facts['sample_values']}"
    if args.format == "safetensors":
        return text
    return f"{text}; they differ by at most {deviation:.1g} from the generator's own"


def _put(path: Path, out: Path) -> None:
    from tuner.storage import replacing

    try:
        with path.open("rb") as source, replacing(out) as target:
            shutil.copyfileobj(source, target)
    except OSError as error:
        raise cli.unwritable(out, error) from error


if __name__ == "__main__":
    cli.end_with(main)
