"""The log of all reports, metrics.jsonl."""

import json
import os
from collections.abc import Mapping
from pathlib import Path


def read_reports(path: Path) -> dict[int, dict[int, Mapping[str, float]]]:
    """All reports by trial and generator step; a last line without its end is passed over."""
    reports: dict[int, dict[int, Mapping[str, float]]] = {}
    raw = path.read_bytes() if path.exists() else b""
    for line in raw[: raw.rfind(b"\n") + 1].splitlines():
        report = json.loads(line)
        reports.setdefault(report.pop("trial"), {})[int(report["generator_steps"])] = report
    return reports


def mend_reports(path: Path) -> None:
    """Cut off a last line without its end, which a crash left: more is to be written."""
    if path.exists():
        raw = path.read_bytes()
        if (end := raw.rfind(b"\n") + 1) < len(raw):
            os.truncate(path, end)
