"""Train and cache pools of real trials, from a mixed space of Wasserstein GANs.

The cache has each trial's generator and the estimate of its own critic, so that a change of the
independent critic needs no training.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trainables.config import DataConfig, NetworkConfig, TrainingConfig, TrialConfig
from trainables.data import Data, load, split
from trainables.networks import build_generator
from trainables.training import TrainState, gradient_norms, interpolate, train

POINTS_2D = ("eight_gaussians", "twenty_five_gaussians", "swiss_roll")
NUM_CRITIC_POINTS = 1024


@dataclass(frozen=True)
class Member:
    """A trained trial. ``generate`` takes latents [batch, latent_dim]."""

    name: str
    fingerprint: str  # of the data, the configuration and the generator steps
    generate: Callable[[torch.Tensor], torch.Tensor]
    latent_dim: int
    critic_estimate: float  # by its own critic, on all of its training data
    critic_lipschitz: float  # the largest gradient norm of its own critic
    critic_gradient_norm: float  # the mean gradient norm of its own critic
    training_cpu_seconds: float


def load_data(name: str, seed: int) -> Data:
    """Load a dataset by name, or the uint8 ``images`` of an ``.npz`` file by path."""
    if not name.endswith(".npz"):
        return load(DataConfig.model_validate({"dataset": name, "split_seed": seed}))
    with np.load(name) as file:
        images = file["images"]
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return split(images.astype(np.float32) / 127.5 - 1, np.random.default_rng(seed))


def mixed(rng: np.random.Generator, number: int) -> dict[str, Any]:
    """Draw a trial of the mixed space; one of twelve will collapse, another will be unstable."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(math.log(low), math.log(high))))

    def one_of(*values: int) -> int:
        return int(rng.choice(values))

    training: dict[str, Any] = {
        "n_critic": one_of(1, 2, 5),
        "critic_lr": log_uniform(5e-5, 5e-3),
        "generator_lr": log_uniform(5e-5, 5e-3),
    }
    if number % 2:
        training |= {"constraint": "clip", "clip_value": log_uniform(0.01, 0.5)}
    else:
        penalty = ("gradient_penalty", "one_sided_penalty")[one_of(0, 1)]
        training |= {"constraint": penalty, "gp_weight": log_uniform(0.1, 50)}
    if number % 12 == 4:  # a generator far faster than its critic: it cycles between modes
        training |= {"n_critic": 1, "critic_lr": 1e-4, "generator_lr": 1e-2}
    if number % 12 == 9:  # a very steep critic, which destabilizes the generator
        training |= {"clip_value": 3.0, "critic_lr": 1e-2, "generator_lr": 1e-2}
    return {
        "training": training,
        "networks": {
            "generator_width": one_of(32, 64, 128),
            "critic_width": one_of(32, 64, 128),
        },
        "generator_steps": one_of(250, 500, 1000, 2000),
    }


def converged(rng: np.random.Generator, number: int) -> dict[str, Any]:
    """Draw a trial of a space in which nearly all trials get close to the data."""
    penalty = ("gradient_penalty", "one_sided_penalty")[number % 2]
    return {
        "training": {
            "constraint": penalty,
            "gp_weight": float(np.exp(rng.uniform(math.log(0.3), math.log(10)))),
            "n_critic": int(rng.choice([3, 5])),
            "critic_lr": float(np.exp(rng.uniform(math.log(3e-4), math.log(2e-3)))),
            "generator_lr": float(np.exp(rng.uniform(math.log(2e-4), math.log(1e-3)))),
            "beta1": float(rng.choice([0.0, 0.5])),
        },
        "networks": {"generator_width": 128, "critic_width": 128, "generator_depth": 3},
        "generator_steps": int(rng.choice([1000, 2000, 4000])),
    }


def images(rng: np.random.Generator, number: int) -> dict[str, Any]:
    """Draw a trial on images: two thirds are DCGANs, and a third is meant to get near the data."""
    near = number // 3 % 3 == 2
    low, high = (3e-4, 1e-3) if near else (1e-4, 3e-3)
    constraints = ("gradient_penalty", "one_sided_penalty", "spectral_norm", "clip")
    training: dict[str, Any] = {
        "constraint": constraints[number % (3 if near else 4)],
        "n_critic": int(rng.choice([2, 3] if near else [1, 2])),
        "critic_lr": math.exp(rng.uniform(math.log(low), math.log(high))),
        "generator_lr": math.exp(rng.uniform(math.log(low), math.log(high))),
        "optimizer": "adam",
        "beta1": float(rng.choice([0.5] if near else [0.0, 0.5])),
        "batch_size": 32,
    }
    if training["constraint"] in ("gradient_penalty", "one_sided_penalty"):
        training["gp_weight"] = math.exp(rng.uniform(math.log(1), math.log(10 if near else 50)))
    if training["constraint"] == "clip":
        training["clip_value"] = math.exp(rng.uniform(math.log(0.01), math.log(0.1)))
    networks: dict[str, Any] = {"latent_dim": 32}
    for key in ("generator_width", "critic_width"):
        networks[key] = int(rng.choice([8, 16] if number % 3 else [64, 128, 256]))
    if number % 3:
        networks |= {"architecture": "dcgan", "generator_norm": str(rng.choice(["none", "batch"]))}
    steps = [1000, 1500] if near else [300, 500, 800]
    return {"training": training, "networks": networks, "generator_steps": int(rng.choice(steps))}


def colour(rng: np.random.Generator, number: int) -> dict[str, Any]:
    """Draw a DCGAN for colour images: the training of :func:`images`, and fewer steps.

    From the tenth trial on all are meant to get near the data, within 300 to 1,000 steps.
    """
    is_later = number >= 9
    drawn = images(rng, 6 + number % 3 if is_later else number)
    widths = {key: int(rng.choice([8, 16])) for key in ("generator_width", "critic_width")}
    norm = str(rng.choice(["none", "batch"]))
    networks = {"latent_dim": 32, "architecture": "dcgan", "generator_norm": norm, **widths}
    near = drawn["generator_steps"] >= 1000
    steps = [300, 500, 700, 1000] if is_later else [500, 700] if near else [100, 200, 300]
    return {**drawn, "networks": networks, "generator_steps": int(rng.choice(steps))}


def large(rng: np.random.Generator, number: int) -> dict[str, Any]:
    """Draw a DCGAN for images of 64 pixels: one of the later of :func:`colour`, a fifth as long."""
    drawn = colour(rng, 9 + number)
    return {**drawn, "generator_steps": drawn["generator_steps"] // 5}


SPACES = {
    "mixed": mixed, "converged": converged, "images": images, "colour": colour, "large": large,
}  # fmt: skip


def pool(
    data_name: str,
    space: str,
    num_trials: int,
    seed: int,
    cache: Path,
    log: Callable[[str], None],
    data: Data | None = None,
) -> list[Member]:
    """Train a pool, or load it from ``cache``; replace a trial that diverges by another.

    ``data`` are those of the name unless others are given.
    """
    data = load_data(data_name, seed) if data is None else data
    members = []
    for number in range(num_trials):
        member, attempt = None, 0
        while member is None:
            rng = np.random.default_rng([seed, number, attempt])
            drawn = SPACES[space](rng, number)
            member = _member(drawn, data_name, data, seed, number, attempt, cache, log)
            attempt += 1
        members.append(member)
    return members


def _member(
    drawn: Mapping[str, Any],
    data_name: str,
    data: Data,
    seed: int,
    number: int,
    attempt: int,
    cache: Path,
    log: Callable[[str], None],
) -> Member | None:
    config = TrialConfig(
        networks=NetworkConfig.model_validate(drawn["networks"]),
        training=TrainingConfig.model_validate(drawn["training"]),
        seed=1000 * seed + number + 100_000 * attempt,
    )
    identity = [Path(data_name).stem, seed, drawn, config.seed]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]
    path = cache / f"{Path(data_name).stem}-{digest}.pt"
    if not path.exists():
        started_s = time.monotonic()
        saved = _train(config, data, drawn["generator_steps"])
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp")
        torch.save(saved, scratch)
        scratch.replace(path)
        log(
            f"trained {Path(data_name).stem} pool {seed} trial {number}: "
            f"{drawn['generator_steps']} steps in {time.monotonic() - started_s:.0f} s"
        )
    saved = torch.load(path, weights_only=True)
    if saved["diverged"]:
        return None
    generator = build_generator(config.networks, data.sample_shape)
    generator.load_state_dict(saved["generator"])
    return Member(
        fingerprint=f"{Path(data_name).stem}-{digest}",
        name=f"{seed}/{number:02d} {config.training.constraint} {drawn['generator_steps']}",
        generate=_in_chunks(generator.eval()),
        latent_dim=config.networks.latent_dim,
        **saved["own"],
    )


def _train(config: TrialConfig, data: Data, generator_steps: int) -> dict[str, Any]:
    state = TrainState.create(config, data.sample_shape)
    real = torch.from_numpy(data.train)
    (measured,) = list(train(state, config.training, real, [generator_steps]))
    if measured.diverged:
        return {"diverged": True}
    with torch.no_grad():
        num_points = min(NUM_CRITIC_POINTS, len(real))
        fake = state.sample(len(real))
        estimate = (state.critic(real).mean() - state.critic(fake).mean()).item()
    coefficients = torch.rand(num_points, generator=state.rng)
    points = interpolate(real[:num_points], fake[:num_points], coefficients)
    norms = gradient_norms(state.critic, points)
    critic_values = {
        "critic_estimate": estimate,
        "critic_lipschitz": norms.max().item(),
        "critic_gradient_norm": norms.mean().item(),
        "training_cpu_seconds": measured.training_cpu_seconds,
    }
    return {"diverged": False, "generator": state.generator.state_dict(), "own": critic_values}


def _in_chunks(generator: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    @torch.no_grad()
    def generate(latents: torch.Tensor) -> torch.Tensor:
        return torch.cat([generator(chunk) for chunk in latents.split(8192)])

    return generate
