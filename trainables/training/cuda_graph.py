"""A step of training as one CUDA graph: its kernels are recorded once, then launched by one call.

A CPU launches the kernels of a small network more slowly than a GPU runs them; a graph's are all
launched together. What it gains here has not been measured.

A graph holds kernels and the addresses that they read and write, and nothing of the Python that
launched them. So a step that is captured

- reads no number back and copies nothing from the CPU, for either would have to wait;
- keeps all that changes in tensors that stay where they are: a learning rate is one, filled anew;
- counts nothing and decides nothing in Python: that would happen once, at the capture.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

_Outputs = TypeVar("_Outputs")

#: Steps that run as they are before the capture, as in PyTorch's own examples: the first makes the
#: optimisers' state and lets libraries choose their kernels and reserve their memory.
WARM_UP_STEPS = 3


def captured(step: Callable[[], _Outputs], rng: torch.Generator) -> Iterator[_Outputs]:
    """Take one step at each ``next``, without end: the first as they are, the others by a graph.

    The same steps are taken as without a graph. From the capture on, each writes its outputs over
    those of the last, in the same tensors.

    Args:
        step: As above. The tensors that it reads and writes must stay where they are for as long
            as this is used: after a loaded checkpoint, which replaces some, begin anew.
        rng: The one generator that it draws from, on the GPU; its place is kept as without a graph.

    Raises:
        RuntimeError: where the step cannot be captured, which may leave CUDA in this process unfit.
    """
    for _ in range(WARM_UP_STEPS):
        yield _warm_up(step)
    replay, outputs = _capture(step, rng)
    while True:
        replay()
        yield outputs


def _warm_up(step: Callable[[], _Outputs]) -> _Outputs:
    with _beside(), warnings.catch_warnings():
        # That an optimiser which may be captured is not: it is about to be.
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        return step()


def _capture(
    step: Callable[[], _Outputs], rng: torch.Generator
) -> tuple[Callable[[], None], _Outputs]:
    """Record a step without taking it; returns what takes it, and where it leaves its outputs."""
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(rng)
    try:
        # A trial runs in a thread of its own, whose process may use CUDA in others too.
        with torch.cuda.graph(graph, stream=_stream(), capture_error_mode="thread_local"):
            outputs = step()
    except RuntimeError as error:
        raise RuntimeError(
            "training.cuda_graph must have networks that read no number back from the GPU and copy "
            f"none to it, but the capture raised {error}: set it to false, or change the network"
        ) from error
    return graph.replay, outputs


@contextmanager
def _beside() -> Iterator[None]:
    """On the stream of the capture, after all that was asked of the current one, and before more.

    Libraries keep memory for each stream, which a capture must find reserved.
    """
    stream, current = _stream(), torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        yield
    current.wait_stream(stream)


@cache  # one for the trials of a process, which are trained one after another
def _stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()
