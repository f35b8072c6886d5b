"""How the best trial's samples differ from real ones, on the page."""

from collections.abc import Callable
from pathlib import Path

import torch
from made_search import facts, trial

from trainables.comparison import compare_vectors, neighbours
from tuner.page import page as report
from tuner.page.comparison import comparison
from tuner.results import write_comparison
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]


def test_columns_pairs_correlations_and_lines_of_vectors(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    best = trial(make_spec(), 0, [3.0, 2.0, 1.0], "completed")
    real = torch.arange(800).reshape(80, 10).double() % 37
    for num, ids in ((10, {"fig-pairs", "fig-correlations", "fig-lines"}),
                     (3, {"fig-pairs", "fig-correlations"}), (1, set())):  # fmt: skip
        found = compare_vectors(real[:, :num], real[:, :num] + torch.arange(num))
        write_comparison(tmp_path, best, found)
        drawn, values = comparison(facts(make_spec(), [best], tmp_path))
        marginals = {f"fig-marginal-{i}" for i in range(min(num, 8))}
        assert set(drawn) == ids | marginals
        assert [name for _, name, _ in values["compared"]] == [
            f"column {column['index']}" for column in found["columns"]
        ]
    page = report.page(facts(make_spec(), [best], tmp_path), limit_s=0)
    assert 'id="fig-marginal-0"' in page
    assert 'id="fig-pairs"' not in page


def test_the_values_that_are_drawn_are_those_that_were_found(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    best = trial(make_spec(), 0, [3.0, 2.0, 1.0], "completed")
    found = compare_vectors(torch.randn(80, 10).double(), torch.randn(80, 10).double())
    write_comparison(tmp_path, best, found)
    drawn, _ = comparison(facts(make_spec(), [best], tmp_path))
    real, generated = drawn["fig-marginal-1"].data
    assert list(real.y) == found["columns"][1]["real"]
    assert list(generated.y) == found["columns"][1]["generated"]
    points = drawn["fig-correlations"].data[1]
    assert list(zip(points.x, points.y, strict=True)) == [
        tuple(pair[2:]) for pair in found["correlations"]
    ]
    lines = drawn["fig-lines"].data[1]
    assert list(lines.y)[:11] == [*found["generated_lines"][0], None]


def test_the_nearest_training_images_are_a_picture(make_spec: MakeSpec, tmp_path: Path) -> None:
    best = trial(make_spec(), 0, [3.0, 2.0, 1.0], "completed")
    found = neighbours(torch.rand(2, 1, 8, 8), torch.rand(5, 1, 8, 8))
    write_comparison(tmp_path, best, found)
    made = facts(make_spec(), [best], tmp_path)
    assert comparison(made) == ({}, {
        "neighbours": f"data:image/png;base64,{found['picture']}", "compared": [],
        "compared_pairs": [],
    })  # fmt: skip
    assert "Does the best repeat its training data?" in report.page(made, limit_s=0)
    for picture in ("?", "aGVsbG8="):  # no base64, and no picture
        write_comparison(tmp_path, best, {**found, "picture": picture})
        assert comparison(made)[1]["neighbours"] is None
