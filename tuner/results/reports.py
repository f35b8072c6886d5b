"""Read the log of all reports, metrics.jsonl."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import final

from tuner.errors import BadInput, Fault
from tuner.study import Trial

Report = Mapping[str, float]

#: Bytes that :meth:`ReportLog.read` reads at once, some 10,000 reports: this bounds the memory.
CHUNK_BYTES = 8 * 2**20

#: Metrics that only reports at rungs have.
AT_RUNGS = ("w1", "w1_stderr")


@final
class ReportLog:
    """Reader of a log that continues where its last reading ended, as the log grows."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet; the file need not exist."""
        self._path = path
        self._offset = self._num_lines = 0

    def read(self) -> tuple[dict[int, list[Report]], bool]:
        """Read the next reports, of whole lines: the last one may still be being written.

        Returns:
            The reports by trial, in the order of the log, and whether those are all for now.

        Raises:
            BadInput: if a whole line is not as it was written.
        """
        raw = b""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                raw = file.read(CHUNK_BYTES)
        end = raw.rfind(b"\n") + 1
        reports: dict[int, list[Report]] = {}
        for line in raw[:end].splitlines():
            self._num_lines += 1
            try:
                trial, report = _parse(line)
            except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
                message = "is not as it was written: delete this line, whose report is lost, or "
                message += "restore a copy of the file, from a backup or the search's storage"
                fault = Fault(f"line {self._num_lines}", message)
                raise BadInput(str(self._path), [fault]) from error
            reports.setdefault(trial, []).append(report)
        self._offset += end
        return reports, len(raw) < CHUNK_BYTES or not end


def _parse(line: bytes) -> tuple[int, Report]:
    report = json.loads(line)
    trial = report.pop("trial")
    int(report["generator_steps"])
    if not isinstance(trial, int) or not all(isinstance(v, int | float) for v in report.values()):
        raise TypeError("not a report")
    return trial, report


def read_reports(path: Path) -> dict[int, dict[int, Report]]:
    """Read all reports, by trial and generator step; skip a last line without a newline.

    Raises:
        BadInput: if another line is not as it was written.
    """
    reports: dict[int, dict[int, Report]] = {}
    log, is_all = ReportLog(path), False
    while not is_all:
        chunk, is_all = log.read()
        for number, steps in chunk.items():
            by_step = {int(report["generator_steps"]): report for report in steps}
            reports.setdefault(number, {}).update(by_step)
    return reports


def first_report(path: Path) -> Report:
    """Read the first report of a search; empty where there is none yet."""
    if not path.exists():
        return {}
    with path.open("rb") as file:
        line = file.readline()
    return json.loads(line) if line.endswith(b"\n") else {}


def latest(reports: Mapping[int, Report]) -> tuple[Report, Report]:
    """Find a trial's last report, and its last report at a rung; each is empty if there is none.

    Args:
        reports: All reports of the trial, by generator step.
    """
    steps = sorted(reports)
    rungs = [at for at in steps if "w1" in reports[at]]
    return reports[steps[-1]] if steps else {}, reports[rungs[-1]] if rungs else {}


def as_of_now(trial: Trial, last_report: Report, last_rung: Report) -> Trial:
    """Return the trial with its last report as ``metrics``, plus the ``w1`` of its last rung.

    A trial that has ended keeps the metrics that it ended with.

    Args:
        trial: The trial as the study stores it.
        last_report: Its last report.
        last_rung: Its last report at a rung.
    """
    last = last_report if trial.status is None else trial.metrics
    return trial.with_metrics({k: last_rung[k] for k in AT_RUNGS if k in last_rung} | dict(last))


def drop_partial_report(path: Path) -> None:
    """Truncate a last line without a newline, left by a crash, before more lines are appended."""
    if path.exists():
        raw = path.read_bytes()
        if (end := raw.rfind(b"\n") + 1) < len(raw):
            os.truncate(path, end)
