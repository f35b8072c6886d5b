"""What a search costs: ``python -m benchmarks.search_cost [search_spaces/gp.yaml]``.

Runs the command in a scratch folder and counts the CPU time of every process that came of it,
Ray's own included: how much went into training and scoring, and how much into everything else.
Linux only.
"""

import csv
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.25


def main() -> None:
    """Run a search and print where its CPU time went."""
    space = sys.argv[1] if len(sys.argv) > 1 else "search_spaces/gp.yaml"
    # What a dying process leaves behind stays below us, and so is found.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as runs_dir:
        started_s = time.monotonic()
        command = [sys.executable, "-m", "tuner.search", space, "--runs-dir", runs_dir]
        search = subprocess.Popen(command)
        cpu_s = _watch(search)
        wall_s = time.monotonic() - started_s
        (table,) = Path(runs_dir).glob("*/trials.csv")
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        reports = _last_reports(table.parent / "metrics.jsonl")
    training_s = sum(r["training_cpu_seconds"] for r in reports)
    scoring_s = sum(r["scoring_cpu_seconds"] for r in reports)
    steps = sum(int(row["generator_steps"]) for row in rows)
    print(
        f"\nexit status {search.returncode}; {os.cpu_count()} CPUs, load before {load_before:.1f}"
    )
    print(f"trials: {len(rows)}: {dict(Counter(row['status'] for row in rows))}, {steps:,} steps")
    print(f"wall time: {wall_s:.0f} s; CPU time of all processes: {cpu_s:.0f} s, of which")
    rest_s = cpu_s - training_s - scoring_s
    for name, seconds in (("training", training_s), ("scoring", scoring_s), ("the rest", rest_s)):
        print(f"  {name:<10}{seconds:6.0f} s {seconds / cpu_s:6.1%}")


def _watch(process: subprocess.Popen[bytes]) -> float:
    """CPU seconds of all our descendants until the process ends, seen by polling.

    Waiting for them would not do: Ray lets the kernel reap its workers, uncounted.
    """
    ticks: dict[tuple[int, int], int] = {}
    while process.poll() is None:
        ticks |= _descendants()
        time.sleep(_POLL_S)
    return sum(ticks.values()) / os.sysconf("SC_CLK_TCK")


def _descendants() -> dict[tuple[int, int], int]:
    """Clock ticks used by every process below us, by its id and start."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        used[pid] = (int(fields[19]), int(fields[11]) + int(fields[12]))
    below: set[int] = set()
    for pid in parents:
        line = []
        while pid in parents and pid not in below and pid != os.getpid():
            line.append(pid)
            pid = parents[pid]
        if pid in below or pid == os.getpid():
            below.update(line)
    return {(pid, used[pid][0]): used[pid][1] for pid in below}


def _last_reports(path: Path) -> list[dict[str, float]]:
    reports = map(json.loads, path.read_text().splitlines())
    return list({report["trial"]: report for report in reports}.values())


if __name__ == "__main__":
    main()
