"""Cached images are returned as they were stored, or not at all."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from trainables.datasets.cache import MAX_ENTRIES, keep, recall

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8), np.uint8)


def kept(folder: Path) -> Path:
    notes: list[str] = []
    keep(folder, "key", PIXELS, ["bad.png"], notes.append)
    assert notes == []
    return folder


def test_cached_images_are_memory_mapped(tmp_path: Path) -> None:
    notes: list[str] = []
    cached = recall(kept(tmp_path / "cache"), "key", notes.append)
    assert cached is not None
    assert isinstance(cached[0], np.memmap)
    assert np.array_equal(cached[0], PIXELS)
    assert cached[1] == ["bad.png"]
    assert notes == []
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["key.json", "key.npy"]


def test_the_images_that_were_not_used_for_the_longest_go_first(tmp_path: Path) -> None:
    notes: list[str] = []
    for number in range(MAX_ENTRIES):
        keep(tmp_path, f"key{number}", PIXELS, [], notes.append)
        os.utime(tmp_path / f"key{number}.json", (number, number))
    in_use = recall(tmp_path, "key1", notes.append)
    used = recall(tmp_path, "key0", notes.append)
    for number in range(MAX_ENTRIES, MAX_ENTRIES + 2):
        keep(tmp_path, f"key{number}", PIXELS, [], notes.append)
    names = {path.stem for path in tmp_path.glob("*.npy")}
    assert names == {"key0", "key1", *(f"key{n}" for n in range(4, MAX_ENTRIES + 2))}
    assert {path.stem for path in tmp_path.glob("*.json")} == names
    assert in_use is not None
    assert used is not None
    assert notes == []


def test_images_that_are_in_use_stay_so_when_they_are_deleted(tmp_path: Path) -> None:
    cached = recall(kept(tmp_path), "key", print)
    for path in tmp_path.iterdir():
        path.unlink()
    assert cached is not None
    assert np.array_equal(cached[0], PIXELS)


def test_another_key_finds_nothing_without_a_note(tmp_path: Path) -> None:
    notes: list[str] = []
    assert recall(kept(tmp_path), "other", notes.append) is None
    assert notes == []


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "json", "shape", "empty json"])
def test_a_damaged_cache_is_ignored_with_a_note(tmp_path: Path, damage: str) -> None:
    array, meta = kept(tmp_path) / "key.npy", tmp_path / "key.json"
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
            meta.write_text("{")
        case "shape":
            meta.write_text(json.dumps(json.loads(meta.read_text()) | {"shape": [30, 192]}))
        case _:
            meta.write_text("{}")
    notes: list[str] = []
    assert recall(tmp_path, "key", notes.append) is None
    assert len(notes) == 1
    assert "decoding again" in notes[0]


def test_a_disk_that_cannot_be_written_causes_only_a_note(
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
    assert "could not be cached" in notes[1]
