"""The comparison of a search's pick with the published defaults."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.fidelity import image_search
from benchmarks.fidelity.image_pools import Images
from benchmarks.fidelity.image_search import Judged
from trainables.data import split


def saved(tmp_path: Path) -> Images:
    images = np.random.default_rng(0).integers(0, 256, (1200, 8, 8), np.uint8)
    path = tmp_path / "labelled.npz"
    np.savez(path, images=images, labels=np.arange(1200) % 10)
    return Images.load(path)


def test_the_search_has_the_images_on_which_both_configurations_are_trained(tmp_path: Path) -> None:
    images = saved(tmp_path)
    parts = split(images.searched[:, None], np.random.default_rng(0))
    np.testing.assert_allclose(images.data.train, parts.train / 127.5 - 1, atol=1e-6)
    seen = {row.tobytes() for row in (images.searched[:, None] / np.float32(127.5) - 1)}
    others = [*images.labelled[0], *images.reference]
    assert len(others) == 600
    assert not any(row.tobytes() in seen for row in others)


def test_a_search_that_has_ended_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr("subprocess.run", lambda command, check: commands.append(command))
    images, run_dir = saved(tmp_path), tmp_path / image_search.NAME
    assert image_search.search(images, tmp_path) == run_dir
    run_dir.mkdir()
    image_search.search(images, tmp_path)
    assert ["--resume" in command for command in commands] == [False, True]
    (run_dir / "best.yaml").touch()
    image_search.search(images, tmp_path)
    assert len(commands) == 2


def test_the_table_has_a_row_for_each_seed_and_real_images() -> None:
    truths = {"lenet": 123.4, "efficientnet": 2345.0}
    judged = [Judged("picked by the search", seed, 1350, truths) for seed in (1, 2)]
    lines = image_search.report(judged, {"lenet": 2.5, "efficientnet": 300.0}).splitlines()
    assert lines[2] == "| real images | | | 2.5 | 300 |"
    assert lines[4] == "| picked by the search | 2 | 1350 | 123 | 2.34e+03 |"
    assert len(lines) == 5
