"""What is kept of a finalist's samples, which a stranger's folder may have in any shape."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_search import trial

from trainables.comparison import compare_vectors, neighbours
from tuner.results import VectorComparison, read_comparison, write_comparison
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]


def test_what_was_found_is_read_again(make_spec: MakeSpec, tmp_path: Path) -> None:
    one, two = (trial(make_spec(), n, [1.0]) for n in range(2))
    vectors = compare_vectors(torch.randn(80, 30).double(), torch.randn(90, 30).double())
    images = neighbours(torch.rand(2, 3, 8, 8), torch.rand(5, 3, 8, 8))
    assert read_comparison(tmp_path, one) is None
    write_comparison(tmp_path, one, vectors)
    write_comparison(tmp_path, two, images)
    found = read_comparison(tmp_path, one)
    assert isinstance(found, VectorComparison)
    assert json.loads(found.model_dump_json()) == vectors
    other = read_comparison(tmp_path, two)
    assert other is not None
    assert json.loads(other.model_dump_json()) == images


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "code"}, {"columns": [{"index": "<script>"}]}, {"num_columns": "many"},
        {"real_lines": [[float("nan")]]}, {"real_lines": [[0.0] * 1000]}, {"more": 1},
        {"correlations": [[0, 1, 0.5]]},
    ],
    ids=str,
)  # fmt: skip
def test_what_no_search_writes_is_not_read(
    make_spec: MakeSpec, tmp_path: Path, change: dict[str, Any]
) -> None:
    one = trial(make_spec(), 0, [1.0])
    vectors = compare_vectors(torch.randn(80, 3).double(), torch.randn(80, 3).double())
    write_comparison(tmp_path, one, {**vectors, **change})
    assert read_comparison(tmp_path, one) is None


def test_a_file_that_is_too_large_or_cut_is_not_read(make_spec: MakeSpec, tmp_path: Path) -> None:
    one = trial(make_spec(), 0, [1.0])
    write_comparison(tmp_path, one, {"kind": "images", "picture": "", "distances": []})
    path = tmp_path / "comparisons" / "00000.json"
    assert read_comparison(tmp_path, one) is not None
    text = path.read_text()
    path.write_text(text[:-5])
    assert read_comparison(tmp_path, one) is None
    path.write_text(text + " " * 5_000_000)
    assert read_comparison(tmp_path, one) is None
