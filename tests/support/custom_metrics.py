"""Metrics as users write them: good ones, and one for each fault."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Means:
    """The distance of the means, and how many samples there were."""

    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        self.sample_shape = sample_shape

    def __call__(self, real: Tensor, generated: Tensor) -> Mapping[str, object]:
        assert real.shape == generated.shape
        assert real.shape[1:] == self.sample_shape
        assert real.dtype == generated.dtype == torch.float32
        return {"mean distance": (real.mean(0) - generated.mean(0)).norm(), "num": len(real)}


class Noisy(Means):
    def __call__(self, real: Tensor, generated: Tensor) -> Mapping[str, object]:
        return {"noise": torch.rand(()).item()}


class Infinite(Means):
    def __call__(self, real: Tensor, generated: Tensor) -> Mapping[str, object]:
        return {"fid": float("nan")}


class Texts(Means):
    def __call__(self, real: Tensor, generated: Tensor) -> Mapping[str, object]:
        return {"fid": "12"}


class Nothing(Means):
    def __call__(self, real: Tensor, generated: Tensor) -> Mapping[str, object]:
        return {}


class Raising(Means):
    def __call__(self, real: Tensor, generated: Tensor) -> Mapping[str, object]:
        raise RuntimeError("out of order")


class RaisingAtTheFinal(Means):
    """Works on as few samples as the check has."""

    def __call__(self, real: Tensor, generated: Tensor) -> Mapping[str, object]:
        if len(real) > 128:
            raise RuntimeError("too many")
        return super().__call__(real, generated)


class NotCallable:
    def __init__(self, sample_shape: tuple[int, ...]) -> None: ...


def function(sample_shape: tuple[int, ...]) -> None: ...
