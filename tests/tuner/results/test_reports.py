"""metrics.jsonl, read while it grows: each report once; damage is named by its line."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner.errors import BadInput
from tuner.results import reports as reports_module
from tuner.results.reports import ReportLog, drop_partial_report, first_report, read_reports


def line(trial: int, steps: int) -> bytes:
    return json.dumps({"trial": trial, "generator_steps": float(steps)}).encode() + b"\n"


LINES = [line(trial, steps) for steps in (10, 20, 30) for trial in (0, 1, 12)]
CONTENT = b"".join(LINES)
ALL = {trial: [{"generator_steps": float(s)} for s in (10, 20, 30)] for trial in (0, 1, 12)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, len(CONTENT)), max_size=6), st.integers(60, 500))
def test_however_it_grows_and_is_read_each_report_comes_once_and_in_order(
    tmp_path: Path, ends: list[int], chunk_bytes: int
):
    path = tmp_path / "metrics.jsonl"
    path.unlink(missing_ok=True)
    log, found = ReportLog(path), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports_module, "CHUNK_BYTES", chunk_bytes)
        assert log.read() == ({}, True), "there is no file yet"
        for end in [*sorted(ends), len(CONTENT)]:
            path.write_bytes(CONTENT[:end])
            is_all = False
            while not is_all:
                chunk, is_all = log.read()
                for trial, more in chunk.items():
                    found.setdefault(trial, []).extend(more)
            assert sum(map(len, found.values())) == CONTENT[:end].count(b"\n")
        assert found == ALL
        assert {t: list(by_step.values()) for t, by_step in read_reports(path).items()} == ALL


def test_the_first_report_is_that_of_the_search(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    assert first_report(path) == {}
    for end, expected in ((3, {}), (len(CONTENT), {"trial": 0, "generator_steps": 10.0})):
        path.write_bytes(CONTENT[:end])
        assert first_report(path) == expected


def test_a_line_without_its_end_is_cut_off(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(CONTENT[:-2])
    drop_partial_report(path)
    assert path.read_bytes() == b"".join(LINES[:-1])


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
    tmp_path: Path, garbage: bytes, at: int
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join([*LINES[:at], garbage + b"\n", *LINES[at:]]))
    message = f"metrics.jsonl: 1 fault\n  line {at + 1}: is not as it was written: delete this line"
    with pytest.raises(BadInput, match=message):
        read_reports(path)
