"""Extractors of features as users write them: good ones, and one for each fault."""

from math import prod

import torch
from torch import Tensor, nn


class Halves(nn.Module):
    """The samples, halved: distances are half those between samples."""

    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))

    def forward(self, samples: Tensor) -> Tensor:
        return samples.flatten(1) * self.factor


class RandomLayer(nn.Module):
    """One layer of random initial weights."""

    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layer = nn.Linear(prod(sample_shape), 24)

    def forward(self, samples: Tensor) -> Tensor:
        return self.layer(samples.flatten(1)).relu()


class Noisy(Halves):
    def forward(self, samples: Tensor) -> Tensor:
        return super().forward(samples) + torch.rand(())


class AcrossTheBatch(Halves):
    def forward(self, samples: Tensor) -> Tensor:
        return super().forward(samples - samples.mean(0))


class Infinite(Halves):
    def forward(self, samples: Tensor) -> Tensor:
        return super().forward(samples) / 0


class Constant(Halves):
    def forward(self, samples: Tensor) -> Tensor:
        return 0 * super().forward(samples)


class OneNumber(Halves):
    def forward(self, samples: Tensor) -> Tensor:
        return super().forward(samples).sum()


class Doubles(Halves):
    def forward(self, samples: Tensor) -> Tensor:
        return super().forward(samples).double()


class Raising(Halves):
    def forward(self, samples: Tensor) -> Tensor:
        raise RuntimeError("out of order")
