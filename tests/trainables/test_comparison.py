"""How generated samples differ from real ones: known answers."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.comparison import (
    NUM_BINS,
    NUM_COLUMNS,
    column_distances,
    compare,
    compare_vectors,
    neighbours,
)
from trainables.data import Data, Scale
from trainables.diagnostics import nearest

CPU = torch.device("cpu")


def normal(num: int, dim: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(num, dim, generator=rng, dtype=torch.float64)


def test_the_distance_of_a_column_is_its_shift_in_deviations_of_the_real_one() -> None:
    real = normal(500, 4) * torch.tensor([1.0, 10.0, 0.1, 0.0])
    shift = torch.tensor([0.0, 5.0, 0.2, 3.0])
    found = column_distances(real, real + shift)
    spread = real.std(0)
    expected = [0.0, 5.0 / spread[1].item(), 0.2 / spread[2].item(), 0.0]  # the last is constant
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_the_columns_that_differ_most_come_first() -> None:
    real = normal(400, 12)
    generated = real.clone()
    generated[:, 7] += 2
    generated[:, 3] += 1
    found = compare_vectors(real, generated)
    assert found["num_columns"] == 12
    assert [column["index"] for column in found["columns"]][:2] == [7, 3]
    assert len(found["columns"]) == NUM_COLUMNS
    first = found["columns"][0]
    assert len(first["edges"]) == NUM_BINS + 1
    assert sum(first["real"]) == pytest.approx(1, abs=1e-3)
    assert sum(first["generated"]) == pytest.approx(1, abs=1e-3)
    assert first["edges"][0] == pytest.approx(real[:, 7].min().item(), rel=1e-4)
    assert first["edges"][-1] == pytest.approx(generated[:, 7].max().item(), rel=1e-4)
    assert first["generated_points"][0] == pytest.approx(first["real_points"][0] + 2, rel=1e-3)


def test_correlations_are_those_of_the_pair() -> None:
    real = normal(2000, 2)
    generated = torch.stack([real[:, 0], -real[:, 0]], 1)
    ((first, second, of_real, of_generated),) = compare_vectors(real, generated)["correlations"]
    assert (first, second) == (0, 1)
    assert of_real == pytest.approx(torch.corrcoef(real.T)[0, 1].item(), rel=1e-4)
    assert of_generated == pytest.approx(-1)


@pytest.mark.parametrize("value", [0.0, 1e9, -3.0])
def test_a_constant_column_and_samples_far_off_have_a_histogram(value: float) -> None:
    real = torch.full((60, 1), value, dtype=torch.float64)
    for generated in (real, real + 1e30, real - 5):
        found = compare_vectors(real, generated)
        assert found["correlations"] == []
        assert sum(found["columns"][0]["real"]) == pytest.approx(1, abs=1e-3)
        edges = found["columns"][0]["edges"]
        assert edges[0] <= edges[-1]


def test_vectors_are_compared_in_the_units_of_the_data() -> None:
    parts = [normal(n, 2, seed).float().numpy() for seed, n in enumerate((200, 60, 60, 300))]
    scale = Scale(np.array([100.0, 0.0]), np.array([2.0, 1.0]))
    data = replace(Data(*parts), scale=scale)

    found = compare(torch.nn.Identity(), 2, data, 0, CPU)
    points = {column["index"]: column["real_points"] for column in found["columns"]}
    assert points[0][:5] == pytest.approx((100 + 2 * parts[3][:5, 0]).tolist(), rel=1e-4)
    assert points[1][:5] == pytest.approx(parts[3][:5, 1].tolist(), rel=1e-4)
    assert compare(Infinite(), 2, data, 0, CPU)["num_columns"] == 2, "nothing fails for it"


class Infinite(torch.nn.Module):
    """A generator whose second column is not finite."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.stack([latents[:, 0], torch.full_like(latents[:, 0], torch.inf)], 1)


def test_the_nearest_is_found_in_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = normal(100, 3).float()
    wanted = torch.tensor([0, 37, 99, 64])
    monkeypatch.setattr("trainables.diagnostics._MAX_ELEMENTS_PER_CHUNK", 40)
    distances, indices = nearest(searched[wanted] + 1e-4, searched)
    assert indices.tolist() == wanted.tolist()
    assert distances.tolist() == pytest.approx([3**0.5 * 1e-4] * 4, rel=1e-2)


def test_below_each_image_is_the_training_image_nearest_to_it() -> None:
    train = torch.randint(0, 256, (50, 1, 8, 8), dtype=torch.uint8)
    wanted = [3, 41]
    generated = train[wanted].float() / 127.5 - 1
    found = neighbours(generated, train)
    assert found["distances"] == pytest.approx([0, 0], abs=1e-4)
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(found["picture"]))))
    scale = 128 // 18  # two rows of 8 pixels, each with a margin of one
    small = pixels[::scale, ::scale]
    assert small.shape == (18, 18)
    for column, index in enumerate(wanted):
        image = train[index, 0].numpy()
        left = 9 * column
        assert (small[:8, left : left + 8] == image).all()
        assert (small[9:17, left : left + 8] == image).all()
