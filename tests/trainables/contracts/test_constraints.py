"""Every constraint keeps the contract, and a broken one fails with the right sentence."""

from typing import get_args

import pytest
import torch
from torch import nn

from trainables.config import Constraint
from trainables.contracts import check_constraint
from trainables.training import loop

#: The largest gradient norm after training. Clipping bounds it by the weights alone.
MAX_LIPSCHITZ = {
    "gradient_penalty": 1.4,
    "one_sided_penalty": 1.4,
    "clip": 1e3,
    "spectral_norm": 1.01,
    "orthogonal": 1.002,
}


@pytest.mark.parametrize("constraint", get_args(Constraint))
def test_built_in_constraints_keep_the_contract(constraint: str) -> None:
    more = {"clip_value": 0.1} if constraint == "clip" else {}
    check_constraint(constraint, MAX_LIPSCHITZ[constraint], **more)


class CustomCritic(nn.Module):
    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(*sample_shape, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, samples):
        return self.layers(samples)


class WrongCritic(nn.Linear):
    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        super().__init__(*sample_shape, 1)
        nn.init.ones_(self.weight)


def test_a_custom_critic_keeps_the_contract() -> None:
    networks = {"critic": f"{__name__}:CustomCritic"}
    check_constraint("orthogonal", 1.002, networks=networks)


def test_a_bound_that_is_not_kept_fails() -> None:
    with pytest.raises(
        AssertionError, match=r"must be at most 0.5 under gradient_penalty, got 1\."
    ):
        check_constraint("gradient_penalty", 0.5)


def test_a_critic_that_does_not_separate_the_clouds_fails() -> None:
    """One that scores the generated cloud 2^0.5 higher, and trains too slowly to change."""
    networks = {"critic": f"{__name__}:WrongCritic"}
    match = r"must separate real from generated samples .* 200 steps is -1\.41"
    with pytest.raises(AssertionError, match=match):
        check_constraint("gradient_penalty", 9.0, networks=networks, critic_lr=1e-30)


def test_weights_that_are_not_finite_fail() -> None:
    with pytest.raises(
        AssertionError, match="weights must stay finite under gradient_penalty, got"
    ):
        check_constraint("gradient_penalty", 1.4, critic_lr=1e30)


def test_a_constraint_with_state_outside_the_checkpoint_fails(monkeypatch) -> None:
    calls = []

    def drifting(critic: nn.Module, config: object) -> None:
        calls.append(critic)
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.mul_(1 - 1e-3 / len(calls))

    monkeypatch.setattr(loop, "project_", drifting)
    with pytest.raises(AssertionError, match="must train to the same weights under clip, but they"):
        check_constraint("clip", 1e3)


def test_a_generator_without_a_gradient_fails(monkeypatch) -> None:
    """A critic whose weights are all 0, with an estimate that hides it."""

    def flat(critic: nn.Module, config: object) -> None:
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.zero_()

    monkeypatch.setattr(loop, "project_", flat)
    monkeypatch.setattr(loop, "divergence", lambda loss, value: torch.ones(()))
    with pytest.raises(AssertionError, match="gradient that is finite and not 0 under clip"):
        check_constraint("clip", 1e3)
