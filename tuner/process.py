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
_interrupted = threading.Event()
#: Variables that libraries set for as long as they are loaded.
_LOADED = ("KMP_",)


@contextmanager
def interrupts_noted() -> Iterator[None]:
    """Note a Ctrl-C in the block, besides raising it: see :func:`raise_dropped_interrupt`."""

    def note(*_: object) -> None:
        _interrupted.set()
        raise KeyboardInterrupt

    _interrupted.clear()
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def raise_dropped_interrupt() -> None:
    """Raise KeyboardInterrupt if it was noted before, and so must have been dropped.

    Python prints, and then ignores, an exception in a destructor or in the callback of a weak
    reference, which may be what runs when Ctrl-C is pressed.
    """
    if _interrupted.is_set():
        raise KeyboardInterrupt


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
    silenced = dict(_levels)  # before the block, and so after it
    _levels.clear()
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
            _levels.update(silenced)


def _handlers() -> dict[int, Any]:
    """Return the signal handlers that can be set again: those of Python's, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    return {number: handler for number, handler in handlers.items() if handler is not None}
