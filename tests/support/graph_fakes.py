"""Fakes of a CUDA graph and of a GPU, for machines without one."""

from collections.abc import Callable
from itertools import zip_longest

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_READS = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal)
_COPIES = (torch.ops.aten.copy_, torch.ops.aten._to_copy, torch.ops.aten._foreach_copy_)
_LITERAL = torch.ops.aten.lift_fresh  # the operation of torch.tensor(2.0)
#: In-place operations that the meta device does not implement.
_NOT_ON_META = (torch.ops.aten._fused_adam_, torch.ops.aten._fused_adamw_)


def _tensors(values: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _Recorder(TorchDispatchMode):
    """Records each operation that computes, with the tensors that it reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.before, self.seen = [], [], set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in _READS:
            raise RuntimeError(f"{func} reads a value")
        inputs = _tensors((args, kwargs))
        for storage in (tensor.untyped_storage() for tensor in inputs):
            if storage.data_ptr() not in self.seen:
                self.seen.add(storage.data_ptr())
                self.before.append((storage, storage.clone()))
        result = func(*args, **(kwargs or {}))
        outputs = _tensors(result)
        read = set(map(_address, inputs))
        is_view = outputs != [] and {_address(tensor) for tensor in outputs} <= read
        if func._schema.is_mutable or not is_view:
            self.calls.append((func, args, kwargs or {}, outputs))
        self.seen.update(map(_address, outputs))
        return result

    def undo(self) -> None:
        for storage, content in self.before:
            storage.copy_(content)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, outputs in self.calls:
            again = _tensors(func(*args, **kwargs))
            for output, new in zip_longest(outputs, again):
                if _address(output) != _address(new):
                    output.copy_(new)


def capture(
    step: Callable[[], tuple[Tensor, ...]], rng: torch.Generator
) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
    """Do the same as ``cuda_graph._capture``, on the CPU: Python runs once, no tensor changes."""
    rng_state = rng.get_state()
    with _Recorder() as recorder:
        outputs = step()
    recorder.undo()
    rng.set_state(rng_state)
    return recorder.replay, outputs


class NoGPU(torch.Generator):
    """A generator that pretends to be on the meta device, where none can be."""

    device = torch.device("meta")

    def __new__(cls, device: object):
        return super().__new__(cls)

    def manual_seed(self, seed: int):
        super().manual_seed(seed)
        return self


class NoCopies(TorchDispatchMode):
    """Refuses copies from the CPU to the meta device, which itself refuses reads."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in _NOT_ON_META:
            return None
        result = func(*args, **(kwargs or {}))
        devices = {tensor.device.type for tensor in _tensors((args, kwargs, result))}
        if (func.overloadpacket in _COPIES and len(devices) > 1) or func.overloadpacket is _LITERAL:
            raise RuntimeError(f"{func} copies from the CPU")
        return result
