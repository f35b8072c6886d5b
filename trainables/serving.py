"""Serve a saved generator by MLflow: from latents to samples, as NumPy arrays.

MLflow calls :func:`_load_pyfunc` by its name. This module does not import MLflow, and loading does
not unpickle code.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import nn

from trainables.trial import load_generator

#: Latents per forward pass.
BATCH_SIZE = 256


@final
class Sampler:
    """A generator with the method ``predict``, as MLflow expects it."""

    def __init__(self, generator: nn.Module, device: torch.device) -> None:
        """Wrap a generator in evaluation mode, whose weights are on the device."""
        self._generator = generator
        self._device = device

    def predict(
        self,
        latents: Float[np.ndarray, "n latent_dim"],
        params: dict[str, object] | None = None,
    ) -> Float32[np.ndarray, "n *sample"]:
        """Generate samples: images [n, channels, height, width] in [-1, 1], or vectors [n, d].

        Args:
            latents: Standard normal latents, one row per sample.
            params: Parameters of MLflow, which are ignored.
        """
        rows = torch.as_tensor(np.asarray(latents, dtype=np.float32))
        with torch.no_grad():
            parts = [
                self._generator(part.to(self._device)).float().cpu()
                for part in rows.split(BATCH_SIZE)
            ]
        return torch.cat(parts).numpy()


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> Sampler:
    """Load a ``generator.pt`` onto the GPU if there is one.

    Args:
        path: The file.
        model_config: The model's configuration, in which the search wrote the module of its own
            custom generator: ``allow_code``. The file may name no other.

    Raises:
        DamagedCheckpointError: if the file is damaged.
        CodeNotAllowed: if the file names another module; nothing was imported then.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator, _ = load_generator(Path(path), device, (model_config or {}).get("allow_code", ()))
    return Sampler(generator, device)
