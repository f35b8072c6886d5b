"""The table of methods over several searches."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.fidelity.methods import draw, generated, label, main, table
from tuner.results import Row

CLIP = {"loss": "wasserstein", "constraint": "clip", "pack": "1", "r1_weight": ""}
KL = {"loss": "f_gan", "constraint": "", "divergence": "kl", "pack": "2", "label_smoothing": "0.0"}


def row(number: int, w1: float | None, method: dict[str, str], status: str = "completed") -> Row:
    cells = {**method, "w1": "" if w1 is None else str(w1)}
    cells |= {"training_seconds": "4", "generator_steps": "2000"}
    return Row(number, status, w1, None, cells)


def test_a_method_is_named_with_the_options_that_are_on() -> None:
    assert label(CLIP) == "clip"
    assert label(KL) == "f_gan kl, pack 2"
    assert label(CLIP | {"r1_weight": "0.5", "minibatch_discrimination": "100"}) == (
        "clip, r1_weight 0.5, minibatch_discrimination 100"
    )


def test_a_method_has_the_mean_of_its_completed_trials_and_the_best_is_first() -> None:
    first = [row(0, 4.0, CLIP), row(1, 3.0, KL)]
    second = [row(1, 2.0, KL), row(0, 1e9, CLIP, "diverged")]
    third = [row(0, 5.0, CLIP), row(1, None, KL, "diverged")]
    assert table([first, second, third]).splitlines()[2:] == [
        "| f_gan kl, pack 2 | 2 of 3 | 2.50 | 2.00 | 3.00 | 2.0 |",
        "| clip | 2 of 3 | 4.50 | 4.00 | 5.00 | 2.0 |",
    ]


def test_a_method_that_never_completes_is_last_and_has_no_number() -> None:
    rows = [row(0, None, KL, "diverged"), row(1, 2.0, CLIP)]
    assert table([rows]).splitlines()[3] == "| f_gan kl, pack 2 | 0 of 1 |  |  |  |  |"


def test_searches_of_other_points_are_not_averaged() -> None:
    with pytest.raises(ValueError, match="trial 0 is clip in one search, f_gan kl, pack 2 in"):
        table([[row(0, 1.0, CLIP)], [row(0, 1.0, KL)]])


def test_the_picture_has_the_generated_half_of_the_last_samples(tmp_path: Path) -> None:
    folder = tmp_path / "samples" / "00000"
    folder.mkdir(parents=True)
    for step, value in ((900, 10), (1600, 200)):
        pixels = np.zeros((8, 16), np.uint8)
        pixels[:, 8:] = value
        Image.fromarray(pixels).save(folder / f"step_{step:06d}.png")
    assert np.array_equal(generated(folder), np.full((8, 8), 200))
    draw(tmp_path, [row(0, 1.0, CLIP), row(1, None, KL)], tmp_path / "methods.png")
    assert (tmp_path / "methods.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = "trial_id,status,generator_steps,w1,w1_final,training_seconds,loss,constraint"
    line = "00000,completed,100,1.5,,1,wasserstein,clip"
    (tmp_path / "trials.csv").write_text(f"{columns}\n{line}\n")
    main([str(tmp_path)])
    assert "| clip | 1 of 1 | 1.50 | 1.50 | 1.50 | 10.0 |" in capsys.readouterr().out
