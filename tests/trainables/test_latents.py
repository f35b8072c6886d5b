"""The way between two latents: known points of a circle, and what holds of every way."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.latents import drawn, interpolated


def test_a_quarter_circle_is_walked_in_equal_angles() -> None:
    (way,) = interpolated(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 3)
    half = math.sqrt(0.5)
    torch.testing.assert_close(way, torch.tensor([[1.0, 0.0], [half, half], [0.0, 1.0]]))


@settings(deadline=None)
@given(seed=st.integers(0, 999), latent_dim=st.integers(2, 64), num=st.integers(2, 9))
def test_a_way_keeps_its_ends_and_of_equal_lengths_the_length(
    seed: int, latent_dim: int, num: int
) -> None:
    latents = drawn(6, latent_dim, seed).double()  # near opposites magnify any rounding
    start, end = torch.nn.functional.normalize(latents, dim=1).split(3)
    ways = interpolated(start, end, num)
    assert ways.shape == (3, num, latent_dim)
    torch.testing.assert_close(ways[:, 0], start)
    torch.testing.assert_close(ways[:, -1], end)
    torch.testing.assert_close(ways.norm(dim=2), torch.ones(3, num).double(), atol=1e-8, rtol=0)


def test_opposite_and_equal_latents_are_joined_by_a_straight_way() -> None:
    one = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.5, 0.5]])
    ways = interpolated(one, torch.tensor([[-2.0, 0.0], [4.0, 0.0], [0.5, 0.5]]), 3)
    expected = [[[2.0, 0], [0, 0], [-2, 0]], [[2, 0], [3, 0], [4, 0]], [[0.5, 0.5]] * 3]
    torch.testing.assert_close(ways, torch.tensor(expected))


def test_latents_follow_from_the_seed_and_more_of_them_begin_alike() -> None:
    assert torch.equal(drawn(9, 17, 3)[:4], drawn(4, 17, 3))
    assert not torch.equal(drawn(4, 17, 3), drawn(4, 17, 4))
    assert abs(float(drawn(2000, 5, 0).std()) - 1) < 0.05
