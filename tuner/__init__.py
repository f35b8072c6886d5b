"""Hyperparameter search for Wasserstein GANs with Ray Tune, Optuna and MLflow.

``search`` runs one from Python, ``load`` reads what one has found; what they refuse to do they
refuse by raising ``BadInput``.
"""

import sys
from types import ModuleType
from typing import Any

from tuner.api import BestTrial, Result, load, search
from tuner.errors import BadInput, Halted, TunerError

__all__ = ["BadInput", "BestTrial", "Halted", "Result", "TunerError", "load", "search"]


class _Package(ModuleType):
    """Keeps ``tuner.search`` the function: the command is a module of that name.

    Importing a module makes it an attribute of its package. ``python -m tuner.search`` and
    ``from tuner.search import main`` look it up elsewhere.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "search" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
