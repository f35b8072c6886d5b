"""Other designs of an independent critic, to be held against the one that the search uses.

Each changes one thing of ``trainables.objective``, written again here without its care for
speed and devices, or uses it in another way. ``FIDELITY.md`` keeps what they gave.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from benchmarks.fidelity.truth import train_classifier, turned
from trainables.config import ObjectiveConfig
from trainables.objective import score
from trainables.training import (
    gradient_norms,
    gradient_penalty,
    interpolate,
    one_sided_penalty,
)

RUNG = ObjectiveConfig().rung


@dataclass(frozen=True)
class Design:
    """A single critic; the defaults are those of a rung."""

    penalty: Callable[..., Tensor] | None = one_sided_penalty
    weight: float = 5.0
    group_sort: bool = False  # with orthonormal weights: 1-Lipschitz by itself (Anil 2019)
    cosine: bool = True
    skip: bool = True
    width: int = 64
    learning_rate: float = 1e-2
    steps: int = RUNG.critic_steps
    batch_size: int = RUNG.batch_size
    over_largest_norm: bool = False  # instead of taking the penalty's slack off


class _GroupSort(nn.Module):
    """Sort pairs of units: keeps gradient norms, where ReLU loses them (Anil 2019)."""

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
    design: Design, generate: Any, latent_dim: int, fit: Tensor, read: Tensor, seed: int
) -> float:
    """W1 by one critic of a design; samples are flat, [n, dim]."""
    rng, latent_rng = (torch.Generator().manual_seed(seed + k) for k in range(2))

    def draw(num_samples: int) -> Tensor:
        with torch.no_grad():
            return generate(torch.randn(num_samples, latent_dim, generator=latent_rng)).flatten(1)

    generated = draw(1024)
    mean = (fit.mean(0) + generated.mean(0)) / 2
    scale = torch.stack([(x - mean).square().sum(1).mean() for x in (fit, generated)]).mean().sqrt()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        critic = _Critic(design, fit.shape[1])
    parameters = [p for p in critic.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, design.learning_rate, (0.5, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, design.steps)
    real_data = (fit - mean) / scale
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
    real = (read - mean) / scale
    with torch.no_grad():
        reading = (critic(real).mean() - critic(fresh).mean()).item()
    if design.over_largest_norm:
        count = min(512, len(real))
        points = interpolate(real[:count], fresh[:count], torch.rand(count, generator=rng))
        reading /= max(1.0, gradient_norms(critic, points).max().item())
    elif design.penalty is not None:
        reading = design.weight * (math.sqrt(1 + 2 * max(reading, 0) / design.weight) - 1)
    return reading * scale.item()


def _single(**changes: Any) -> Callable[..., float]:
    design = replace(Design(), **changes)

    def number(trials: Any, member: Any, seed: int) -> float:
        parts = trials.fit.flatten(1), trials.read.flatten(1)
        return estimate(design, member.generate, member.latent_dim, *parts, seed)

    return number


def _averaged(num_critics: int) -> Callable[..., float]:
    def number(trials: Any, member: Any, seed: int) -> float:
        budget = replace(RUNG, num_critics=num_critics, seed=seed)
        return score(member.generate, member.latent_dim, trials.fit, trials.read, budget).w1

    return number


def _own_random_numbers(trials: Any, member: Any, seed: int) -> float:
    budget = replace(RUNG, seed=1000 * (seed + 1) + trials.members.index(member))
    return score(member.generate, member.latent_dim, trials.fit, trials.read, budget).w1


def _until_it_settles(trials: Any, member: Any, seed: int) -> float:
    """Budgets twice as long each, until two in turn agree to 3%, or at 800 steps."""
    before = math.inf
    for steps in (50, 100, 200, 400, 800):
        budget = replace(RUNG, critic_steps=steps, seed=seed)
        now = score(member.generate, member.latent_dim, trials.fit, trials.read, budget).w1
        if abs(now - before) < 0.03 * abs(now):
            break
        before = now
    return now


class _Features:
    """W1 between fixed features: of a network that learned to tell turned images apart.

    It learns from the held-out part that fits the critic, as the trials' part is not at hand to
    the objective; features are scaled to mean norm 1.
    """

    def __init__(self) -> None:
        self._of: dict[int, Callable[[Tensor], Tensor]] = {}

    def __call__(self, trials: Any, member: Any, seed: int) -> float:
        if trials.fit.ndim != 4:
            return float("nan")
        extract = self._of.get(id(trials)) or self._of.setdefault(id(trials), self._fit(trials))
        parts = extract(trials.fit), extract(trials.read)
        return score(
            lambda z: extract(member.generate(z)),
            member.latent_dim,
            *parts,
            replace(RUNG, seed=seed),
        ).w1

    def _fit(self, trials: Any) -> Callable[[Tensor], Tensor]:
        network = train_classifier(*turned(trials.fit.numpy()), 0)
        with torch.no_grad():
            norm = network[:-1](trials.fit).norm(dim=1).mean()

        @torch.no_grad()
        def extract(images: Tensor) -> Tensor:
            return torch.cat([network[:-1](chunk) for chunk in images.split(2048)]) / norm

        return extract


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
    "over its largest gradient norm": _single(over_largest_norm=True),
    "random numbers of its own": _own_random_numbers,
    "until it settles": _until_it_settles,
    "features, not pixels": _Features(),
}
