"""NumPy files: which arrays are read, how they are scaled, and which are refused."""

from pathlib import Path

import numpy as np
import pytest

from trainables.config import DataConfig
from trainables.datasets.arrays import load_array
from trainables.datasets.errors import BadData

BYTES = np.random.default_rng(0).integers(0, 256, (20, 6, 5), np.uint8)


def read(
    path: Path, notes: list[str] | None = None, name: str | None = None, **options: object
) -> np.ndarray:
    given = {"dataset": "array", "path": str(path), "array_name": name, **options}
    config = DataConfig.model_validate(given)
    return load_array(config, (notes if notes is not None else []).append)


def saved(folder: Path, samples: np.ndarray) -> Path:
    np.save(folder / "samples.npy", samples)
    return folder / "samples.npy"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", [True, False])
def test_channels_become_the_first_axis(tmp_path: Path, channels: int, last: bool) -> None:
    images = np.stack([BYTES + 50 * c for c in range(channels)], axis=1)
    loaded = read(saved(tmp_path, np.moveaxis(images, 1, 3) if last else images))
    assert loaded.dtype == np.uint8
    assert np.array_equal(loaded, images)


def test_grey_images_without_a_channel_axis_get_one(tmp_path: Path) -> None:
    assert np.array_equal(read(saved(tmp_path, BYTES), kind="images"), BYTES[:, None])


def test_square_arrays_are_read_as_grey_images_and_a_note_says_so(tmp_path: Path) -> None:
    notes: list[str] = []
    assert np.array_equal(read(saved(tmp_path, BYTES[:, :5]), notes), BYTES[:, None, :5])
    assert "read as 20 grey images of 5 x 5 pixels; data.kind: vectors" in notes[0]


def test_series_and_images_that_are_not_square_need_to_be_told_apart(tmp_path: Path) -> None:
    match = r"is required for .*\(20, 6, 5\): write images, if .* height 6 and width 5, or vectors"
    with pytest.raises(BadData, match=match) as caught:
        read(saved(tmp_path, BYTES))
    assert caught.value.key == "kind"


@pytest.mark.parametrize("shape", [(20, 30), (20, 6, 5), (20, 5, 2, 3), (20, 2, 1, 3, 5)])
def test_vectors_of_any_axes_keep_the_order_of_their_numbers(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    loaded = read(saved(tmp_path, BYTES.reshape(shape)), kind="vectors")
    assert np.array_equal(loaded, BYTES.reshape(20, 30))


def test_vectors_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(
        BadData, match=r"must be \[n, height, width\].*: reshape it, or leave"
    ) as one:
        read(saved(tmp_path, BYTES.reshape(20, 30)), kind="images")
    assert one.value.key == "path"


def test_images_are_not_scaled_by_columns(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"applies only to vectors.*\(1, 6, 5\): leave it out") as one:
        read(saved(tmp_path, BYTES), kind="images", scale="standard")
    assert one.value.key == "scale"


def test_vectors_come_as_they_are_in_the_file(tmp_path: Path) -> None:
    """They are scaled once the part of the trials is known."""
    notes: list[str] = []
    assert np.array_equal(
        read(saved(tmp_path, BYTES.reshape(20, 30)), notes), BYTES.reshape(20, 30)
    )
    assert notes == []


def test_floats_in_the_range_with_some_below_zero_stay_as_they_are(tmp_path: Path) -> None:
    notes: list[str] = []
    samples = np.random.default_rng(0).uniform(-0.9, 0.8, (20, 4, 3))
    loaded = read(saved(tmp_path, samples), notes, kind="images")
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded[:, 0], samples.astype(np.float32))
    assert notes == []


@pytest.mark.parametrize(
    "samples",
    [
        np.linspace(0, 1, 6000).reshape(1500, 2, 2),
        np.linspace(-3, 0.5, 90).reshape(10, 3, 3),
        np.arange(80).reshape(20, 2, 2),
        np.linspace(-1, 1, 80).reshape(20, 2, 2) * 1.7e308,
    ],
    ids=["unit", "wide", "integers", "huge"],
)
def test_other_numbers_are_mapped_linearly_onto_the_range(
    tmp_path: Path, samples: np.ndarray
) -> None:
    """Evenly spaced numbers stay evenly spaced, from -1 to 1, and a note tells of it."""
    notes: list[str] = []
    loaded = read(saved(tmp_path, samples), notes, kind="images")
    assert loaded.dtype == np.float32
    expected = np.linspace(-1, 1, samples.size)
    np.testing.assert_allclose(loaded.ravel(), expected, atol=1e-6)
    assert (loaded.min(), loaded.max()) == (-1, 1)
    assert "mapped linearly" in notes[0]


def test_of_several_arrays_the_only_one_that_can_be_samples_is_used(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=BYTES, labels=np.arange(20))
    notes: list[str] = []
    assert np.array_equal(read(tmp_path / "a.npz", notes, kind="images"), BYTES[:, None])
    assert "uses the array images, the only one that can be samples" in notes[0]
    assert np.array_equal(read(tmp_path / "a.npz", name="images", kind="images"), BYTES[:, None])


def test_several_possible_arrays_need_a_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train=BYTES, test=BYTES[:3])
    with pytest.raises(BadData, match=r"is required.*train \[20, 6, 5\], test \[3, 6, 5\]") as one:
        read(tmp_path / "a.npz")
    with pytest.raises(BadData, match=r"got trian: did you mean train\?") as other:
        read(tmp_path / "a.npz", name="trian")
    assert one.value.key == other.value.key == "array_name"


def test_a_name_is_refused_for_an_npy_file(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="leave array_name out") as caught:
        read(saved(tmp_path, BYTES), name="images")
    assert caught.value.key == "array_name"


@pytest.mark.parametrize(
    ("samples", "match"),
    [
        (
            np.array([[0.0, np.nan], [1, 2]]),
            r"must hold finite numbers, got .* with nan at \[0, 1\]",
        ),
        (
            np.array([[0.0, 1], [np.inf, 2]]),
            r"must hold finite numbers, got .* with inf at \[1, 0\]",
        ),
        (np.full((3, 2), np.nan), r"with 6 that are NaN or inf, the first nan at \[0, 0\]: remove"),
        (np.full((9, 2), 7), "must hold samples that differ, got .* whose numbers are all 7: name"),
        (np.arange(9), r"of shape \(9,\): reshape"),
        (np.zeros((2, 2, 2, 2, 2)), r"of shape \(2, 2, 2, 2, 2\): reshape"),
        (np.zeros((9, 4, 4, 2)), r"of shape \(9, 4, 4, 2\): reshape"),
        (np.zeros((9, 2), complex), "of complex128: convert"),
        (np.full((9, 2), "a"), "of <U1: convert"),
        (np.zeros((0, 2)), r"must hold samples, got .* of shape \(0, 2\)"),
        (np.zeros((5, 0)), r"must hold samples, got .* of shape \(5, 0\)"),
        (np.full((9, 2), None), r"must be a whole .npy or .npz file of numbers"),
    ],
)
def test_an_array_that_cannot_be_samples_is_refused(
    tmp_path: Path, samples: np.ndarray, match: str
) -> None:
    with pytest.raises(BadData, match=match) as caught:
        read(saved(tmp_path, samples))
    assert caught.value.key == "path"


@pytest.mark.parametrize("content", ["empty", "text", "cut.npy", "cut.npz", "flipped.npz"])
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.npy"
    np.savez_compressed(tmp_path / "a.npz", images=BYTES)
    whole = {"npy": saved(tmp_path, BYTES), "npz": tmp_path / "a.npz"}
    written = {"empty": b"", "text": b"not an array"}
    for suffix, file in whole.items():
        written[f"cut.{suffix}"] = file.read_bytes()[:-100]
    flipped = bytearray(whole["npz"].read_bytes())
    flipped[len(flipped) // 2] ^= 255
    path.write_bytes(written.get(content, bytes(flipped)))
    with pytest.raises(BadData, match=r"must be a whole .npy or .npz file") as caught:
        read(path)
    assert caught.value.key == "path"


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="which is a folder"):
        read(tmp_path)
    with pytest.raises(BadData, match="which does not exist"):
        read(tmp_path / "none.npy")


def test_a_table_as_text_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("1,2\n3,4\n")
    match = r"\(it holds other data\): convert it, as by numpy.save\('samples.npy', numpy.loadtxt\("
    with pytest.raises(BadData, match=match):
        read(tmp_path / "table.csv")
