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
        cpu_s_by_name = _watch(search)
        wall_s = time.monotonic() - started_s
        (table,) = Path(runs_dir).glob("*/trials.csv")
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        reports = _last_reports(table.parent / "metrics.jsonl")
    cpu_s = cpu_s_by_name.total()
    training_s = sum(r["training_cpu_seconds"] for r in reports)
    scoring_s = sum(r["scoring_cpu_seconds"] for r in reports)
    # Wall seconds of one thread each; a worker's start before them is in the rest.
    final_s = sum(float(row["final_scoring_seconds"] or 0) for row in rows)
    steps = sum(int(row["generator_steps"]) for row in rows)
    print(
        f"\nexit status {search.returncode}; {os.cpu_count()} CPUs, load before {load_before:.1f}"
    )
    print(f"trials: {len(rows)}: {dict(Counter(row['status'] for row in rows))}, {steps:,} steps")
    print(f"wall time: {wall_s:.0f} s; CPU time of all processes: {cpu_s:.0f} s, of which")
    parts = {"training": training_s, "scoring": scoring_s, "the final": final_s}
    parts["the rest"] = cpu_s - sum(parts.values())
    for name, seconds in parts.items():
        print(f"  {name:<10}{seconds:6.0f} s {seconds / cpu_s:6.1%}")
    print("by process, training and scoring included:")
    for name, seconds in cpu_s_by_name.most_common(8):
        print(f"  {name:<20}{seconds:6.1f} s {seconds / cpu_s:6.1%}")


def _watch(process: subprocess.Popen[bytes]) -> Counter[str]:
    """CPU seconds of all our descendants until the process ends, by name, seen by polling.

    Waiting for them would not do: Ray lets the kernel reap its workers, uncounted.
    """
    seen: dict[tuple[int, int], tuple[str, int]] = {}
    while process.poll() is None:
        seen |= _descendants()
        time.sleep(_POLL_S)
    cpu_s: Counter[str] = Counter()
    for name, ticks in seen.values():
        cpu_s[name] += ticks / os.sysconf("SC_CLK_TCK")  # type: ignore[assignment]
    return cpu_s


def _descendants() -> dict[tuple[int, int], tuple[str, int]]:
    """Name and clock ticks used of every process below us, by its id and start."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text().rpartition(")")
        except OSError:  # it ended meanwhile
            continue
        pid, fields = int(stat.parent.name), tail.split()
        parents[pid] = int(fields[1])
        used[pid, int(fields[19])] = (head.partition("(")[2], int(fields[11]) + int(fields[12]))
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    below.remove(os.getpid())
    return {key: value for key, value in used.items() if key[0] in below}


def _last_reports(path: Path) -> list[dict[str, float]]:
    reports = map(json.loads, path.read_text().splitlines())
    return list({report["trial"]: report for report in reports}.values())


if __name__ == "__main__":
    main()
