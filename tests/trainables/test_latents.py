"""Interpolation between latents: known points of a circle, and laws."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.latents import drawn, interpolated


def test_a_quarter_circle_is_divided_into_equal_angles() -> None:
    (path,) = interpolated(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 3)
    half = math.sqrt(0.5)
    torch.testing.assert_close(path, torch.tensor([[1.0, 0.0], [half, half], [0.0, 1.0]]))


@settings(deadline=None)
@given(seed=st.integers(0, 999), latent_dim=st.integers(2, 64), num=st.integers(2, 9))
def test_a_path_includes_both_ends_and_keeps_equal_lengths(
    seed: int, latent_dim: int, num: int
) -> None:
    latents = drawn(6, latent_dim, seed).double()  # near opposites magnify any rounding
    start, end = torch.nn.functional.normalize(latents, dim=1).split(3)
    paths = interpolated(start, end, num)
    assert paths.shape == (3, num, latent_dim)
    torch.testing.assert_close(paths[:, 0], start)
    torch.testing.assert_close(paths[:, -1], end)
    torch.testing.assert_close(paths.norm(dim=2), torch.ones(3, num).double(), atol=1e-8, rtol=0)


def test_opposite_and_equal_latents_are_interpolated_linearly() -> None:
    one = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.5, 0.5]])
    paths = interpolated(one, torch.tensor([[-2.0, 0.0], [4.0, 0.0], [0.5, 0.5]]), 3)
    expected = [[[2.0, 0], [0, 0], [-2, 0]], [[2, 0], [3, 0], [4, 0]], [[0.5, 0.5]] * 3]
    torch.testing.assert_close(paths, torch.tensor(expected))


def test_latents_follow_from_the_seed_and_more_of_them_begin_alike() -> None:
    assert torch.equal(drawn(9, 17, 3)[:4], drawn(4, 17, 3))
    assert not torch.equal(drawn(4, 17, 3), drawn(4, 17, 4))
    assert abs(float(drawn(2000, 5, 0).std()) - 1) < 0.05
