"""Score generators whose W1 from the data is known, and generators that mislead naive scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.fidelity.pools import POINTS_2D, load_data
from benchmarks.fidelity.truth import exact_w1
from trainables.config import ObjectiveConfig
from trainables.data import Data
from trainables.objective import score

DISTANCES = (0.3, 1.0, 3.0, 30.0)
#: The 2-D answers are a mean over so many datasets: a single sample of 8 modes is off by 3% at 0.3.
NUM_DATASETS = 3
#: The points of each side of exact transport, which replaces a closed form.
NUM_EXACT = 2000


@dataclass(frozen=True)
class Case:
    """A generator of latents [batch, latent_dim], its data, and the true W1 between the two."""

    name: str
    data: Data
    generate: Callable[[Tensor], Tensor]
    latent_dim: int
    truth: float
    is_closed_form: bool


@dataclass(frozen=True)
class Answer:
    """The estimates of a case, with the budgets of a rung and of the final."""

    name: str
    truth: float
    is_closed_form: bool
    rung: float
    final: float


def score_cases(data_name: str, log: Callable[[str], None]) -> list[Answer]:
    """Score all cases on a dataset; on 2-D data the textbook cases too, and means over datasets."""
    if data_name not in POINTS_2D:
        return [_answer([case], log) for case in on_data(load_data(data_name, 0))]
    sets = [on_data(load_data(data_name, k)) + textbook(k) for k in range(NUM_DATASETS)]
    return [_answer(cases, log) for cases in zip(*sets, strict=True)]


def textbook(seed: int) -> list[Case]:
    """Return parallel lines (Arjovsky 2017, Example 1) and Gaussians of equal covariance."""
    rng = np.random.default_rng(seed)
    sizes = (8192, 8192, 4096, 8192)
    lines = Data(*(np.stack([np.zeros(n), rng.random(n)], 1).astype(np.float32) for n in sizes))
    root = np.array([[0.5, 0.2], [0.2, 0.3]], np.float32)
    gaussians = Data(*((rng.standard_normal((n, 2)) @ root).astype(np.float32) for n in sizes))

    def line(x: float) -> Callable[[Tensor], Tensor]:
        return lambda z: torch.stack([torch.full((len(z),), x), torch.special.ndtr(z[:, 0])], 1)

    def gaussian(distance: float) -> Callable[[Tensor], Tensor]:
        shift = distance * torch.tensor([0.6, -0.8])
        return lambda z: z @ torch.from_numpy(root) + shift

    return [
        *(Case(f"parallel lines, {d:g} apart", lines, line(d), 1, d, True) for d in DISTANCES),
        *(
            Case(f"Gaussians, means {d:g} apart", gaussians, gaussian(d), 2, d, True)
            for d in DISTANCES
        ),
    ]


def on_data(data: Data) -> list[Case]:
    """Return shifts, copies and collapses of a dataset's training part, and a constant."""
    train, shape = torch.from_numpy(data.train), data.sample_shape
    direction = torch.ones(shape) / np.sqrt(np.prod(shape))
    center = train[0].flatten()
    near = (train.flatten(1) - center).norm(dim=1).argsort()[: len(train) // 8]
    held_out = np.concatenate([data.critic_train, data.critic_eval, data.final]).reshape(
        -1, int(np.prod(shape))
    )

    def copies(points: Tensor, shift: float = 0.0) -> Callable[[Tensor], Tensor]:
        last = len(points) - 1

        def generate(latents: Tensor) -> Tensor:
            indices = (torch.special.ndtr(latents[:, 0]) * len(points)).long().clamp(0, last)
            return points[indices] + shift * direction

        return generate

    def from_points(points: Tensor) -> float:
        """Return the exact W1 of held-out data from the uniform distribution on some points."""
        rng = np.random.default_rng(0)
        size = min(NUM_EXACT, len(held_out))
        real = held_out[rng.permutation(len(held_out))[:size]].astype(float)
        atoms = points.flatten(1).numpy()[np.arange(size) % len(points)]
        return exact_w1(real, atoms.astype(float))

    constant = torch.zeros(1, *shape)
    return [
        *(
            Case(f"the data, shifted by {d:g}", data, copies(train, d), 1, d, True)
            for d in DISTANCES
        ),
        Case("copies all training samples", data, copies(train), 1, 0.0, True),
        Case(
            "constant output", data, copies(constant), 1,
            float(np.linalg.norm(held_out, axis=1).mean()), True,
        ),
        Case(
            "all its mass on 10 training samples", data, copies(train[:10]), 1,
            from_points(train[:10]), False,
        ),
        Case(
            "one mode: an eighth of the training samples", data, copies(train[near]), 1,
            from_points(train[near]), False,
        ),
    ]  # fmt: skip


def _answer(cases: Sequence[Case], log: Callable[[str], None]) -> Answer:
    """Average the estimates of a case over datasets."""
    values = [(case.truth, *_estimates(case)) for case in cases]
    truth, rung, final = np.mean(values, axis=0).tolist()
    answer = Answer(cases[0].name, truth, cases[0].is_closed_form, rung, final)
    log(f"{answer.name}: W1 {answer.truth:.3f}, rung {answer.rung:.3f}, final {answer.final:.3f}")
    return answer


def _estimates(case: Case) -> tuple[float, float]:
    objective = ObjectiveConfig()
    critic_train, critic_eval, final = (
        torch.from_numpy(part)
        for part in (case.data.critic_train, case.data.critic_eval, case.data.final)
    )
    both = torch.cat([critic_train, critic_eval])
    return (
        score(case.generate, case.latent_dim, critic_train, critic_eval, objective.rung).w1,
        score(case.generate, case.latent_dim, both, final, objective.final).w1,
    )
