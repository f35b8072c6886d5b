"""Hold processes by descriptors: an end is noticed at once, and a pid that is used again is not.

Linux has them since 5.3. Where a system has none, callers poll instead.
"""

import os
import select
import signal
from collections.abc import Iterable
from contextlib import suppress


def hold(pid: int) -> int | None:
    """Open a descriptor of a process; ``None`` if there is no such process, or no descriptors."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # macOS; WSL 1, and kernels before 5.3
        return None


def have_ended(descriptors: Iterable[int], timeout_s: float = 0.0) -> set[int]:
    """Wait until a process has ended, at most so long; return the descriptors of those that have.

    They need not be children of this process. A descriptor that is no longer held counts, too.
    """
    waiting = select.poll()
    for descriptor in descriptors:
        waiting.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in waiting.poll(timeout_s * 1000)}


def send(descriptor: int, number: signal.Signals) -> None:
    """Send a signal to a process, unless it has ended."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def let_go(descriptors: Iterable[int]) -> None:
    """Close descriptors; the processes live on."""
    for descriptor in descriptors:
        os.close(descriptor)
