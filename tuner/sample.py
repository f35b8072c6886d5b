"""Draw samples of a search's best generator: ``python -m tuner.sample RUN``.

The samples are written as a picture or an array. A file given by ``--out`` is replaced; without
``--out`` the name describes the content, and the same command writes the same file.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuner import cli, results
from tuner.errors import BadInput, Fault

if TYPE_CHECKING:
    from torch import Tensor

    from tuner.results import Generator

#: Samples per row of an interpolation, from one latent to another.
STEPS = 8
_MAX_NUM, _MAX_DRAWN = 1_000_000, 10_000
#: Samples generated at a time.
_BATCH = 256


@cli.with_exit_status
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    _check(args)
    with results.find_generator(args.run, args.trial) as file:
        generator = file.load(args.allow_code)
    samples = draw(generator, args.num, args.seed, interpolate=args.interpolate)
    kind = "interpolation" if args.interpolate else "samples"
    out = args.out or Path(f"{file.name}-{kind}-{args.num}-seed-{args.seed}.png")
    write(samples, out, columns=STEPS if args.interpolate else None)
    print(f"{len(samples)} samples of shape {tuple(samples.shape[1:])}: {out}")
    return cli.ExitStatus.DONE


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser("sample", "Draw samples of the best generator of a search.")
    parser.add_argument(
        "run", type=cli.plain_path, metavar="RUN", help="its folder, or a file with a generator"
    )
    parser.add_argument("--num", type=int, default=64, metavar="N", help="how many (default: 64)")
    parser.add_argument(
        "--out",
        type=cli.path,
        metavar="FILE",
        help=".png: a picture; .npy: float32 [num, *shape], images in [-1, 1], vectors in the "
        "data's units (default: a picture here, named for what it shows)",
    )
    parser.add_argument(
        "--interpolate",
        action="store_true",
        help=f"interpolate between pairs of latents, {STEPS} samples per row",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the latents")
    parser.add_argument("--trial", metavar="ID", help="another trial than the best one")
    cli.add_allow_code(parser)
    return parser


def _check(args: argparse.Namespace) -> None:
    faults = []
    as_picture = args.out is None or args.out.suffix != ".npy"
    if args.out is not None and args.out.suffix not in (".png", ".npy"):
        faults.append(Fault("--out", f"must end in .png or .npy, got {str(args.out)!r}"))
    elif args.out is not None and not args.out.absolute().parent.is_dir():
        faults.append(Fault("--out", f"there is no folder {args.out.parent}: make it first"))
    most = _MAX_DRAWN if as_picture else _MAX_NUM
    if not 1 <= args.num <= most:
        kind = "picture" if as_picture else "file"
        message = f"must be at least 1 and at most {most:,} for a {kind}, got {args.num}"
        faults.append(Fault("--num", message))
    elif args.interpolate and args.num % STEPS:
        rule = f"must be a multiple of {STEPS} with --interpolate, for whole rows"
        faults.append(Fault("--num", f"{rule}, got {args.num}"))
    if not 0 <= args.seed < 2**32:
        faults.append(Fault("--seed", f"must be at least 0 and below 2**32, got {args.seed}"))
    if faults:
        raise BadInput(str(args.run), faults)


def draw(generator: "Generator", num: int, seed: int, *, interpolate: bool = False) -> "Tensor":
    """Generate samples [num, *sample_shape], float32: images in [-1, 1], vectors in data's units.

    Args:
        generator: The generator.
        num: The number of samples; with ``interpolate`` a multiple of :data:`STEPS`.
        seed: The seed of the latents.
        interpolate: Interpolate from one latent to another in each row of :data:`STEPS` samples.
    """
    import torch

    from trainables.latents import drawn, interpolated
    from trainables.training import seeded

    if interpolate:
        ends = drawn(2 * (num // STEPS), generator.latent_dim, seed)
        latents = interpolated(ends[0::2], ends[1::2], STEPS).flatten(0, 1)
    else:
        latents = drawn(num, generator.latent_dim, seed)
    with seeded(seed):  # a custom generator may draw random numbers besides the latents
        return torch.cat([generator(part).float() for part in latents.split(_BATCH)])


def write(samples: "Tensor", out: Path, columns: int | None = None) -> None:
    """Write samples as a picture or an array: whole, or not at all.

    Args:
        samples: The samples [num, *sample_shape].
        out: A ``.npy`` or ``.png`` file.
        columns: Images per row of a picture; by default the picture is nearly square.

    Raises:
        BadInput: if the file cannot be written, or vectors should be drawn in columns.
    """
    import numpy as np

    from trainables.pictures import save_generated
    from tuner.storage import replacing

    if columns is not None and samples.ndim != 4 and out.suffix != ".npy":
        message = "can be drawn of images only, and these are vectors: give --out FILE.npy"
        raise BadInput(str(out), [Fault("--interpolate", message)])
    try:
        with replacing(out) as file:
            if out.suffix == ".npy":
                np.save(file, samples.numpy())
            else:
                save_generated(samples, file, columns)
    except OSError as error:
        raise cli.unwritable(out, error) from error


if __name__ == "__main__":
    cli.end_with(main)
