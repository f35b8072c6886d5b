"""The contract of a Lipschitz constraint in training."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.contracts.require import require
from trainables.training import TrainState, critic_step, gradient_norms, interpolate

_NUM_STEPS = 200
_BATCH_SIZE = 64

Batches = Sequence[tuple[Tensor, Tensor]]


def check_constraint(
    constraint: str,
    max_lipschitz: float,
    *,
    networks: Mapping[str, Any] | None = None,
    **training: Any,
) -> None:
    """Check a constraint by training a critic between two point clouds whose W1 distance is 1.

    After 200 steps the critic must separate the clouds, its gradient norm must keep to its bound,
    and the generator must get a finite gradient through it. A critic that is saved and loaded
    half way must end with the same weights, to the bit.

    Args:
        constraint: Its name in ``training.constraint``.
        max_lipschitz: The largest gradient norm that it allows the critic after training. Under a
            penalty with weight lambda the optimum is 1 + 1 / (2 lambda), around which it varies.
        networks: The section ``networks``, as for a custom critic; by default an MLP.
        training: Other keys of the section ``training``, such as ``clip_value``.

    Raises:
        AssertionError: if the constraint breaks one of these rules.
    """
    config = TrialConfig.model_validate(
        {
            "networks": {"critic_width": 32} if networks is None else networks,
            "training": {"constraint": constraint, "critic_lr": 3e-3, **training},
        }
    )
    state, resumed = (TrainState.create(config, (2,)) for _ in range(2))
    rng = torch.Generator().manual_seed(0)
    batches = [_shifted_clouds(rng) for _ in range(_NUM_STEPS)]
    half = _NUM_STEPS // 2
    _train(state, config, batches[:half])
    resumed.load_state_dict(state.state_dict())
    estimate = _train(state, config, batches[half:])
    _train(resumed, config, batches[half:])
    _check_weights(constraint, state, resumed)
    require(
        estimate > 0,
        f"a critic must separate real from generated samples under {constraint}, but its estimate "
        f"after {_NUM_STEPS} steps is {estimate:.3g}",
    )
    _check_slope(constraint, state, batches[-5:], max_lipschitz)


def _shifted_clouds(rng: torch.Generator) -> tuple[Tensor, Tensor]:
    cloud = 0.3 * torch.randn((_BATCH_SIZE, 2), generator=rng)
    return cloud, cloud + 0.5**0.5


def _train(state: TrainState, config: TrialConfig, batches: Batches) -> float:
    """Take a critic step on each pair of batches; return the mean of the last 20 estimates."""
    estimates = [critic_step(state, config.training, *pair)[0].item() for pair in batches]
    return sum(estimates[-20:]) / len(estimates[-20:])


def _check_weights(constraint: str, state: TrainState, resumed: TrainState) -> None:
    weights, others = (list(s.critic.state_dict().values()) for s in (state, resumed))
    require(
        all(weight.isfinite().all() for weight in weights),
        f"a critic's weights must stay finite under {constraint}, got nan or inf",
    )
    require(
        all(torch.equal(one, other) for one, other in zip(weights, others, strict=True)),
        f"a critic that is saved and loaded must train to the same weights under {constraint}, but "
        "they differ: keep the state of the constraint in buffers",
    )


def _check_slope(
    constraint: str, state: TrainState, batches: Batches, max_lipschitz: float
) -> None:
    coefficients = torch.linspace(0, 1, _BATCH_SIZE)
    points = torch.cat([interpolate(*pair, coefficients) for pair in batches])
    norm = gradient_norms(state.critic, points).max().item()
    require(
        norm <= max_lipschitz,
        f"a critic's gradient norm must be at most {max_lipschitz:g} under {constraint}, got "
        f"{norm:.4g} after {_NUM_STEPS} steps",
    )
    weights = [*state.generator.parameters()]
    gradients = torch.autograd.grad(state.scores(state.sample(_BATCH_SIZE)).sum(), weights)
    require(
        all(gradient.isfinite().all() and gradient.any() for gradient in gradients),
        f"the generator must get a gradient that is finite and not 0 under {constraint}",
    )
