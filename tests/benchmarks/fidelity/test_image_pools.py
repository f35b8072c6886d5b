"""The truths of images, and the tables of a pool whose ranking is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.fidelity import image_pools, imagenet, truth
from benchmarks.fidelity.designs import RandomConvolutions
from benchmarks.fidelity.pools import SPACES
from trainables.config import NetworkConfig, ObjectiveConfig, TrainingConfig


def features(num: int, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, 8)) + shift


def test_the_frechet_distance_is_that_of_the_covariances_but_for_few_samples_too() -> None:
    one, other = features(300), 2 * features(200, 0.5, seed=1)
    assert imagenet.frechet(one, other) == pytest.approx(truth.frechet(one, other), rel=1e-6)
    assert imagenet.frechet(one[:5], one[:5] + 1) == pytest.approx(8)


def test_the_kernel_distance_has_no_bias() -> None:
    found = [
        imagenet.kernel_distance(features(50, 0, k), features(50, 0, 99 - k)) for k in range(40)
    ]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(40)
    assert imagenet.kernel_distance(features(50), features(50, 3, 1)) > 10 * np.std(found)


def test_coverage_is_the_share_of_real_samples_that_are_near_a_generated_one() -> None:
    real = np.concatenate([features(100), features(100, 50, 1)])
    assert imagenet.coverage(real, real) == 1
    assert imagenet.coverage(real, real[:100]) == 0.5
    assert imagenet.coverage(real, features(100, -50, 2)) == 0


def test_random_convolutions_map_images_of_any_kind() -> None:
    for shape in ((1, 28, 28), (3, 32, 32), (3, 64, 64)):
        network = RandomConvolutions(shape)
        flat = network(torch.full((2, *shape), 0.5))[0]
        coarse = 64 * shape[0]
        assert flat[:coarse].sub(0.5).abs().max() < 1e-6
        assert flat[coarse:].abs().max() < 1e-5  # the filters have no mean
        assert network(torch.rand(2, *shape))[0, coarse:].abs().min() > 0


def test_a_third_of_the_trials_is_meant_to_be_near_and_two_thirds_are_dcgans() -> None:
    drawn = [SPACES["images"](np.random.default_rng([0, k]), k) for k in range(36)]
    for trial in drawn:
        NetworkConfig.model_validate(trial["networks"])
        TrainingConfig.model_validate(trial["training"])
    assert sum("architecture" in trial["networks"] for trial in drawn) == 24
    near = [trial for trial in drawn if trial["generator_steps"] >= 1000]
    assert len(near) == 12
    assert all(trial["training"]["constraint"] != "clip" for trial in near)


def colour_trials(space: str, numbers: range) -> list[tuple[str, int]]:
    """Return the constraint and the steps of each trial, all of them DCGANs."""
    drawn = [SPACES[space](np.random.default_rng([0, k]), k) for k in numbers]
    for trial in drawn:
        NetworkConfig.model_validate(trial["networks"])
        TrainingConfig.model_validate(trial["training"])
    assert {trial["networks"]["architecture"] for trial in drawn} == {"dcgan"}
    return [(trial["training"]["constraint"], trial["generator_steps"]) for trial in drawn]


def test_of_nine_trials_on_colour_images_a_third_is_near_and_of_later_ones_all() -> None:
    first, later = (colour_trials("colour", numbers) for numbers in (range(9), range(9, 45)))
    assert [steps >= 500 for _, steps in first] == [False] * 6 + [True] * 3
    assert {steps for _, steps in later} == {300, 500, 700, 1000}
    near = {"gradient_penalty", "one_sided_penalty", "spectral_norm"}
    assert {constraint for constraint, _ in first[6:]} == near
    assert {constraint for constraint, _ in later} == near
    assert {steps for _, steps in colour_trials("large", range(36))} == {60, 100, 140, 200}


def trial(rank: int) -> dict[str, Any]:
    truths = dict.fromkeys(image_pools.NAMES, float(rank)) | {"kid": -float(rank)}
    scores = {"good": 10.0 * rank, "bad": -float(rank)}
    return {"truths": truths, "scores": scores, "seconds": {"training": 20.0, "good": 1.0}}


def test_the_tables_have_the_agreement_of_truths_and_the_rank_of_the_pick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.fidelity.ranking.NUM_RESAMPLES", 20)
    page = image_pools.report("made", [trial(rank) for rank in range(1, 9)])
    assert "## made: 8 trials" in page
    good, bad = (line for line in page.splitlines() if line.startswith(("| good", "| bad")))
    assert "| 1.00 [1.00, 1.00] / 1.00 [" in good
    assert "; 1 of 8 |" in good
    assert "-1.00 [-1.00, -1.00]; 8 of 8 |" in good  # by the truth that is upside down
    assert good.endswith("| 1.0 |")
    assert "-1.00 [-1.00, -1.00]; 8 of 8 |" in bad
    assert "Smallest agreement between these three truths: -1.00." in page


def test_missed_targets_are_bold_and_the_truths_agreement_lowers_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.fidelity.ranking.NUM_RESAMPLES", 20)

    def made(efficientnet: int) -> list[dict[str, Any]]:
        numbers = {"pixels": -1.0, image_pools.OWN: 1.0, image_pools.SHIPPED: 1.0}
        return [
            {
                "truths": {"lenet": float(k), "efficientnet": float(efficientnet * k)},
                "scores": {name: sign * k for name, sign in numbers.items()},
            }
            for k in range(1, 9)
        ]

    row = image_pools.targets({"agree": made(1)}).splitlines()[-1]
    assert row == (
        "| agree, 8 trials | EfficientNet-Fréchet | 0.85 | 1.00 [1.00, 1.00] | -1.00 | 1.00 "
        "| 0.75 | 1.00 [1.00, 1.00] | -1.00 | 1.00 | 2 | 1 | 8 | 1 |"
    )
    row = image_pools.targets({"opposite": made(-1)}).splitlines()[-1]
    assert "| -1.03 | -1.00 [-1.00, -1.00] | 1.00 | -1.00 |" in row  # the truths disagree, too
    assert row.endswith("| 2 | **8** | 1 | 8 |")


def test_a_cached_score_is_kept_by_what_it_depends_on() -> None:
    def digest(**changes: Any) -> str:
        return image_pools._digest(ObjectiveConfig.model_validate(changes))

    assert digest() == digest(final_trials=5) == digest(final_critic_steps=7)
    assert len({digest(), digest(critic_steps=7), digest(ground="pixels"), digest(seed=1)}) == 4


def test_a_file_may_name_its_number_of_trials() -> None:
    assert image_pools.with_number("a/b.npz:12") == (Path("a/b.npz"), 12)
    assert image_pools.with_number("a/b.npz") == (Path("a/b.npz"), None)
