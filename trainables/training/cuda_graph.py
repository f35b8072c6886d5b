"""A training step as a CUDA graph: its kernels are recorded once, then launched by one call.

A CPU launches the kernels of a small network more slowly than a GPU runs them; a graph launches all
of them together. The speed-up has not been measured.

A graph records kernels and the addresses that they read and write, but not the Python code that
launched them. So a captured step

- reads no values back and copies nothing from the CPU, which would have to wait;
- keeps its state in tensors at fixed addresses: the learning rate is a tensor that is overwritten;
- counts and decides nothing in Python, which would happen only once, at the capture.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

_Outputs = TypeVar("_Outputs")

#: Steps before the capture, as in PyTorch's examples: the first creates the state of the optimisers
#: and lets libraries choose their kernels and allocate their workspaces.
WARM_UP_STEPS = 3


def captured(step: Callable[[], _Outputs], rng: torch.Generator) -> Iterator[_Outputs]:
    """Take one step at each ``next``, without end: the first ones directly, then by a graph.

    The results are those without a graph. After the capture, each step overwrites the outputs of
    the last one, in the same tensors.

    Args:
        step: A step as described above. The tensors that it reads and writes must keep their
            addresses; after loading a checkpoint, which replaces some, call this again.
        rng: The only generator that it draws from, on the GPU. It advances as without a graph.

    Yields:
        The outputs of each step.

    Raises:
        RuntimeError: if the step cannot be captured. CUDA may then be unusable in this process.
    """
    for _ in range(WARM_UP_STEPS):
        yield _warm_up(step)
    replay, outputs = _capture(step, rng)
    while True:
        replay()
        yield outputs


def _warm_up(step: Callable[[], _Outputs]) -> _Outputs:
    with _on_capture_stream(), warnings.catch_warnings():
        # The warning that a capturable optimiser is not captured: it is about to be.
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        return step()


def _capture(
    step: Callable[[], _Outputs], rng: torch.Generator
) -> tuple[Callable[[], None], _Outputs]:
    """Record a step without taking it; return the function that takes it, and its outputs."""
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(rng)
    try:
        # thread_local: a trial runs in a thread, and other threads may use CUDA too.
        with torch.cuda.graph(graph, stream=_stream(), capture_error_mode="thread_local"):
            outputs = step()
    except RuntimeError as error:
        raise RuntimeError(
            "training.cuda_graph must have networks that read no values back from the GPU and copy "
            f"none to it, but the capture raised {error}: set it to false, or change the network"
        ) from error
    return graph.replay, outputs


@contextmanager
def _on_capture_stream() -> Iterator[None]:
    """Run on the stream of the capture, in sequence with the work of the current stream.

    Libraries allocate workspaces per stream, which they must have before the capture.
    """
    stream, current = _stream(), torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        yield
    current.wait_stream(stream)


@cache  # one for all trials of a process, which run one after another
def _stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()
