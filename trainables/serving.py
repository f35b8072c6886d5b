"""A saved generator as MLflow loads and serves it: latents in, samples out, as numpy arrays.

MLflow calls :func:`_load_pyfunc` by its name; nothing here knows MLflow, and nothing is unpickled.
"""

from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import nn

from trainables.trial import load_generator

#: Latents that go through the network at a time, however many are asked for.
BATCH_SIZE = 256


@final
class Sampler:
    """A generator that answers to ``predict``."""

    def __init__(self, generator: nn.Module, device: torch.device) -> None:
        """Take a generator that is ready for use, on the device."""
        self._generator = generator
        self._device = device

    def predict(
        self,
        latents: Float[np.ndarray, "n latent_dim"],
        params: dict[str, object] | None = None,
    ) -> Float32[np.ndarray, "n *sample"]:
        """Samples of standard normal latents; images ``[n, channels, height, width]`` in [-1, 1].

        Args:
            latents: One row for each sample.
            params: MLflow's; there are none.
        """
        rows = torch.as_tensor(np.asarray(latents, dtype=np.float32))
        with torch.no_grad():
            parts = [
                self._generator(part.to(self._device)).float().cpu()
                for part in rows.split(BATCH_SIZE)
            ]
        return torch.cat(parts).numpy()


def _load_pyfunc(path: str) -> Sampler:
    """Load ``generator.pt``.

    Raises:
        DamagedCheckpointError: where the file is not whole.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator, _ = load_generator(Path(path), device)
    return Sampler(generator, device)
