"""What is kept is found again, and is checked."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainables.datasets.cache import keep, recall

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8), np.uint8)


def kept(folder: Path) -> Path:
    notes: list[str] = []
    keep(folder, "key", PIXELS, ["bad.png"], notes.append)
    assert notes == []
    return folder


def test_what_is_kept_is_mapped_from_its_file(tmp_path: Path) -> None:
    notes: list[str] = []
    found = recall(kept(tmp_path / "cache"), "key", notes.append)
    assert found is not None
    assert isinstance(found[0], np.memmap)
    assert np.array_equal(found[0], PIXELS)
    assert found[1] == ["bad.png"]
    assert notes == []
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["key.json", "key.npy"]


def test_another_key_finds_nothing_and_says_nothing(tmp_path: Path) -> None:
    notes: list[str] = []
    assert recall(kept(tmp_path), "other", notes.append) is None
    assert notes == []


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "json", "shape", "empty json"])
def test_what_is_not_what_was_kept_is_refused_with_a_note(tmp_path: Path, damage: str) -> None:
    array, about = kept(tmp_path) / "key.npy", tmp_path / "key.json"
    content = bytearray(array.read_bytes())
    content[-7] ^= 1
    match damage:
        case "flipped":
            array.write_bytes(content)
        case "cut":
            array.write_bytes(content[:-50])
        case "missing":
            array.unlink()
        case "json":
            about.write_text("{")
        case "shape":
            about.write_text(json.dumps(json.loads(about.read_text()) | {"shape": [30, 192]}))
        case _:
            about.write_text("{}")
    notes: list[str] = []
    assert recall(tmp_path, "key", notes.append) is None
    assert len(notes) == 1
    assert "decoded anew" in notes[0]


def test_a_disk_that_cannot_be_written_is_only_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk leaves no half-written file behind either."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    notes: list[str] = []
    keep(tmp_path, "key", PIXELS, [], notes.append)
    assert "No space left on device" in notes[0]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    keep(tmp_path / "file" / "cache", "key", PIXELS, [], notes.append)
    assert "could not be kept" in notes[1]
