"""The generator that a trial left, ready for use."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.checkpoint import GENERATOR, DamagedCheckpointError, Identity, load_whole
from tuner.errors import BadInput, Fault
from tuner.results.snapshot import Snapshot
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
        """Samples [n, *sample_shape] in [-1, 1] of latents [n, latent_dim], standard normal.

        Raises:
            ValueError: where the latents have another shape.
        """
        import torch

        shape = tuple(latents.shape)
        if len(shape) != 2 or shape[1] != self.latent_dim:
            raise ValueError(f"latents must be of shape [n, {self.latent_dim}], got {list(shape)}")
        with torch.no_grad():
            return self.network(latents)


def generator_of_file(path: Path, identity: Identity | None = None) -> Generator:
    """Load a ``generator.pt``.

    Args:
        path: The file.
        identity: The trial that it must be of; ``None`` for any.

    Raises:
        BadInput: where it is not whole, is of another trial, or is of a network of the user's own
            that is not there.
    """
    import torch

    from trainables.networks import BadNetwork
    from trainables.trial import load_generator

    try:
        if identity is not None:
            load_whole(path, "meta", identity)
        network, latent_dim = load_generator(path, torch.device("cpu"))
    except DamagedCheckpointError as error:
        raise BadInput(str(path), [Fault("", error.fault)]) from error
    except BadNetwork as error:
        what = f"{error}: start this where that module is, or name its folder in PYTHONPATH"
        raise BadInput(str(path), [Fault(f"networks.{error.key}", what)]) from error
    return Generator(network, latent_dim)


def generator_of_trial(search: Snapshot, trial: Trial) -> Generator:
    """Load what a trial saved at its last rung.

    Raises:
        BadInput: where it has saved none, or it is gone.
    """
    with _file(search, trial) as path:
        return generator_of_file(path, Identity(trial.name_in(search.spec.name)))


@contextmanager
def _file(search: Snapshot, trial: Trial) -> Iterator[Path]:
    in_best = search.run_dir / "best" / GENERATOR
    if _is_in_best(search, trial) and in_best.exists():
        yield in_best
        return
    with tempfile.TemporaryDirectory() as scratch:
        target, troubles = Path(scratch, GENERATOR), []
        for checkpoint in trial.checkpoints:
            try:
                fetch_file(checkpoint, GENERATOR, target)
            except OSError as error:
                troubles.append(str(error))
                continue
            yield target
            return
        why = troubles[-1] if trial.scores and troubles else "it has not come to one"
        what = f"trial {trial.trial_id} has no generator, as is saved at each rung: {why}"
        raise BadInput(str(search.run_dir), [Fault("", what)])


def _is_in_best(search: Snapshot, trial: Trial) -> bool:
    """Whether ``best/`` is of this trial, as the first line of ``best.yaml`` says."""
    path = search.run_dir / "best.yaml"
    if not path.exists():
        return False
    with path.open(encoding="utf-8") as file:
        return file.readline().startswith(f"# trial {trial.trial_id}:")
