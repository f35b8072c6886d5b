"""The optimisers equal PyTorch's, but do not import the compiler."""

import subprocess
import sys
from copy import deepcopy

import pytest
import torch

from trainables.training import optimizers

KINDS = {
    "adam": (optimizers.Adam, torch.optim.Adam, {"betas": (0.5, 0.9), "fused": True}),
    "adamw": (optimizers.AdamW, torch.optim.AdamW, {"weight_decay": 0.1, "fused": True}),
    "rmsprop": (optimizers.RMSprop, torch.optim.RMSprop, {}),
}

ONE_TRIAL = """
import sys
import torch
from trainables.config.trial import ObjectiveConfig, TrialConfig
from trainables.objective import score
from trainables.training.state import TrainState
from trainables.training.loop import train

for training in ({training}):
    config = TrialConfig(networks={{"generator_width": 8, "critic_width": 8}}, training=training)
    state = TrainState.create(config, (2,), "cpu")
    real = torch.linspace(-1, 1, 600).view(300, 2)
    list(train(state, config.training, real, [2]))
    state.load_state_dict(state.state_dict())
    score(state.scored, state.latent_dim, real, real, ObjectiveConfig(critic_steps=2).rung)
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_steps_and_state_dicts_are_those_of_pytorch(kind) -> None:
    ours, theirs, settings = KINDS[kind]
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2)]
    one, other = ours([weights[0]], 0.01, **settings), theirs([weights[1]], 0.01, **settings)
    for step in range(6):
        if step == 3:  # through the other's state and back
            one.load_state_dict(deepcopy(other.state_dict()))
        for weight, optimizer in zip(weights, (one, other), strict=True):
            optimizer.zero_grad()
            (weight**2).sum().backward()
            optimizer.step()
        assert torch.equal(*weights)
    (our_group,), (their_group,) = (
        one.state_dict()["param_groups"],
        other.state_dict()["param_groups"],
    )
    assert our_group == their_group


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_taken_without_gradients(kind) -> None:
    ours, _, settings = KINDS[kind]
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = ours([weight], 0.01, **settings)
    weight.grad = torch.ones(3)
    assert torch.is_grad_enabled()
    optimizer.step()  # in place on a leaf that requires a gradient: else refused
    assert torch.is_grad_enabled()
    assert weight.is_leaf


def test_a_trial_that_is_not_compiled_does_not_import_the_compiler() -> None:
    """It would cost each process of a search two seconds of CPU time."""
    training = ", ".join(
        [
            '{}, {"constraint": "clip"}, {"optimizer": "adamw", "weight_decay": 0.1}',
            '{"constraint": "spectral_norm"}, {"constraint": "orthogonal"}, {"loss": "minimax"}',
            '{"ema_decay": 0.9, "lr_decay": "linear"}, {"precision": "bfloat16"}',
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", ONE_TRIAL.format(training=training)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False"]
