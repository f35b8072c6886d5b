"""Critics that are autoencoders: their scores against known ones, in every architecture."""

import math

import pytest
import torch
from custom_networks import Scaling
from small_trials import SMALL
from torch import Tensor, nn

from trainables.config import NetworkConfig
from trainables.networks import Autoencoder, BadNetwork, as_autoencoder, build_critic

PLACES = [("mlp", (2,)), ("mlp", (1, 8, 8)), ("dcgan", (3, 16, 16)), ("resnet", (3, 16, 16))]


def scores_of(samples: Tensor, loss) -> Tensor:
    """Score samples of which half is reconstructed."""
    return Autoencoder(Scaling(0.5), loss)(samples)


def test_ebgans_error_is_the_norm_over_the_whole_sample() -> None:
    """Half of (3, 4) is missing: 2.5. A mean over elements would not grow with their number."""
    samples = torch.tensor([[[[3.0, 4.0]]], [[[0.0, 0.0]]]])
    assert scores_of(samples, "ebgan").tolist() == pytest.approx([-2.5, 0], abs=1e-5)
    four = samples.expand(2, 4, 1, 2)
    assert scores_of(four, "ebgan").tolist() == pytest.approx([-5, 0], abs=1e-5)


def test_begans_error_is_the_mean_over_the_elements_of_a_sample() -> None:
    """Half of 3 and of -4 is missing: (1.5 + 2) / 2, however often they are repeated."""
    samples = torch.tensor([[[[3.0, -4.0]]], [[[0.0, 0.0]]]])
    assert scores_of(samples, "began").tolist() == [-1.75, 0]
    assert scores_of(samples.expand(2, 4, 1, 2), "began").tolist() == [-1.75, 0]


def test_a_perfect_reconstruction_has_a_finite_gradient() -> None:
    samples = torch.zeros(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(scores_of(samples, "ebgan").sum(), samples)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("architecture", "shape"), PLACES, ids=str)
def test_a_built_in_critic_codes_and_reconstructs(architecture: str, shape: tuple) -> None:
    sizes = {**SMALL, "critic_code_dim": 5}
    config = NetworkConfig.model_validate({"architecture": architecture, **sizes})
    critic = build_critic(config, shape, loss="ebgan")
    assert isinstance(critic, Autoencoder)
    samples = torch.randn(6, *shape)
    codes = critic.encoder(samples)
    assert codes.shape == (6, 5)
    reconstructed = critic.decoder(codes)
    assert reconstructed.shape == samples.shape
    expected = -(samples - reconstructed).flatten(1).norm(dim=1)
    torch.testing.assert_close(critic(samples), expected)


@pytest.mark.parametrize(("architecture", "shape"), PLACES, ids=str)
def test_a_built_in_critic_learns_to_reconstruct(architecture: str, shape: tuple) -> None:
    """Samples on a line in the space of images, for which one number is code enough."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = NetworkConfig.model_validate({"architecture": architecture, **SMALL})
        critic = build_critic(config, shape, loss="ebgan")
        direction = torch.linspace(-1, 1, math.prod(shape)).view(shape)
        optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
        for _ in range(60):
            samples = (2 * torch.rand(16, *[1] * len(shape)) - 1) * direction
            error = -critic(samples).mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
    assert error < 0.7 * samples.flatten(1).norm(dim=1).mean()  # of no reconstruction at all


@pytest.mark.parametrize(("architecture", "length"), [("mlp", 32), ("dcgan", 64), ("resnet", 64)])
def test_a_code_has_a_length_of_its_architecture(architecture: str, length: int) -> None:
    config = NetworkConfig.model_validate({"architecture": architecture, **SMALL})
    critic = build_critic(config, (1, 8, 8), loss="ebgan")
    assert isinstance(critic, Autoencoder)
    assert critic.encoder(torch.zeros(2, 1, 8, 8)).shape == (2, length)


class OnlyEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 1)
        self.decoder = print


def test_a_network_without_both_parts_is_refused() -> None:
    fault = (
        "nets:Net must have the modules encoder and decoder where loss is ebgan, but lacks decoder"
        ": set self.encoder and self.decoder, or change the loss"
    )
    with pytest.raises(BadNetwork, match=fault) as raised:
        as_autoencoder(OnlyEncoder(), "nets:Net", "ebgan")
    assert raised.value.key == "critic"
