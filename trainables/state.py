"""All that changes while a trial trains, in one object that saves and loads itself."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainables.config import TrainingConfig, TrialConfig
from trainables.networks import build_critic, build_generator


@final
@dataclass(eq=False)
class TrainState:
    """The players, their optimisers, the RNG that feeds them, and how far they have come."""

    generator: nn.Module
    critic: nn.Module
    generator_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    rng: torch.Generator
    latent_dim: int
    generator_steps: int = 0
    training_seconds: float = 0.0
    training_cpu_seconds: float = 0.0
    scoring_seconds: float = 0.0
    scoring_cpu_seconds: float = 0.0

    @classmethod
    def create(
        cls, config: TrialConfig, sample_shape: tuple[int, ...], device: torch.device | str = "cpu"
    ) -> "TrainState":
        """Start a trial from ``config.seed`` alone: the global RNG is neither read nor moved.

        Each network has a seed of its own, so that the generator starts alike beside any critic.
        """
        seeds = np.random.SeedSequence(config.seed).generate_state(3, np.uint64).tolist()
        networks, training = config.networks, config.training
        generator = _seeded(seeds[0], lambda: build_generator(networks, sample_shape)).to(device)
        critic = _seeded(seeds[1], lambda: build_critic(networks, sample_shape)).to(device)
        return cls(
            generator,
            critic,
            _optimizer(training, generator, training.generator_lr),
            _optimizer(training, critic, training.critic_lr),
            torch.Generator(device).manual_seed(seeds[2]),
            networks.latent_dim,
        )

    def sample(self, num_samples: int) -> Float[Tensor, "{num_samples} *sample"]:
        """Generate from fresh latents z ~ N(0, 1), drawn from the state's own RNG."""
        shape = (num_samples, self.latent_dim)
        return self.generator(torch.randn(shape, generator=self.rng, device=self.rng.device))

    def state_dict(self) -> dict[str, Any]:
        """A snapshot in tensors and primitives, for ``torch.load(..., weights_only=True)``."""
        return deepcopy(
            {name: getattr(self, name).state_dict() for name in _PARTS}
            | {name: getattr(self, name) for name in _COUNTERS}
            | {"rng": self.rng.get_state()}
        )

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Become the saved state, whose tensors may be on any device; learning rates included.

        The state must have been created from the same configuration. Raises what PyTorch raises
        where it was not: RuntimeError for other shapes, ValueError for other optimisers.
        """
        for name in _PARTS:
            # An optimiser keeps the tensors it is given: two states must not share them.
            getattr(self, name).load_state_dict(deepcopy(saved[name]))
        for name in _COUNTERS:
            setattr(self, name, saved[name])
        self.rng.set_state(saved["rng"].cpu())


_PARTS = ("generator", "critic", "generator_optimizer", "critic_optimizer")
_COUNTERS = (
    "generator_steps",
    "training_seconds",
    "training_cpu_seconds",
    "scoring_seconds",
    "scoring_cpu_seconds",
)


def _optimizer(
    config: TrainingConfig, network: nn.Module, learning_rate: float
) -> torch.optim.Optimizer:
    if config.optimizer == "adam":
        betas = cast("tuple[float, float]", (config.beta1, config.beta2))
        return torch.optim.Adam(network.parameters(), learning_rate, betas, fused=True)
    return torch.optim.RMSprop(network.parameters(), learning_rate)


def _seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed every GPU too; weights are drawn on the CPU.
        torch.default_generator.manual_seed(seed)
        return build()
