"""What a search imports, but for Ray; see ``searches``."""

import os
import sys

import optuna  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch  # noqa: F401

from tuner.tracking import runs as mlflow_runs

for name, value in mlflow_runs.ENVIRONMENT.items():
    os.environ.setdefault(name, value)
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402, F401

assert "ray" not in sys.modules, "it would have read an environment that is not the search's"
