"""Train a WGAN or WGAN-GP as widely used public implementations do, as a baseline of speed.

Written from scratch after the loops of the papers' repositories and of their usual PyTorch ports:
separate ``backward()`` calls for real samples, generated samples and the penalty, Adam or RMSprop
with PyTorch's defaults, new generated samples for every critic step, a DataLoader, and ``item()``
of every loss at every step. The networks, batch size, learning rates and betas are the caller's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trainables.config import TrainingConfig


@dataclass(frozen=True)
class Losses:
    """The values that the public implementations log at each generator step."""

    critic_loss: float
    estimate: float
    generator_loss: float


def loaded(real: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield batches endlessly, by a DataLoader in this process, as the data are in memory."""
    loader = DataLoader(TensorDataset(real), batch_size, shuffle=True, drop_last=True)
    while True:
        for (batch,) in loader:
            yield batch


def at_hand(real: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield batches endlessly by indexing, without the cost of a DataLoader."""
    while True:
        for rows in torch.randperm(len(real)).split(batch_size):
            if len(rows) == batch_size:
                yield real[rows]


def plain_loop(
    generator: nn.Module,
    critic: nn.Module,
    config: TrainingConfig,
    latent_dim: int,
    batches: Iterator[Tensor],
) -> Iterator[Losses]:
    """Train endlessly with clipping or the gradient penalty; yield after each generator step."""
    critic_optimizer = _optimizer(critic, config, config.critic_lr)
    generator_optimizer = _optimizer(generator, config, config.generator_lr)
    device = next(critic.parameters()).device
    while True:
        for parameter in critic.parameters():
            parameter.requires_grad_(True)
        critic_loss = estimate = 0.0
        for _ in range(config.n_critic):
            real = next(batches).to(device)
            with torch.no_grad():
                fake = generator(torch.randn(len(real), latent_dim, device=device))
            critic_loss, estimate = _critic_step(critic, critic_optimizer, config, real, fake)

        for parameter in critic.parameters():
            parameter.requires_grad_(False)
        generator_optimizer.zero_grad()
        latents = torch.randn(config.batch_size, latent_dim, device=device)
        generator_loss = -critic(generator(latents)).mean()
        generator_loss.backward()
        generator_optimizer.step()
        yield Losses(critic_loss, estimate, generator_loss.item())


def _critic_step(
    critic: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    real: Tensor,
    fake: Tensor,
) -> tuple[float, float]:
    optimizer.zero_grad()
    on_real = critic(real).mean()
    (-on_real).backward()
    on_fake = critic(fake).mean()
    on_fake.backward()
    loss = on_fake - on_real
    if config.gp_weight is not None:
        penalty = config.gp_weight * _gradient_penalty(critic, real, fake)
        penalty.backward()
        loss = loss + penalty
    optimizer.step()
    if config.clip_value is not None:
        for parameter in critic.parameters():
            parameter.data.clamp_(-config.clip_value, config.clip_value)
    return loss.item(), (on_real - on_fake).item()


def _gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    alpha = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    points = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    scores = critic(points)
    (gradients,) = torch.autograd.grad(
        scores, points, grad_outputs=torch.ones_like(scores), create_graph=True
    )
    return ((gradients.flatten(1).norm(2, dim=1) - 1) ** 2).mean()


def _optimizer(
    network: nn.Module, config: TrainingConfig, learning_rate: float
) -> torch.optim.Optimizer:
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), lr=learning_rate)
    betas = cast("tuple[float, float]", (config.beta1, config.beta2))
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=betas)
