"""PyTorch's optimisers, without PyTorch's compiler.

Every call of theirs begins by importing ``torch._dynamo``, in order to keep the compiler out of it:
two seconds of CPU time in every process of a search. What is compiled here has no optimiser in it,
so these are the same optimisers without that.
"""

import inspect
from typing import TypeVar, cast

import torch
from torch.optim import Optimizer

_Kind = TypeVar("_Kind", bound=type[Optimizer])
_GUARDED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def _without_compiler(kind: _Kind) -> _Kind:
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in _GUARDED}
    # The guard of ``step`` also turned gradients off.
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return cast("_Kind", type(kind.__name__, (kind,), methods))


Adam = _without_compiler(torch.optim.Adam)
AdamW = _without_compiler(torch.optim.AdamW)
RMSprop = _without_compiler(torch.optim.RMSprop)
