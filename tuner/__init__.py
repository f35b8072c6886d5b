"""Hyperparameter search for Wasserstein GANs with Ray Tune, Optuna and MLflow.

:func:`run_search` runs a search from Python and :func:`load_search` reads the results of one; both
raise :class:`BadInput` for input that they refuse.
"""

from tuner.api import BestTrial, Result, load_search, run_search
from tuner.errors import BadInput, Halted, TunerError

__all__ = ["BadInput", "BestTrial", "Halted", "Result", "TunerError", "load_search", "run_search"]
