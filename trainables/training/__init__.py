"""Train a WGAN: the loop, its state, losses, constraints and optimisers."""

from trainables.training.lipschitz import (
    PENALTIES,
    evaluating,
    gradient_norms,
    gradient_penalty,
    interpolate,
    one_sided_penalty,
)
from trainables.training.loop import train
from trainables.training.optimizers import Adam
from trainables.training.state import TrainState

__all__ = [
    "PENALTIES",
    "Adam",
    "TrainState",
    "evaluating",
    "gradient_norms",
    "gradient_penalty",
    "interpolate",
    "one_sided_penalty",
    "train",
]
