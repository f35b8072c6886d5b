"""Laws of the ground metric: what it does not depend on, and what it keeps of the samples."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn import functional

from trainables.config import ObjectiveConfig, TrialConfig
from trainables.data import Data, as_floats, as_tensor, load, split
from trainables.ground import (
    SHARES,
    Ground,
    OrientedEnergies,
    check_ground,
    ground_of,
    with_ground,
)
from trainables.networks import BadNetwork
from trainables.objective import score
from trainables.trial import Finalist, Schedule, floor, run

ENERGIES, PIXELS = ObjectiveConfig(), ObjectiveConfig(ground="pixels")
SHAPES = [(1, 16, 16), (1, 28, 28), (3, 32, 32), (3, 17, 23), (3, 64, 64)]


def features(name: str) -> ObjectiveConfig:
    return ObjectiveConfig(features=f"custom_features:{name}")


def crops(side: int, channels: int, num: int = 600) -> np.ndarray:
    """Cut squares from scikit-learn's two photographs, as bytes [num, channels, side, side]."""
    rng = np.random.default_rng(0)
    cut = []
    for index in range(num):
        photo = load_sample_images().images[index % 2]
        y, x = (rng.integers(size - 2 * side) for size in photo.shape[:2])
        square = photo[y : y + 2 * side, x : x + 2 * side].reshape(side, 2, side, 2, 3)
        cut.append(square.mean((1, 3)).transpose(2, 0, 1)[:channels])
    return np.asarray(cut).astype(np.uint8)


@pytest.fixture(scope="module")
def photos() -> Data:
    return split(crops(32, 3), np.random.default_rng(0))


@pytest.fixture(scope="module")
def ground(photos: Data) -> Ground:
    found = ground_of(with_ground(photos, ENERGIES), ENERGIES)
    assert found is not None
    return found


def pixels(part: np.ndarray) -> Tensor:
    return as_floats(as_tensor(part))


def test_vectors_small_images_and_pixels_are_not_mapped(photos: Data):
    digits = load(TrialConfig().data)
    vectors = Data(*(pixels(p).flatten(1).numpy() for p in (digits.train,) * 4))
    for data, objective in ((digits, ENERGIES), (vectors, ENERGIES), (photos, PIXELS)):
        assert with_ground(data, objective).compared.critic_train is data.critic_train
        assert ground_of(with_ground(data, objective), objective) is None


def test_mapped_data_can_be_mapped_by_another_ground_metric(photos: Data):
    mapped = with_ground(photos, ENERGIES)
    assert with_ground(mapped, ENERGIES) is mapped
    assert with_ground(mapped, PIXELS).mapped is None
    assert mapped.fingerprint() == photos.fingerprint()


def test_the_metric_depends_on_the_part_that_trains_the_critics_alone(photos: Data):
    mapped = with_ground(photos, ENERGIES).mapped
    other = replace(
        photos, train=255 - photos.train, critic_eval=photos.final, final=photos.critic_eval
    )
    again = with_ground(other, ENERGIES).mapped
    assert mapped is not None
    assert again is not None
    assert mapped.gains == again.gains
    np.testing.assert_array_equal(mapped.critic_train, again.critic_train)
    np.testing.assert_allclose(mapped.critic_eval, again.final, rtol=1e-4, atol=1e-4)


def test_the_unit_stays_the_norm_of_a_sample(photos: Data):
    """The blocks have their shares of the pixels' mean squared distance from the mean."""
    mapped = with_ground(photos, ENERGIES)
    assert mapped.mapped is not None
    lengths = Ground(OrientedEnergies((3, 32, 32)), [1.0] * 4, (3, 32, 32)).lengths()
    blocks = np.split(mapped.mapped.critic_train, np.cumsum(lengths)[:-1], axis=1)
    spread = float(pixels(photos.critic_train).flatten(1).var(0, correction=0).sum())
    shares = [float(block.var(0).sum()) / spread for block in blocks]
    assert shares == pytest.approx(list(SHARES.values()), rel=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_two_images_are_further_apart_than_the_lipschitz_constant_allows(shape):
    """Of random pairs, of waves at every frequency of the filters, and of a single pixel."""
    extractor = OrientedEnergies(shape)
    rng = torch.Generator().manual_seed(0)
    base = torch.rand(8, *shape, generator=rng) * 2 - 1
    y, x = torch.meshgrid(*(torch.arange(float(side)) for side in shape[1:]), indexing="ij")
    moves = [torch.randn(8, *shape, generator=rng), torch.ones(8, *shape)]
    for angle in (0, math.pi / 8, math.pi / 4, math.pi / 2):
        for period in (2, 3, 4, 6, 8, 16):
            wave = torch.cos(2 * math.pi / period * (math.cos(angle) * x + math.sin(angle) * y))
            moves.append(wave.expand(8, *shape))
    spike = torch.zeros(8, *shape)
    spike[..., 0, 0] = 1
    moves.append(spike)
    ratios = []
    for move in moves:
        for size in (1e-2, 1.0):
            for start in (base, torch.zeros_like(base)):
                blocks = zip(extractor(start + size * move), extractor(start), strict=True)
                distances = torch.stack([(a - b).norm(dim=1) for a, b in blocks], 1)
                ratios.append(distances / (size * move).flatten(1).norm(dim=1)[:, None])
    largest = torch.cat(ratios).max(0).values
    bounds = torch.tensor(extractor.lipschitz)
    assert (largest <= bounds * 1.001).all()
    assert (largest > bounds * torch.tensor([0.8, 0.2, 0.02, 0.6])).all()  # of some use


def test_the_mean_image_is_nearly_as_far_from_images_as_they_are_from_each_other():
    """By root mean squares; between pixels, and in any linear space, it is at sqrt(1/2)."""
    digits = pixels(load(TrialConfig().data).train)
    large = functional.interpolate(digits, size=(28, 28), mode="bicubic").clamp(-1, 1)
    data = with_ground(split(large.numpy(), np.random.default_rng(0)), ENERGIES)
    ground, images = ground_of(data, ENERGIES), pixels(data.critic_train)
    assert ground is not None
    for rows, mean, least, most in (
        (images.flatten(1), images.mean(0).flatten(), 0.7, 0.72),
        (
            torch.from_numpy(data.compared.critic_train),
            ground(images.mean(0, keepdim=True))[0],
            0.9,
            1.1,
        ),
    ):
        between = 2 * (rows - rows.mean(0)).square().sum(1).mean()
        from_mean = (rows - mean).square().sum(1).mean()
        assert least < math.sqrt(from_mean / between) < most


def test_the_map_of_an_image_is_its_own(photos: Data, ground: Ground):
    """It does not depend on the batch, and bytes are mapped as the floats that they stand for."""
    images = pixels(photos.final)
    mapped = ground(images)
    assert torch.equal(mapped, ground(images))
    torch.testing.assert_close(ground(images[3:5]), mapped[3:5], rtol=1e-4, atol=1e-4)
    shared = with_ground(photos, ENERGIES).compared.final
    torch.testing.assert_close(torch.from_numpy(shared), mapped, rtol=1e-4, atol=1e-4)


def test_a_mirror_image_has_the_same_energies(photos: Data):
    """The set of filters, the borders and the grids are symmetric."""
    blocks = OrientedEnergies((3, 32, 32))(pixels(photos.final)[:4])
    mirrored = OrientedEnergies((3, 32, 32))(pixels(photos.final)[:4].flip(3))
    for block, other in zip(blocks, mirrored, strict=True):
        torch.testing.assert_close(block.norm(dim=1), other.norm(dim=1), rtol=1e-3, atol=1e-3)


def test_a_checkerboard_is_seen(ground: Ground, photos: Data):
    images = pixels(photos.final)[:8]
    checkers = torch.ones(32, 32)
    checkers[::2, ::2] = checkers[1::2, 1::2] = -1
    moved = images + 0.2 * checkers
    distances = (ground(moved) - ground(images)).norm(dim=1)
    assert (distances > 0.3 * (moved - images).flatten(1).norm(dim=1)).all()


def test_images_that_do_not_differ_in_a_block_leave_the_metric_finite():
    """Flat images have no energy: their block is not amplified beyond its limit."""
    rng = np.random.default_rng(0)
    flat = np.repeat(rng.integers(0, 256, (600, 1, 1, 1), np.uint8), 256, 1).reshape(-1, 1, 16, 16)
    mapped = with_ground(split(flat, rng), ENERGIES).mapped
    assert mapped is not None
    assert np.isfinite(mapped.critic_train).all()
    assert mapped.lipschitz < 200


def test_a_trial_the_floor_and_the_final_measure_by_the_ground_metric(
    photos: Data, tmp_path, monkeypatch
):
    """And data that were not mapped before are mapped alike."""
    monkeypatch.setattr("trainables.objective.MAX_GENERATED_ELEMENTS", 1)
    config = TrialConfig.model_validate(
        {
            "networks": {"generator_width": 8, "critic_width": 8},
            "training": {"n_critic": 1, "batch_size": 8},
            "objective": {"critic_steps": 2, "final_critic_steps": 2, "final_num_critics": 1},
        }
    )
    schedule = Schedule(
        rungs=(2,), report_every_generator_steps=2, checkpoint_every_generator_steps=2
    )
    cpu, mapped = torch.device("cpu"), with_ground(photos, config.objective)
    in_pixels = config.objective.model_copy(update={"ground": "pixels"})
    scores = []
    for data, objective in (
        (photos, config.objective),
        (mapped, config.objective),
        (photos, in_pixels),
    ):
        trial = config.model_copy(update={"objective": objective})
        *_, last = run(trial, data, schedule, cpu)
        assert last.save is not None
        last.save(tmp_path)
        final = Finalist.load(tmp_path / "generator.pt", cpu).score(data, objective)
        scores.append((last.metrics["w1"], final.w1, floor(data, objective).w1))
    assert scores[0] == scores[1]
    assert all(a != b for a, b in zip(scores[0], scores[2], strict=True))


def test_pixels_give_the_numbers_of_a_score_without_a_ground_metric(photos: Data, tmp_path):
    """To the bit: searches that are older than the ground metric go on with their numbers."""
    objective = ObjectiveConfig(ground="pixels", critic_steps=4)
    train = pixels(photos.train)

    def draw(latents: Tensor) -> Tensor:
        uniform = torch.special.ndtr(latents.squeeze(1))
        return train[(uniform * len(train)).long().clamp_max(len(train) - 1)]

    parts = as_tensor(photos.critic_train), as_tensor(photos.critic_eval)
    assert floor(photos, objective) == score(draw, 1, *parts, objective.rung)


# --- Custom features ---------------------------------------------------------------------------


def test_custom_features_are_scaled_to_the_samples_size(photos: Data):
    """So halving all distances changes no number, but for rounding."""
    objective = features("Halves")
    mapped = with_ground(photos, objective).mapped
    assert mapped is not None
    assert mapped.gains == pytest.approx((2.0,), rel=1e-5)
    assert mapped.lipschitz == math.inf
    np.testing.assert_allclose(
        mapped.final, pixels(photos.final).flatten(1).numpy(), rtol=1e-4, atol=1e-5
    )


def test_custom_features_are_described_before_the_search(photos: Data):
    note = check_ground(photos, features("Halves"))
    assert note is not None
    assert "custom_features:Halves maps a sample to 3072 numbers" in note
    assert "ratio of distances 0.5 between" in note
    assert check_ground(photos, ENERGIES) is None


def test_custom_features_of_random_weights_are_the_same_in_every_process(photos: Data):
    objective = features("RandomLayer")
    assert check_ground(photos, objective) is not None
    torch.manual_seed(1)
    first = with_ground(photos, objective)
    torch.manual_seed(2)
    ground = ground_of(first, objective)
    assert ground is not None
    mapped = ground(pixels(photos.final))
    torch.testing.assert_close(mapped, torch.from_numpy(first.compared.final))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("Noisy", "must map equal samples to equal features"),
        ("AcrossTheBatch", "its features depend on the whole batch"),
        ("Infinite", "must return finite numbers"),
        ("Constant", "must map different samples to different features"),
        ("OneNumber", r"must return one tensor \[64, length\], got \(\)"),
        ("Doubles", r"must return torch\.float32, got torch\.float64"),
        ("Raising", r"must accept samples of shape \(64, 3, 32, 32\), but raised RuntimeError"),
        ("Missing", "has no Missing"),
    ],
)
def test_custom_features_that_no_search_can_use_are_refused(photos: Data, name: str, match: str):
    with pytest.raises(BadNetwork, match=match) as error:
        check_ground(photos, features(name))
    assert error.value.key == "features"
