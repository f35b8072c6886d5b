"""The meaning of a trial's failure for the search, on Ray or in this process."""

import re
from collections.abc import Sequence

#: Texts of errors that say that there is no room for what a trial writes.
_FULL = ("No space left on device", "Disk quota exceeded")
#: Ray's texts where the node of a trial died, or is out of reach.
_NODE_LOST = ("its node has died", "is temporarily unavailable")


def last_raised(lines: Sequence[str]) -> str:
    """Find the line that names the failure, in a traceback or in Ray's message.

    It is the first line of the exception that was raised last. Without a traceback it is the last
    line that names an error, else one that gives a reason, else the first.
    """
    frames = [at for at, line in enumerate(lines) if re.match(r'\s+File ".*", line \d+', line)]
    if frames:  # below them come the source, indented, and the exception
        below = lines[frames[-1] + 1 :]
        raised = [line.strip() for line in below if re.match(r"\S", line)]
    else:
        texts = [line.strip() for line in lines if line.strip()]
        errors = [line for line in texts if re.match(r"[\w.]*(Error|Exception)\b", line)]
        raised = errors[-1:] or [line for line in texts if "because" in line] or texts
    return (raised or ["ended without a message"])[0][:500]


def is_full(reason: str) -> bool:
    """Tell whether a trial failed for want of space: the next one would fail likewise."""
    return any(text in reason for text in _FULL)


def is_node_lost(message: str) -> bool:
    """Tell whether a message of Ray's says that it is a node that failed, and not the trial."""
    return any(text in message for text in _NODE_LOST)


def retry_note(number: int, num_done: int, num_retries: int, reason: str) -> str:
    """Say that a trial is restarted, how often that may happen, and why it was needed."""
    return f"{restart_note(number)} ({num_done} of {num_retries}): {reason}"


def restart_note(number: int) -> str:
    """Say that a trial is restarted."""
    return f"trial {number:05d} restarts from its last checkpoint"
