"""The ladders of distortions, and how the battery counts what is in order."""

import numpy as np
import pytest

from benchmarks.fidelity import battery, distortions
from benchmarks.fidelity.battery import MIXTURE, Order
from benchmarks.fidelity.distortions import LADDERS, UNDISPUTED


@pytest.fixture
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (40, 1, 28, 28)).astype(np.float32)


@pytest.mark.parametrize(
    "name", [n for n in LADDERS if n not in ("classes", "copies of", "patch shuffle", "nearest")]
)
def test_a_distortion_moves_images_further_at_every_level(images: np.ndarray, name: str) -> None:
    """And leaves the source as it is, with as many images of the same shape."""
    distort, levels = LADDERS[name]
    before, labels = images.copy(), np.arange(40) % 4
    moved = []
    for level in levels:
        out = distort(images, labels, level, np.random.default_rng(1))
        assert out.shape == images.shape
        moved.append(np.square(out - images).mean())
    np.testing.assert_array_equal(images, before)
    assert moved[0] > 0
    assert name == "shift" or moved == sorted(moved)


def test_shuffled_patches_are_the_same_pixels(images: np.ndarray) -> None:
    out = distortions._shuffle(images, np.zeros(40), 4, np.random.default_rng(1))
    assert not np.array_equal(out, images)
    np.testing.assert_array_equal(np.sort(out.reshape(40, -1)), np.sort(images.reshape(40, -1)))


def readings(w1: float) -> dict:
    return {"w1": {"pixels": w1}, "stderr": {"pixels": 0.1}, "frechet": [w1, w1]}


def test_pairs_within_two_standard_errors_are_ties() -> None:
    levels = {
        f"{name} {level}": readings(float(k))
        for name, (_, values) in LADDERS.items()
        for k, level in enumerate(values)
    }
    num_pairs = sum(len(values) - 1 for _, values in LADDERS.values())
    assert battery.adjacent({"levels": levels}, "pixels") == Order(num_pairs, [], 0)
    levels["blur 1.0"] = readings(0.1)  # a tie with the first level
    levels["noise 0.4"] = readings(9.0)
    order = battery.adjacent({"levels": levels}, "pixels")
    assert order == Order(num_pairs - 2, ["noise 0.4 over noise 0.8"], 1)


def test_every_undisputed_pair_is_of_levels_that_are_measured() -> None:
    assert all(level in LADDERS[name][1] for pair in UNDISPUTED for name, level in pair)


def test_a_short_battery_has_the_ends_of_all_ladders_and_the_undisputed_pairs() -> None:
    levels = battery._levels(is_short=True)
    assert {name for name, _ in levels} == {"real", *LADDERS}
    assert all((name, ladder[-1]) in levels for name, (_, ladder) in LADDERS.items())
    assert all(level in levels for pair in UNDISPUTED for level in pair)
    assert ("noise", 0.2) not in levels
    found = {"levels": {f"{name} {level}": readings(1.0) for name, level in levels}}
    assert battery.adjacent(found, "pixels").right == 0
    assert battery.undisputed(found, "pixels").ties == len(UNDISPUTED)


def test_an_exact_mixture_ladder_has_no_spread() -> None:
    found = {"mixture": {"pixels": [3 * share for share in MIXTURE]}}
    assert battery.mixture_spread(found, "pixels") == pytest.approx(0)
