"""The log of all reports, metrics.jsonl."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from tuner.errors import BadInput, Fault
from tuner.study import Trial

#: What a trial has of its last rung, however many reports came after it.
AT_RUNGS = ("w1", "w1_stderr")


def read_reports(path: Path) -> dict[int, dict[int, Mapping[str, float]]]:
    """Read all reports by trial and generator step; a last line without its end is passed over.

    Raises:
        BadInput: if another line is not as it was written.
    """
    reports: dict[int, dict[int, Mapping[str, float]]] = {}
    raw = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(raw[: raw.rfind(b"\n") + 1].splitlines(), 1):
        try:
            report = json.loads(line)
            trial, steps = report.pop("trial"), int(report["generator_steps"])
            is_report = isinstance(trial, int) and all(
                isinstance(value, int | float) for value in report.values()
            )
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
            is_report = False
        if not is_report:
            message = "is not as it was written: delete this line, whose report is lost, or put "
            message += "back a copy of the file, from a backup or the search's storage"
            raise BadInput(str(path), [Fault(f"line {number}", message)])
        reports.setdefault(trial, {})[steps] = report
    return reports


def latest(
    reports: Mapping[int, Mapping[str, float]],
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Find the last report of a trial, and that of its last rung; empty where there is none.

    Args:
        reports: All of the trial's, by generator step.
    """
    steps = sorted(reports)
    rungs = [at for at in steps if "w1" in reports[at]]
    return reports[steps[-1]] if steps else {}, reports[rungs[-1]] if rungs else {}


def as_of_now(
    trial: Trial, last_report: Mapping[str, float], last_rung: Mapping[str, float]
) -> Trial:
    """Give a trial its last report as ``metrics``, with the ``w1`` of its last rung.

    A trial that has ended keeps the report that it ended with.

    Args:
        trial: As the study has it.
        last_report: Its last report so far.
        last_rung: Its report at its last rung, which has its ``w1`` until it reaches another.
    """
    last = last_report if trial.status is None else trial.metrics
    return trial.with_metrics({k: last_rung[k] for k in AT_RUNGS if k in last_rung} | dict(last))


def mend_reports(path: Path) -> None:
    """Cut off a last line without its end, which a crash left: more is to be written."""
    if path.exists():
        raw = path.read_bytes()
        if (end := raw.rfind(b"\n") + 1) < len(raw):
            os.truncate(path, end)
