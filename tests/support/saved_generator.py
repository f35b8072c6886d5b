"""A generator file as a trial saves it."""

from pathlib import Path

import torch

from trainables.config import NetworkConfig, TrialConfig
from trainables.training.state import TrainState
from trainables.trial import generator_file
from tuner.results import generators

CONFIG = TrialConfig(networks=NetworkConfig(latent_dim=5, generator_width=8, critic_width=8))


def save(path: Path, seed: int) -> torch.Tensor:
    """Save a generator; returns what it makes of zeros."""
    config = CONFIG.model_copy(update={"seed": seed})
    state = TrainState.create(config, (2,), "cpu")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(generator_file(state, config, (2,)), path)
    return generators.generator_of_file(path)(torch.zeros(1, 5))
