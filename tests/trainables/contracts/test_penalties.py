"""Both penalties keep the contract, and the known errors of other implementations break it."""

import pytest
import torch
from torch import Tensor

from trainables.contracts import check_penalty
from trainables.training import PENALTIES


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=map(str, PENALTIES))
def test_built_in_penalties_keep_the_contract(penalty) -> None:
    check_penalty(penalty)


def gradients(critic, real: Tensor, fake: Tensor, rng: torch.Generator, *, graph: bool = True):
    shape = (len(real), *[1] * (real.ndim - 1))
    points = torch.lerp(real, fake, torch.rand(shape, generator=rng)).detach().requires_grad_()
    return torch.autograd.grad(critic(points).sum(), points, create_graph=graph)[0].flatten(1)


def norms(*args, **options) -> Tensor:
    return (gradients(*args, **options).square().sum(1) + 1e-12).sqrt()


def per_pixel(*args) -> Tensor:
    return (gradients(*args).abs() - 1).square().mean()


def of_the_whole_batch(*args) -> Tensor:
    return (gradients(*args).norm() - 1).square()


def without_graph(*args) -> Tensor:
    return (norms(*args, graph=False) - 1).square().mean()


def with_infinite_root(*args) -> Tensor:
    return (gradients(*args).square().sum(1).sqrt() - 1).square().mean()


def flipped(*args) -> Tensor:
    return (1 - norms(*args)).relu().square().mean()


def with_the_samples_graph(critic, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    points = torch.lerp(real, fake, torch.rand((len(real), 1), generator=rng))
    if not points.requires_grad:
        points.requires_grad_()
    (by_points,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return (by_points.norm(dim=1) - 1).square().mean()


def global_random(critic, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    return (norms(critic, real, fake, torch.default_generator) - 1).square().mean()


BROKEN = {
    "not reduced": (lambda *args: (norms(*args) - 1).square(), "must be a scalar, got a shape of"),
    "zero at zero": (lambda *args: norms(*args).square().mean(), "must be 0 at a gradient norm"),
    "flipped": (flipped, "must increase with gradient norms above 1, got 0 at 3 and 0 at 5"),
    "per pixel": (per_pixel, "must be 0 at a gradient norm of 1, got"),
    "whole batch": (of_the_whole_batch, "must be 0 at a gradient norm of 1, got"),
    "infinite root": (with_infinite_root, "a finite gradient by the critic's parameters, got nan"),
    "no graph": (without_graph, r"got 0 at a gradient norm of 3: .*\(create_graph=True\)"),
    "samples": (lambda *args: with_the_samples_graph(*flat(*args)), "constant in the samples"),
    "global rng": (global_random, "must draw only from the generator that it is given"),
}  # fmt: skip


def flat(critic, real: Tensor, fake: Tensor, rng: torch.Generator):
    return critic, real.flatten(1), fake.flatten(1), rng


@pytest.mark.parametrize(("penalty", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_penalty_fails_with_a_sentence(penalty, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_penalty(penalty)


def test_a_norm_that_shrinks_with_the_number_of_pixels_fails() -> None:
    """The mean square over pixels is right for one shape only."""

    def scaled(*args) -> Tensor:
        grads = gradients(*args)
        return ((3 * grads.square().mean(1) + 1e-12).sqrt() - 1).square().mean()

    with pytest.raises(AssertionError, match=r"of each whole sample alone, but at 3 it is 4 for"):
        check_penalty(scaled)
