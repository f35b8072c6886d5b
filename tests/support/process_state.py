"""What a search from Python must leave as it found it."""

import logging
import os
import signal
import sys
import threading
import warnings
from typing import Any

_OF_MLFLOW = ("alembic", "mlflow", "sqlalchemy")


def snapshot() -> dict[str, Any]:
    """All of it by name, but for loggers that MLflow sets with each database that it makes."""
    levels = {
        name: logger.level
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and not name.startswith(_OF_MLFLOW)
    }
    return {
        "environment": {k: v for k, v in os.environ.items() if not k.startswith("KMP_")},
        "path": [entry for entry in sys.path if "site-packages" not in entry],
        "levels": levels,
        "handlers": list(logging.root.handlers),
        "filters": list(warnings.filters),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "hook": sys.excepthook,
        "threads": {thread.name for thread in threading.enumerate()},
    }


def changed(before: dict[str, Any]) -> dict[str, Any]:
    """What differs now from a snapshot, by name."""
    now = snapshot()
    now["levels"] = {name: now["levels"][name] for name in before["levels"]}
    return {name: now[name] for name in before if now[name] != before[name]}
