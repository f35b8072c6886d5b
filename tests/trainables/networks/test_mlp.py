import pytest
import torch
from torch import nn

from trainables.config import NetworkConfig
from trainables.networks import build_critic, build_generator


def same_weights(network: nn.Module, layers: list[nn.Module]) -> bool:
    """In the same order and under the same names as in a plain stack."""
    one, other = network.state_dict(), nn.Sequential(*layers).state_dict()
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)], ids=str)
def test_the_default_players_are_stacks_of_pytorchs_own_linear_layers(
    shape: tuple[int, ...],
) -> None:
    """So that a generator saved by any version loads, and a seed means the same weights in all."""
    size = torch.Size(shape).numel()
    torch.manual_seed(3)
    generator, critic = (
        build_generator(NetworkConfig(), shape),
        build_critic(NetworkConfig(), shape),
    )
    torch.manual_seed(3)
    layers = [nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, size)]
    assert same_weights(generator, layers)
    layers = [nn.Linear(size, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1)]
    assert same_weights(critic, [nn.Flatten(), *layers])


def test_width_and_depth_are_those_of_the_hidden_layers() -> None:
    config = NetworkConfig(
        latent_dim=5, generator_width=16, generator_depth=3, critic_width=12, critic_depth=1
    )
    shapes = [
        [tuple(p.shape) for p in network.parameters() if p.ndim == 2]
        for network in (build_generator(config, (1, 8, 8)), build_critic(config, (1, 8, 8)))
    ]
    assert shapes == [[(16, 5), (16, 16), (16, 16), (64, 16)], [(12, 64), (1, 12)]]


def test_generated_vectors_need_not_stay_inside_the_pixel_range() -> None:
    """Their last layer is linear."""
    assert build_generator(NetworkConfig(), (2,))(1e3 * torch.randn(64, 32)).abs().max() > 10


@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "softplus", "tanh"])
def test_players_are_not_linear(kind: str) -> None:
    """A linear map would have f(x) + f(-x) = 2 f(0)."""
    config = NetworkConfig(latent_dim=2, generator_activation=kind, critic_activation=kind)
    inputs = torch.randn(7, 2)
    for network in (build_generator(config, (2,)), build_critic(config, (2,))):
        even = network(inputs) + network(-inputs)
        assert not torch.allclose(even, 2 * network(torch.zeros_like(inputs)), atol=1e-3)
