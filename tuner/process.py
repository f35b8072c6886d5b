"""The settings of a process that a search changes, and their restoration where it is a guest.

A command has its process for itself. A search that is started from Python shares it with a
notebook or a web application, which must not notice.
"""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: The levels of loggers before :func:`silence` changed them.
_levels: dict[str, int] = {}
#: Variables that libraries set for as long as they are loaded.
_LOADED = ("KMP_",)


def silence(name: str, level: int) -> None:
    """Let a library's logger pass only messages of a level or above; call it after the import."""
    logger = logging.getLogger(name)
    _levels.setdefault(name, logger.level)
    logger.setLevel(level)


@contextmanager
def restored() -> Iterator[None]:
    """Leave the process as it was before the block.

    That is its environment, module search path, levels of loggers, filters of warnings, signal
    handlers and exception hook. What libraries need for as long as they are loaded stays.
    """
    environment, path, hook = dict(os.environ), list(sys.path), sys.excepthook
    handlers = _handlers()
    with warnings.catch_warnings():
        try:
            yield
        finally:
            for name in os.environ.keys() - environment.keys():
                if not name.startswith(_LOADED):
                    del os.environ[name]
            os.environ.update(environment)
            # Ray keeps packages of its own in a folder that it adds.
            sys.path[:] = [p for p in sys.path if p in path or "site-packages" in Path(p).parts]
            sys.excepthook = hook
            for number, handler in handlers.items():
                if signal.getsignal(number) is not handler:
                    signal.signal(number, handler)
            while _levels:
                name, level = _levels.popitem()
                logging.getLogger(name).setLevel(level)


def _handlers() -> dict[int, Any]:
    """Return the signal handlers that can be set again: those of Python's, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    return {number: handler for number, handler in handlers.items() if handler is not None}
