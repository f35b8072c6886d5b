"""PyTorch's global generators, from which layers such as ``nn.Dropout`` draw.

A layer cannot be given a generator of its own. So a trial takes the place of the global ones while
it trains, and the process around it, which may be the user's, gets them back as they were.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed the global generators of the CPU and of a device inside the block, and restore them.

    Args:
        seed: The seed.
        device: The device; other GPUs keep theirs.
    """
    with GlobalRng(seed, device).active():
        yield


@final
class GlobalRng:
    """A trial's own states of the global generators: the CPU's, and on a GPU the GPU's too."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        """Seed the states; the global generators are neither used nor changed."""
        self._device = torch.device(device)
        devices = {"cpu": torch.device("cpu")}
        if self._uses_gpu:
            devices["cuda"] = self._device
        self._states = {
            kind: torch.Generator(each).manual_seed(seed).get_state()
            for kind, each in devices.items()
        }

    @contextmanager
    def active(self) -> Iterator[None]:
        """Draw from these states inside the block, and keep how far they have advanced."""
        with torch.random.fork_rng(self._gpus):
            # Not torch.manual_seed, which would also reseed every other GPU.
            torch.set_rng_state(self._states["cpu"])
            for gpu in self._gpus:
                torch.cuda.set_rng_state(self._states["cuda"], gpu)
            yield
            self._states["cpu"] = torch.get_rng_state()
            for gpu in self._gpus:
                self._states["cuda"] = torch.cuda.get_rng_state(gpu)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the states by the type of their device."""
        return dict(self._states)

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        """Load saved states; one of a device that the trial no longer has is ignored."""
        for kind in self._states:
            if kind in saved:
                self._states[kind] = saved[kind].cpu()

    @property
    def _uses_gpu(self) -> bool:
        return self._device.type == "cuda"

    @property
    def _gpus(self) -> list[int]:
        if not self._uses_gpu:
            return []
        index = self._device.index
        return [torch.cuda.current_device() if index is None else index]
