"""The generator that a trial left, ready for use."""

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.checkpoint import GENERATOR, DamagedCheckpointError, Identity, load_whole
from trainables.config import code_fault
from tuner.errors import BadInput, Fault
from tuner.results.snapshot import Snapshot, read_snapshot
from tuner.storage import fetch_file
from tuner.study import Trial

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Generator:
    """A generator on the CPU, in evaluation mode; calling it computes no gradients."""

    network: "nn.Module"
    latent_dim: int

    def __call__(self, latents: "Tensor") -> "Tensor":
        """Generate samples [n, *sample_shape] from latents [n, latent_dim], standard normal.

        Images lie in [-1, 1]; vectors are in the units of the data.

        Raises:
            ValueError: where the latents have another shape.
        """
        import torch

        shape = tuple(latents.shape)
        if len(shape) != 2 or shape[1] != self.latent_dim:
            raise ValueError(f"latents must be of shape [n, {self.latent_dim}], got {list(shape)}")
        with torch.no_grad():
            return self.network(latents)


@dataclass(frozen=True)
class GeneratorFile:
    """A file with a generator.

    ``path`` may be a copy, of which ``origin`` is the original. ``identity`` is the trial that it
    must be of, ``None`` for any.
    """

    name: str
    path: Path
    origin: str
    identity: Identity | None = None

    def load(self, allow_code: Collection[str] = ()) -> Generator:
        """Load the generator; the argument and the errors are those of :func:`generator_of_file`.

        The errors name ``origin``.
        """
        try:
            return generator_of_file(self.path, allow_code, self.identity)
        except BadInput as error:
            raise BadInput(self.origin, error.faults) from error


@contextmanager
def find_generator(run: Path, trial_id: str | None = None) -> Iterator[GeneratorFile]:
    """Find the generator of a search's best trial, or of another one.

    Args:
        run: The search's folder, or a file with a generator.
        trial_id: The trial's number; ``None`` for the best trial.

    Yields:
        The file, which may be gone after the block.

    Raises:
        BadInput: if there is no such trial, or it has saved no generator.
    """
    if run.is_file():
        if trial_id is not None:
            message = "needs a search's folder: this file has one generator"
            raise BadInput(str(run), [Fault("--trial", message)])
        yield GeneratorFile(run.stem, run, str(run))
        return
    search = read_snapshot(run)
    trial = search.best if trial_id is None else search.trial(trial_id)
    if trial is None:
        message = "has no completed trial yet: give one by --trial, or wait for the search"
        raise BadInput(str(run), [Fault("", message)])
    with _file(search, trial) as file:
        yield file


def generator_of_file(
    path: Path, allow_code: Collection[str] = (), identity: Identity | None = None
) -> Generator:
    """Load a ``generator.pt``.

    Args:
        path: The file.
        allow_code: The modules from which the file may import a custom network.
        identity: The trial that it must be of; ``None`` for any.

    Raises:
        BadInput: if it is damaged, is of another trial, names a module that is not allowed, or
            holds a custom network that cannot be built.
    """
    import torch

    from trainables.networks import BadNetwork, CodeNotAllowed
    from trainables.trial import load_generator

    try:
        network, latent_dim = load_generator(path, torch.device("cpu"), allow_code, identity)
    except DamagedCheckpointError as error:
        raise BadInput(str(path), [Fault("", error.fault)]) from error
    except CodeNotAllowed as error:
        raise BadInput(str(path), [Fault(f"networks.{error.key}", str(error))]) from error
    except BadNetwork as error:
        what = f"{error}: start this where that module is, or name its folder in PYTHONPATH"
        raise BadInput(str(path), [Fault(f"networks.{error.key}", what)]) from error
    return Generator(network, latent_dim)


def check_code(path: Path, allow_code: Collection[str]) -> None:
    """Check that a ``generator.pt`` names no module but these. A damaged file passes.

    Raises:
        BadInput: if it does.
    """
    try:
        generator = load_whole(path, "meta")["networks"].get("generator")
    except DamagedCheckpointError:
        return
    if generator is not None and (fault := code_fault(str(generator), allow_code)):
        raise BadInput(str(path), [Fault("networks.generator", fault)])


def generator_of_trial(
    search: Snapshot, trial: Trial, allow_code: Collection[str] = ()
) -> Generator:
    """Load what a trial saved at its best rung.

    Args:
        search: The search.
        trial: One of its trials.
        allow_code: The modules from which its file may import a custom network.

    Raises:
        BadInput: if it saved none, or as of :func:`generator_of_file`.
    """
    with _file(search, trial) as file:
        return file.load(allow_code)


@contextmanager
def _file(search: Snapshot, trial: Trial) -> Iterator[GeneratorFile]:
    """Give the file of a trial's generator, or a copy of it."""
    name = f"{search.spec.name}-{trial.trial_id}"
    identity = Identity(trial.name_in(search.spec.name))
    in_best = search.run_dir / "best" / GENERATOR
    if _is_in_best(search, trial) and in_best.exists():
        yield GeneratorFile(name, in_best, str(in_best), identity)
        return
    with tempfile.TemporaryDirectory() as scratch:
        target, troubles = Path(scratch, GENERATOR), []
        kept = trial.generators.get(trial.best_rung or 0)
        # Earlier versions kept none of their own: one of the last two checkpoints may have it.
        for folder in trial.checkpoints if kept is None else (kept,):
            try:
                fetch_file(folder, GENERATOR, target)
            except OSError as error:
                troubles.append(str(error))
                continue
            yield GeneratorFile(name, target, f"{folder}/{GENERATOR}", identity)
            return
        why = troubles[-1] if trial.scores and troubles else "it has not come to one"
        what = f"trial {trial.trial_id} has no generator, as is saved at each rung: {why}"
        raise BadInput(str(search.run_dir), [Fault("", what)])


def _is_in_best(search: Snapshot, trial: Trial) -> bool:
    """Tell whether ``best/`` is of this trial, as the first line of ``best.yaml`` says."""
    path = search.run_dir / "best.yaml"
    if not path.exists():
        return False
    with path.open(encoding="utf-8") as file:
        return file.readline().startswith(f"# trial {trial.trial_id}:")
