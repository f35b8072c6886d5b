"""Implement other designs of the independent critic, for comparison with that of the search.

Each differs from ``trainables.objective`` in one respect. The critic is written again here without
regard to speed and devices. ``FIDELITY.md`` has the results.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from trainables.config import CriticBudget, ObjectiveConfig
from trainables.objective import score
from trainables.training import (
    gradient_norms,
    gradient_penalty,
    interpolate,
    one_sided_penalty,
)

RUNG = ObjectiveConfig().rung


class RandomConvolutions(nn.Module):
    """Another ground metric of images: moduli of convolutions with random orthonormal filters.

    Two layers of complex 5x5 filters, each with a stride of 2 and a modulus. The features are the
    image and the maps of both layers, averaged to a grid of 8x8, 8x8 and 4x4; the last are doubled.
    """

    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        """Expect images [channels, height, width]."""
        super().__init__()
        channels = sample_shape[0]
        self.layers = nn.ModuleList()
        for inputs, outputs in ((channels, 12), (12, 24)):
            layer = nn.Conv2d(inputs, 2 * outputs, 5, 2, 2, bias=False, padding_mode="reflect")
            nn.init.orthogonal_(layer.weight)
            layer.weight.data -= layer.weight.data.mean((2, 3), keepdim=True)
            self.layers.append(layer)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [n, c, h, w] to features [n, length]."""
        maps, blocks = images, [nn.functional.adaptive_avg_pool2d(images, 8).flatten(1)]
        for layer, grid in zip(self.layers, (8, 4), strict=True):
            even, odd = layer(maps).chunk(2, 1)
            maps = (even.square() + odd.square()).sqrt()
            blocks.append(nn.functional.adaptive_avg_pool2d(maps, grid).flatten(1) * 8 / grid)
        return torch.cat(blocks, 1)


@dataclass(frozen=True)
class Design:
    """The design of a single critic; the defaults are those of a rung."""

    penalty: Callable[..., Tensor] | None = one_sided_penalty
    weight: float = 5.0
    group_sort: bool = False  # with orthonormal weights: 1-Lipschitz by itself (Anil 2019)
    cosine: bool = True
    skip: bool = True
    width: int = 64
    learning_rate: float = 1e-2
    steps: int = RUNG.critic_steps
    batch_size: int = RUNG.batch_size
    divide_by_largest_norm: bool = False  # instead of the correction for the penalty's slack


class _GroupSort(nn.Module):
    """A layer that sorts pairs of units, which preserves gradient norms (Anil et al. 2019)."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.unflatten(-1, (-1, 2)).sort(dim=-1).values.flatten(-2)


class _Critic(nn.Module):
    def __init__(self, design: Design, dim: int) -> None:
        super().__init__()
        self.root = 1.0 if design.group_sort else math.sqrt(dim)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([dim, design.width, design.width, 1]):
            linear = nn.Linear(inputs, outputs)
            layers.append(orthogonal(linear) if design.group_sort else linear)
            layers.append(_GroupSort() if design.group_sort else nn.ReLU())
        self.network = nn.Sequential(*layers[:-1])
        self.linear = nn.Linear(dim, 1, bias=False)
        nn.init.zeros_(self.linear.weight)
        self.linear.requires_grad_(design.skip and not design.group_sort)

    def forward(self, samples: Tensor) -> Tensor:
        inputs = samples * self.root
        return (self.network(inputs) + self.linear(inputs)).squeeze(1)


def estimate(
    design: Design,
    generate: Any,
    latent_dim: int,
    critic_train: Tensor,
    critic_eval: Tensor,
    seed: int,
) -> float:
    """Estimate W1 by one critic of a design.

    Args:
        design: The design.
        generate: Maps latents [n, latent_dim] to samples.
        latent_dim: The dimension of the latents.
        critic_train: Real samples [n, dim] that the critic is trained on.
        critic_eval: Real samples [n, dim] that it is evaluated on.
        seed: Determines all random numbers.
    """
    rng, latent_rng = (torch.Generator().manual_seed(seed + k) for k in range(2))

    def draw(num_samples: int) -> Tensor:
        with torch.no_grad():
            return generate(torch.randn(num_samples, latent_dim, generator=latent_rng)).flatten(1)

    generated = draw(1024)
    mean = (critic_train.mean(0) + generated.mean(0)) / 2
    variances = [(x - mean).square().sum(1).mean() for x in (critic_train, generated)]
    scale = torch.stack(variances).mean().sqrt()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        critic = _Critic(design, critic_train.shape[1])
    parameters = [p for p in critic.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, design.learning_rate, (0.5, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, design.steps)
    real_data = (critic_train - mean) / scale
    for _ in range(design.steps):
        real = real_data[torch.randint(len(real_data), (design.batch_size,), generator=rng)]
        fake = (draw(design.batch_size) - mean) / scale
        loss = critic(fake).mean() - critic(real).mean()
        if design.penalty is not None:
            loss = loss + design.weight * design.penalty(critic, real, fake, rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if design.cosine:
            schedule.step()
    fresh = (draw(8192) - mean) / scale
    real = (critic_eval - mean) / scale
    with torch.no_grad():
        difference = (critic(real).mean() - critic(fresh).mean()).item()
    if design.divide_by_largest_norm:
        count = min(512, len(real))
        points = interpolate(real[:count], fresh[:count], torch.rand(count, generator=rng))
        difference /= max(1.0, gradient_norms(critic, points).max().item())
    elif design.penalty is not None:
        difference = design.weight * (math.sqrt(1 + 2 * max(difference, 0) / design.weight) - 1)
    return difference * scale.item()


def _single(**changes: Any) -> Callable[..., float]:
    design = replace(Design(), **changes)

    def number(trials: Any, member: Any, seed: int) -> float:
        parts = trials.critic_train.flatten(1), trials.critic_eval.flatten(1)
        return estimate(design, member.generate, member.latent_dim, *parts, seed)

    return number


def _averaged(num_critics: int) -> Callable[..., float]:
    def number(trials: Any, member: Any, seed: int) -> float:
        budget = replace(RUNG, num_critics=num_critics, seed=seed)
        return _score(trials, member, budget)

    return number


def _score(trials: Any, member: Any, budget: CriticBudget) -> float:
    parts = trials.critic_train, trials.critic_eval
    return score(member.generate, member.latent_dim, *parts, budget).w1


def _own_random_numbers(trials: Any, member: Any, seed: int) -> float:
    budget = replace(RUNG, seed=1000 * (seed + 1) + trials.members.index(member))
    return _score(trials, member, budget)


def _until_it_settles(trials: Any, member: Any, seed: int) -> float:
    """Double the critic's steps until two scores agree to 3%, or up to 800 steps."""
    previous = math.inf
    for steps in (50, 100, 200, 400, 800):
        current = _score(trials, member, replace(RUNG, critic_steps=steps, seed=seed))
        if abs(current - previous) < 0.03 * abs(current):
            break
        previous = current
    return current


DESIGNS: dict[str, Callable[..., float]] = {
    "one critic": _averaged(1),
    "mean of four": _averaged(4),
    "mean of eight": _averaged(8),
    "one, written plainly": _single(),
    "two-sided penalty": _single(penalty=gradient_penalty),
    "GroupSort, orthonormal": _single(penalty=None, group_sort=True),
    "constant learning rate": _single(cosine=False),
    "no linear skip": _single(skip=False),
    "penalty weight 0.5": _single(weight=0.5),
    "penalty weight 50": _single(weight=50.0),
    "over its largest gradient norm": _single(divide_by_largest_norm=True),
    "random numbers of its own": _own_random_numbers,
    "until it settles": _until_it_settles,
}
