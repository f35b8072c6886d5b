"""Train a WGAN: the loop, its state, losses, constraints and optimisers."""

from trainables.training.global_rng import seeded
from trainables.training.lipschitz import (
    PENALTIES,
    evaluating,
    gradient_norms,
    gradient_penalty,
    interpolate,
    one_sided_penalty,
    power_penalty,
    prepare_,
    zero_centred_penalty,
)
from trainables.training.loop import critic_step, train
from trainables.training.optimizers import Adam
from trainables.training.packing import packed, packed_shape
from trainables.training.state import TrainState

__all__ = [
    "PENALTIES",
    "Adam",
    "TrainState",
    "critic_step",
    "evaluating",
    "gradient_norms",
    "gradient_penalty",
    "interpolate",
    "one_sided_penalty",
    "packed",
    "packed_shape",
    "power_penalty",
    "prepare_",
    "seeded",
    "train",
    "zero_centred_penalty",
]
