"""PyTorch's optimisers, without the import of PyTorch's compiler.

Their methods import ``torch._dynamo`` to exclude themselves from compilation, which costs every
process of a search two seconds of CPU time. No compiled code here contains an optimiser, so that
these subclasses call the methods without that guard.
"""

import inspect
from typing import TypeVar, cast

import torch
from torch.optim import Optimizer

_Kind = TypeVar("_Kind", bound=type[Optimizer])
_GUARDED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def _without_compiler(kind: _Kind) -> _Kind:
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in _GUARDED}
    # The guard of ``step`` also disabled gradients.
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return cast("_Kind", type(kind.__name__, (kind,), methods))


Adam = _without_compiler(torch.optim.Adam)
AdamW = _without_compiler(torch.optim.AdamW)
RMSprop = _without_compiler(torch.optim.RMSprop)
