"""What is measured next to w1: known answers, and metrics that no search can use."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.config import ObjectiveConfig
from trainables.data import Data
from trainables.diagnostics import Diagnosis, check_metrics, copy_ratio, diagnose
from trainables.networks import BadNetwork

CPU = torch.device("cpu")
BUDGET = {"critic_steps": 2, "num_critics": 1}


def normal(num: int, dim: int, seed: int) -> Tensor:
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=[2, 40])
def parts(request: pytest.FixtureRequest) -> dict[str, Tensor]:
    """Parts of a normal distribution; distances in many dimensions are by products of matrices."""
    sizes = {"unseen": 500, "train": 1200, "held_out": 600}
    return {k: normal(n, request.param, seed) for seed, (k, n) in enumerate(sizes.items())}


# --- Copies -------------------------------------------------------------------------------------


def test_a_generator_that_replays_its_training_samples_reads_0(parts: dict[str, Tensor]) -> None:
    found = copy_ratio(parts["train"][:400], **parts)
    assert found["copy_ratio"] < 0.01
    assert found["copy_ratio_high"] < 0.01


def test_copies_with_noise_are_told_from_fresh_samples(parts: dict[str, Tensor]) -> None:
    """Copies with noise much smaller than the distance to the nearest sample."""
    noise = {2: 0.002, 40: 0.3}[parts["train"].shape[1]]
    copies = parts["train"][:400]
    found = copy_ratio(copies + noise * normal(*copies.shape, 7), **parts)
    assert found["copy_ratio_high"] < 0.6


def test_fresh_samples_of_the_same_distribution_read_about_1(parts: dict[str, Tensor]) -> None:
    dim = parts["train"].shape[1]
    found = copy_ratio(normal(500, dim, 9), **parts)
    assert found["copy_ratio_low"] < 1 < found["copy_ratio_high"]
    assert 0.8 < found["copy_ratio"] < 1.25
    wide = copy_ratio(normal(50, dim, 9), **parts)
    width = found["copy_ratio_high"] - found["copy_ratio_low"]
    assert width < wide["copy_ratio_high"] - wide["copy_ratio_low"]


@pytest.mark.parametrize("num_held_out", [600, 2400], ids=["few", "many"])
def test_samples_off_the_data_are_no_copies(parts: dict[str, Tensor], num_held_out: int) -> None:
    """They are as far from training samples as from others, also where there are fewer of those."""
    dim = parts["train"].shape[1]
    some = parts | {"held_out": normal(num_held_out, dim, 3)}
    around = 5 * torch.nn.functional.normalize(normal(400, dim, 8))
    assert copy_ratio(around, **some)["copy_ratio_low"] > 0.8
    assert copy_ratio(normal(400, dim, 8) + 4.0, **some)["copy_ratio_low"] > 0.8


def test_blurred_samples_are_no_copies() -> None:
    """Averages of images lie nearer to training images than real images do: to others, as well."""
    train, held_out, unseen, some = (normal(600, 40, seed) for seed in range(4))
    found = copy_ratio(some / 4, unseen, train, held_out)
    assert torch.cdist(some / 4, train).min(1).values.mean() < 0.9 * (
        torch.cdist(unseen, train).min(1).values.mean()
    )
    assert 0.9 < found["copy_ratio"] < 1.1


def test_bytes_are_compared_as_floats() -> None:
    rng = np.random.default_rng(0)
    unseen, train, held_out = (
        torch.from_numpy(rng.integers(0, 256, (n, 1, 4, 4), np.uint8)) for n in (50, 80, 60)
    )
    found = copy_ratio(train[:30] / 127.5 - 1, unseen, train, held_out)
    assert found["copy_ratio"] < 1e-6


def test_there_is_no_ratio_where_real_samples_repeat() -> None:
    same = torch.ones(60, 2)
    assert copy_ratio(normal(50, 2, 0), same, same, normal(60, 2, 1)) == {}
    # Equally near to both, as if by chance.
    assert copy_ratio(same, same, same, same)["copy_ratio"] == 1.0


# --- The whole diagnosis --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images() -> Data:
    """Parts of different sizes, of random images of 16x16."""
    rng = np.random.default_rng(0)
    sizes = (90, 150, 60, 140)
    return Data(*(rng.integers(0, 256, (n, 1, 16, 16), np.uint8) for n in sizes))


def noise(latents: Tensor) -> Tensor:
    """Images of noise, from any latents."""
    return latents.repeat(1, 256 // latents.shape[1]).view(-1, 1, 16, 16).tanh()


def diagnosed(data: Data, **objective: object) -> Diagnosis:
    return diagnose(noise, 8, data, ObjectiveConfig.model_validate(BUDGET | objective), CPU)


def test_pixels_are_compared_only_where_w1_is_not(images: Data) -> None:
    under_energies, under_pixels = diagnosed(images), diagnosed(images, ground="pixels")
    assert under_energies.values["w1_pixels"] > 0
    assert under_energies.values["w1_pixels_stderr"] > 0
    assert "w1_pixels" not in under_pixels.values
    vectors = Data(*(normal(60, 8, seed).numpy() for seed in range(4)))
    small = diagnose(lambda latents: latents, 8, vectors, ObjectiveConfig(critic_steps=2), CPU)
    assert set(small.values) == {"copy_ratio", "copy_ratio_low", "copy_ratio_high"}


def test_a_diagnosis_is_repeatable_and_leaves_the_global_rng(images: Data) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = diagnosed(images, metrics="custom_metrics:Noisy")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert diagnosed(images, metrics="custom_metrics:Noisy") == first


def test_custom_metrics_compare_the_final_part_with_as_many_samples(images: Data) -> None:
    values = diagnosed(images, metrics="custom_metrics:Means").values
    assert values["metrics/num"] == len(images.final)
    moved = replace(images, final=images.final // 2)
    other = diagnosed(moved, metrics="custom_metrics:Means").values
    assert values["metrics/mean distance"] != other["metrics/mean distance"]


def test_custom_metrics_that_fail_cost_only_their_own_numbers(images: Data) -> None:
    assert check_metrics(images, ObjectiveConfig(metrics="custom_metrics:RaisingAtTheFinal"))
    found = diagnosed(images, metrics="custom_metrics:RaisingAtTheFinal")
    assert found.values == diagnosed(images).values
    (fault,) = found.faults
    assert fault == (
        "custom_metrics:RaisingAtTheFinal must accept real and generated samples of shape "
        "(140, 1, 16, 16), but raised RuntimeError: too many"
    )


# --- The check before a search --------------------------------------------------------------------


def test_custom_metrics_are_shown_before_the_search(images: Data) -> None:
    note = check_metrics(images, ObjectiveConfig(metrics="custom_metrics:Means"))
    assert note is not None
    assert note.startswith("metrics: custom_metrics:Means gives mean distance ")
    assert note.endswith(", num 60 for 60 real samples against 60 others")
    assert check_metrics(images, ObjectiveConfig()) is None


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("Infinite", "must return finite numbers, got nan by 'fid'"),
        ("Texts", "must return numbers by name, got str by 'fid'"),
        ("Nothing", "must return numbers by name, such as {'fid': 12.5}, got dict"),
        ("Raising", "but raised RuntimeError: out of order"),
        ("NotCallable", r"must have a method __call__\(real, generated\)"),
        ("function", "must be a class, got function"),
        ("Missing", "has no Missing"),
        ("Mapping", "must be defined in custom_metrics, got a class of collections.abc"),
    ],
)
def test_custom_metrics_that_no_search_can_use_are_refused(
    images: Data, name: str, match: str
) -> None:
    with pytest.raises(BadNetwork, match=match) as error:
        check_metrics(images, ObjectiveConfig(metrics=f"custom_metrics:{name}"))
    assert error.value.key == "metrics"


def test_metrics_of_a_library_are_not_imported(images: Data) -> None:
    with pytest.raises(BadNetwork, match="subprocess is the name of a library"):
        check_metrics(images, ObjectiveConfig(metrics="subprocess:Popen"))


def test_metrics_at_rungs_need_metrics() -> None:
    with pytest.raises(ValueError, match="metrics_at_rungs must be false where metrics is not"):
        ObjectiveConfig(metrics_at_rungs=True)
