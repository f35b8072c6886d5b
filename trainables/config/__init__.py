"""The frozen configuration of a trial, and the published defaults of its methods.

Each section of a search space (``data``, ``networks``, ``training``, ``objective``) is one class,
so that an error names the key as it is written in the file. Validation does not import torch.
"""

from trainables.config.base import Frozen, Real, Whole, plain_integer, plain_number
from trainables.config.data import DataConfig, Scaling
from trainables.config.methods import (
    APPLIES_WHEN,
    ARCHITECTURES,
    CONVOLUTIONAL,
    DATASETS,
    DEFAULT_ARCHITECTURE,
    DEFAULT_CONSTRAINT,
    DEFAULT_LOSS,
    DOWNLOADED,
    GANS,
    LAYERWISE,
    PUBLISHED,
    REFUSED,
    Activation,
    Architecture,
    Constraint,
    Loss,
    Norm,
    applies,
    may_be_absent,
    refused_together,
    why_no_effect,
)
from trainables.config.networks import (
    Argument,
    NetworkConfig,
    code_fault,
    code_of,
    module_of,
    top_level_module,
)
from trainables.config.objective import (
    GENERATOR_ALONE,
    MIN_GROUND_SIDE,
    CriticBudget,
    ObjectiveConfig,
)
from trainables.config.paths import (
    SECRET_NAME,
    URI,
    expand,
    expand_variables,
    is_variable,
    variables,
)
from trainables.config.training import TrainingConfig
from trainables.config.trial import TrialConfig

__all__ = [
    "APPLIES_WHEN",
    "ARCHITECTURES",
    "CONVOLUTIONAL",
    "DATASETS",
    "DEFAULT_ARCHITECTURE",
    "DEFAULT_CONSTRAINT",
    "DEFAULT_LOSS",
    "DOWNLOADED",
    "GANS",
    "GENERATOR_ALONE",
    "LAYERWISE",
    "MIN_GROUND_SIDE",
    "PUBLISHED",
    "REFUSED",
    "SECRET_NAME",
    "URI",
    "Activation",
    "Architecture",
    "Argument",
    "Constraint",
    "CriticBudget",
    "DataConfig",
    "Frozen",
    "Loss",
    "NetworkConfig",
    "Norm",
    "ObjectiveConfig",
    "Real",
    "Scaling",
    "TrainingConfig",
    "TrialConfig",
    "Whole",
    "applies",
    "code_fault",
    "code_of",
    "expand",
    "expand_variables",
    "is_variable",
    "may_be_absent",
    "module_of",
    "plain_integer",
    "plain_number",
    "refused_together",
    "top_level_module",
    "variables",
    "why_no_effect",
]
