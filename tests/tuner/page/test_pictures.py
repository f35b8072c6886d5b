"""The gallery: the pictures of all trials by rung, as many as the page has room for."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_search import draw_samples, facts, trial
from PIL import Image

from tuner.page import pictures
from tuner.results.pictures import picture_name
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]


def test_the_gallery_has_each_rung_of_each_trial_the_best_first(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec()
    trials = [trial(spec, 0, [3.0]), trial(spec, 1, [4.0, 2.0, 1.0], "completed"),
              trial(spec, 2, [2.0]), trial(spec, 3, [], "diverged")]  # fmt: skip
    draw_samples(tmp_path, trials[:2])  # those of the third are missing
    (tmp_path / "samples" / "00000" / picture_name(250)).write_bytes(b"cut")
    wide = Image.fromarray(np.zeros((300, 600), dtype="uint8"))
    wide.save(tmp_path / "samples" / "00001" / picture_name(250))
    found = pictures.gallery(facts(spec, trials, tmp_path))
    assert found["gallery_rungs"] == [250, 1000, 4000]
    assert found["gallery_note"] == ""
    shown = json.loads(found["gallery"])
    assert [one["caption"] for one in shown["trials"]] == ["1. trial 00001"]
    assert shown["trials"][0]["w1"] == {"250": "w1 4", "1000": "w1 2", "4000": "w1 1"}
    url = shown["trials"][0]["pictures"]["250"]
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert image.size == (224, 112)


def test_a_gallery_that_is_too_large_has_the_best_and_says_so(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    trials = [trial(spec, n, [9.0 - n]) for n in range(5)]
    draw_samples(tmp_path, trials)
    of_one = len(pictures._small(tmp_path / "samples" / "00000" / picture_name(250)) or "")
    monkeypatch.setattr(pictures, "_MAX_GALLERY_BYTES", 2 * of_one + 5 * 600)
    monkeypatch.setattr(pictures, "_LEAST_GALLERY_BYTES", 0)
    found = pictures.gallery(facts(spec, trials, tmp_path))
    assert [one["number"] for one in json.loads(found["gallery"])["trials"]] == [4, 3]
    assert found["gallery_note"] == "The best 2 of 5 trials."


def test_without_pictures_there_is_no_gallery(make_spec: MakeSpec, tmp_path: Path) -> None:
    assert pictures.gallery(facts(make_spec(), [trial(make_spec(), 0, [3.0])], tmp_path)) == {
        "gallery": None, "gallery_note": "", "gallery_rungs": [],
    }  # fmt: skip
