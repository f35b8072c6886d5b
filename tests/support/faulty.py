"""A generator of a user's that goes wrong as it is told, copied beside a test's search space."""

import bdb
import errno
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

#: Calls in training after which it goes wrong: two a generator step, at one critic step each.
GOES_WRONG_AT = 50


class Generator(nn.Module):
    """Goes wrong at its 50th call in training; a checkpoint keeps how many there were.

    Args:
        latent_dim: Length of a latent.
        sample_shape: Of a sample.
        fault: ``none``, ``kill``, ``hang``, ``raise``, ``full``, ``quit``, ``nan``, ``explode`` or
            ``memory``; with ``_once``, only the first time that a process gets there. ``slow``
            sleeps at every call in training, until there is a file ``hurry`` among the marks.
        marks: A folder where it leaves what it did: the nodes that it was on, too.
    """

    def __init__(
        self, latent_dim: int, sample_shape: tuple[int, ...], fault: str, marks: str
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, 16), nn.ReLU(), nn.Linear(16, sample_shape[0]), nn.Tanh()
        )
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.fault, self.marks = fault, Path(marks)
        ray = sys.modules.get("ray")
        if ray is not None and ray.is_initialized():
            (self.marks / f"on_{ray.util.get_node_ip_address()}").touch()

    def forward(self, latents: Tensor) -> Tensor:
        """Samples, unless it is time."""
        if self.training:
            self.calls += 1
            if self.fault == "slow" and not (self.marks / "hurry").exists():
                time.sleep(0.05)
            if int(self.calls) == GOES_WRONG_AT and self._goes_wrong():
                latents = self._go_wrong(latents)
        return self.layers(latents)

    def _goes_wrong(self) -> bool:
        done = self.marks / f"done_{self.fault}"
        if self.fault.endswith("_once") and done.exists():
            return False
        done.touch()
        return True

    def _go_wrong(self, latents: Tensor) -> Tensor:
        match self.fault.removesuffix("_once"):
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(10_000)
            case "raise":
                raise RuntimeError("this network does not like its 50th batch")
            case "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case "quit":
                raise bdb.BdbQuit  # as "q" at the prompt of a debugger does
            case "nan":
                return latents * float("nan")
            case "explode":
                with torch.no_grad():
                    for parameter in self.parameters():
                        parameter *= 1e30
            case "memory":
                hoard = []
                for _ in range(48):
                    hoard.append(torch.ones(64, 2**20))  # 256 MiB that are really there
                    time.sleep(0.05)
        return latents
