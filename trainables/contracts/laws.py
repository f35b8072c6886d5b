"""The laws that generators and critics share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainables.contracts.require import require
from trainables.networks import Player, in_one_line

#: Of an output whose batch has changed, for rounding.
_RTOL, _ATOL = 1e-3, 1e-5
_OUTPUTS: dict[Player, str] = {"generator": "samples", "critic": "scores"}


def draw(*shape: int) -> Tensor:
    """Draw standard normal numbers, always the same ones."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def build(
    player: Player, make: Callable[..., nn.Module], seed: int, keywords: dict[str, Any]
) -> nn.Module:
    """Build a network under a global seed; check that it has trainable parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            network = make(**keywords)
        except Exception as error:
            given = ", ".join(f"{key}={value!r}" for key, value in keywords.items())
            raise AssertionError(
                f"the {player} must be callable with ({given}), but raised {in_one_line(error)}"
            ) from error
    require(
        isinstance(network, nn.Module),
        f"the {player} must be a torch.nn.Module, got {type(network).__name__}",
    )
    require(
        any(parameter.requires_grad for parameter in network.parameters()),
        f"the {player} must have trainable parameters, got none",
    )
    return network


def output(player: Player, network: nn.Module, inputs: Tensor, seed: int = 0) -> Tensor:
    """Call a network under a global seed and restore its buffers; check that it is finite."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            result = network(inputs)
        except Exception as error:
            raise AssertionError(
                f"the {player} must accept inputs of shape {tuple(inputs.shape)}, but raised "
                f"{in_one_line(error)}"
            ) from error
    for buffer, before in buffers:
        buffer.data.copy_(before)  # by .data, as the graph may need the buffer
    require(
        isinstance(result, Tensor) and result.dtype == torch.float32,
        f"the {player} must return one tensor of float32, got "
        f"{result.dtype if isinstance(result, Tensor) else type(result).__name__}",
    )
    require(
        result.isfinite().all(),
        f"the {player} must return finite numbers with its initial weights, got nan or inf",
    )
    return result


def check_gradients(player: Player, network: nn.Module, results: Tensor, inputs: Tensor) -> None:
    """Check that gradients arrive at the inputs and at every parameter that is not frozen.

    Args:
        player: Which network it is.
        network: The network.
        results: Its outputs, with their graph.
        inputs: Its inputs, which require gradients.
    """
    outputs = f"{player}'s {_OUTPUTS[player]}"
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    require(results.requires_grad, f"the {outputs} must have a gradient, got none")
    weights = draw(*results.shape)
    try:
        by_inputs, *by_parameters = torch.autograd.grad(
            (results * weights).sum(), [inputs, *trained.values()], allow_unused=True
        )
    except RuntimeError as error:
        raise AssertionError(
            f"the {player} must be differentiable, but raised {in_one_line(error)}"
        ) from error
    unused = [name for name, grad in zip(trained, by_parameters, strict=True) if grad is None]
    require(
        not unused,
        f"the {outputs} must depend on every parameter that is not frozen, but no gradient arrives "
        f"at {', '.join(unused)}",
    )
    for name, grad in zip(trained, by_parameters, strict=True):
        require(
            grad.isfinite().all(),
            f"the {player}'s gradients must be finite, got nan or inf at {name}",
        )
    if by_inputs is None:
        by_inputs = torch.zeros_like(inputs)
    reached = by_inputs.abs().amax(0) > 0
    require(reached.any(), f"the {outputs} must depend on its inputs, but no gradient arrives")
    if player == "generator":
        ignored = (~reached).nonzero().flatten().tolist()
        require(
            not ignored,
            "the generator's samples must depend on every latent coordinate, but do not on "
            f"number {', '.join(map(str, ignored))}",
        )


def check_weights(player: Player, make: Callable[[int], nn.Module], inputs: Tensor) -> None:
    """Check that a seed sets the initial weights, and that a ``state_dict`` is complete.

    Args:
        player: Which network it is.
        make: Builds the network under a global seed.
        inputs: A batch of inputs.
    """
    one, same, other = make(0), make(0), make(1)
    require(
        _equal(one, same),
        f"the {player}'s initial weights must follow from PyTorch's global seed, but two networks "
        "under one seed differ",
    )
    one.train()(inputs)  # changes running statistics
    try:
        other.load_state_dict(one.state_dict())
    except RuntimeError as error:
        raise AssertionError(
            f"the {player}'s state_dict must load into a new {player}, but raised "
            f"{in_one_line(error)}"
        ) from error
    outputs = [output(player, network.eval(), inputs) for network in (one, other)]
    require(
        torch.equal(*outputs),
        f"the {player}'s state_dict must hold all tensors that it computes with, but after loading "
        "it another network gives other outputs: register fixed tensors as buffers",
    )


def _equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def check_evaluation(player: Player, network: nn.Module, inputs: Tensor) -> None:
    """Check that in evaluation mode each output follows from its own input."""
    network.eval()
    outputs = [output(player, network, inputs, seed) for seed in (0, 1)]
    require(
        torch.equal(*outputs),
        f"the {player} must not be random in evaluation mode, but two calls with the same inputs "
        "differ",
    )
    check_batch(player, network, inputs, "in evaluation mode")


def check_batch(player: Player, network: nn.Module, inputs: Tensor, when: str) -> None:
    """Check that the first output stays the same when all other inputs change."""
    others = torch.cat([inputs[:1], 5 + 3 * inputs[1:].flip(0)])
    one, other = (output(player, network, batch)[0] for batch in (inputs, others))
    require(
        torch.allclose(one, other, _RTOL, _ATOL),
        f"each of the {player}'s {_OUTPUTS[player]} must depend on its own input alone {when}, but "
        f"changes by {(one - other).abs().max():.3g} with the rest of its batch",
    )
