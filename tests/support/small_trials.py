"""Tiny trials and comparisons of states, for the tests of training."""

from typing import get_args

import torch
from torch import Tensor, nn

from trainables.config import CRITIC_FREE, PUBLISHED, Constraint, TrialConfig
from trainables.config import GANS as GANS
from trainables.training.loop import Measurement, train
from trainables.training.state import TrainState

CONSTRAINTS = get_args(Constraint)
METHODS = tuple(PUBLISHED)
WITH_CRITIC = tuple(method for method in METHODS if method not in CRITIC_FREE)
SMALL = {"latent_dim": 3, "generator_width": 8, "critic_width": 8}
REAL = torch.linspace(-1, 1, 40).view(20, 2)


class Point(nn.Module):
    """G(z) = place for every z: a generator of one parameter."""

    def __init__(self, place: float) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor(place))

    def forward(self, latents: Tensor) -> Tensor:
        return self.place * torch.ones(len(latents), 1)


class Slope(nn.Module):
    """f(x) = slope * x: a critic of one parameter."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, samples: Tensor) -> Tensor:
        return self.slope * samples[:, 0]


def trial(method: str = "gradient_penalty", *, seed: int = 0, **training) -> TrialConfig:
    name = "constraint" if method in CONSTRAINTS else "loss"
    training = {name: method, "n_critic": 2, "batch_size": 4} | training
    if method in CRITIC_FREE:
        training = {k: v for k, v in training.items() if k not in ("n_critic", "critic_lr")}
    return TrialConfig(networks=SMALL, training=training, seed=seed)


def random_trial(**training) -> TrialConfig:
    """Return a trial whose networks draw from PyTorch's global generator."""
    networks = {
        "generator": "custom_networks:NoisyGenerator",
        "critic": "custom_networks:DropoutCritic",
        "latent_dim": 3,
    }
    return TrialConfig(networks=networks, training={"n_critic": 2, "batch_size": 4} | training)


def create(config: TrialConfig) -> TrainState:
    return TrainState.create(config, (2,), "cpu")


def run(config: TrialConfig, report_at, state: TrainState | None = None) -> list[Measurement]:
    return list(train(state or create(config), config.training, REAL, report_at))


def numbers(measurement: Measurement) -> dict[str, float]:
    """Return the fields of a measurement, without the timings."""
    timings = ("generator_steps_per_s", "training_seconds", "training_cpu_seconds")
    return {key: x for key, x in measurement.as_floats().items() if key not in timings}


def tensors(saved) -> list:
    """List the leaves of a state dict in order, without the timings."""
    if isinstance(saved, dict):
        keys = [key for key in saved if not str(key).endswith("seconds")]
        return [leaf for key in keys for leaf in tensors(saved[key])]
    if isinstance(saved, (list, tuple)):
        return [leaf for item in saved for leaf in tensors(item)]
    return [saved]


def identical(one: TrainState | dict, other: TrainState | dict) -> bool:
    pair = [tensors(x.state_dict() if isinstance(x, TrainState) else x) for x in (one, other)]
    return len(pair[0]) == len(pair[1]) and all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(*pair, strict=True)
    )


def weights_of(network: nn.Module) -> Tensor:
    """Return all weights as one vector, which is empty for no critic."""
    return torch.cat([torch.zeros(0), *(p.detach().flatten() for p in network.parameters())])
