"""The log of all reports: a line that a crash cut is passed over, any other damage is named."""

from pathlib import Path

import pytest

from tuner.errors import BadInput
from tuner.results.reports import mend_reports, read_reports

LINES = [
    b'{"trial": 0, "generator_steps": 10.0, "critic_estimate": NaN}',
    b'{"trial": 0, "generator_steps": 20.0, "w1": 2.0}',
    b'{"trial": 1, "generator_steps": 10.0}',
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_a_last_line_without_its_end_is_passed_over_and_cut_off(path: Path) -> None:
    path.write_bytes(b"\n".join(LINES))
    assert {trial: list(reports) for trial, reports in read_reports(path).items()} == {0: [10, 20]}
    mend_reports(path)
    assert path.read_bytes() == b"\n".join(LINES[:2]) + b"\n"


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage", b"", b"\xff\x00", b"[]", b"3", b"null", b"{}", b'{"trial": 0}',
        b'{"trial": [], "generator_steps": 1}', b'{"trial": 0, "generator_steps": "many"}',
        b'{"trial": 0, "generator_steps": Infinity}', b'{"trial": 0, "generator_steps": NaN}',
        b'{"trial": 0, "generator_steps": 1, "w1": "low"}',
    ],
)  # fmt: skip
def test_another_line_that_is_none_is_named_with_the_way_out(
    path: Path, garbage: bytes, at: int
) -> None:
    lines = [*LINES[:at], garbage, *LINES[at:]]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    message = f"metrics.jsonl: 1 fault\n  line {at + 1}: is not as it was written: delete this line"
    with pytest.raises(BadInput, match=message):
        read_reports(path)
