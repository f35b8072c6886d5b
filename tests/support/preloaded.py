"""What takes a search seconds and is the same in each, but for Ray; see ``searches``."""

import sys
import tempfile
import threading
from pathlib import Path

import alembic.command  # noqa: F401
import matplotlib.figure  # noqa: F401
import optuna.importance  # noqa: F401
import pandas as pd  # noqa: F401
import plotly.graph_objects  # noqa: F401
import rich.live  # noqa: F401
import scipy.stats  # noqa: F401
import sklearn.ensemble  # noqa: F401
import torch  # noqa: F401

from trainables import check, trial  # noqa: F401
from tuner.page import page  # noqa: F401
from tuner.tracking import runs
from tuner.tracking.store import create_database, prepare_store


def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        create_database(f"sqlite:///{path}", path)
        return path.read_bytes()


prepare_store()
_DATABASE = _empty_database()
# A search would make MLflow's tables one by one, and wait for the disk at each.
runs.create_database = lambda uri, database: database.write_bytes(_DATABASE)

_read_their_variables = {"ray", "tuner.cluster"} & sys.modules.keys()
assert not _read_their_variables, "each search has an environment of its own"
assert threading.active_count() == 1, "other threads would be missing from a forked search"
