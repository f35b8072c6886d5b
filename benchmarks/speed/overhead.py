"""Measure the overhead of a search over training: ``python -m benchmarks.speed.overhead [SPACE]``.

Runs a search of ``search_spaces/gp.yaml`` in a scratch folder, and then trains the same
configurations for as many steps in a bare loop: a plain ``for`` over the training in one process
per core, without Ray, rungs, MLflow or files. CPU seconds are those of all descendant processes,
Ray's own included. A search of one trial runs first, so that all files are in the disk cache. Linux
only.
"""

import ctypes
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from trainables.config import TrialConfig
from trainables.trial import Schedule
from tuner import results
from tuner.results import Snapshot

_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.25


@dataclass(frozen=True)
class Watched:
    """The CPU seconds of a process and its descendants by name, and its lines with their times."""

    cpu_s_by_name: Counter[str]
    started_s: float
    ended_s: float
    lines: Sequence[tuple[float, str]]

    @property
    def cpu_s(self) -> float:
        """Return the CPU seconds of all processes."""
        return self.cpu_s_by_name.total()

    def last_printed(self, words: str) -> float | None:
        """Return the time of the last line with these words, in seconds since 1970."""
        times = [time_s for time_s, line in self.lines if words in line]
        return max(times, default=None)


def main() -> None:
    """Print the table of a search space."""
    print(table(sys.argv[1] if len(sys.argv) > 1 else "search_spaces/gp.yaml"))


def table(space: str = "search_spaces/gp.yaml") -> str:
    """Run a search and the bare loop, and return the comparison in Markdown."""
    # Orphans of a process become children of this one, so that they are counted.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as runs_dir, tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "tuner.search", space, "--runs-dir"]
        watch([*command, scratch, "--set", "search.num_trials=1"])
        search = watch([*command, runs_dir])
        (trials_csv,) = Path(runs_dir).glob("*/trials.csv")
        snapshot = results.read_snapshot(trials_csv.parent)
        command = [sys.executable, "-m", "benchmarks.speed.overhead"]
        bare = watch([*command, "--bare", str(trials_csv.parent)])
    final_s = sum(trial.final["final_scoring_seconds"] for trial in snapshot.trials if trial.final)
    return "\n".join([*_costs(snapshot, search, bare, final_s), "", *_waits(snapshot, search)])


def watch(command: Sequence[str]) -> Watched:
    """Run a command to its end, and measure it.

    The CPU seconds of all descendants are polled: those of waited-for children do not include Ray's
    workers, which the kernel reaps.
    """
    started_s, lines = time.time(), []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def read() -> None:
        for line in process.stdout or ():
            lines.append((time.time(), line))
            print(line, end="", file=sys.stderr)

    reader = threading.Thread(target=read)
    reader.start()
    seen: dict[tuple[int, int], tuple[str, int]] = {}
    while process.poll() is None:
        seen |= _descendants()
        time.sleep(_POLL_S)
    ended_s = time.time()
    reader.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with status {process.returncode}")
    cpu_s: Counter[str] = Counter()
    for name, ticks in seen.values():
        cpu_s[name] += ticks / os.sysconf("SC_CLK_TCK")  # type: ignore[assignment]
    return Watched(cpu_s, started_s, ended_s, lines)


def _descendants() -> dict[tuple[int, int], tuple[str, int]]:
    """Return name and clock ticks of each descendant of this process, by its id and start time."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text().rpartition(")")
        except OSError:  # the process has ended
            continue
        pid, fields = int(stat.parent.name), tail.split()
        parents[pid] = int(fields[1])
        used[pid, int(fields[19])] = (head.partition("(")[2], int(fields[11]) + int(fields[12]))
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    below.remove(os.getpid())
    return {key: value for key, value in used.items() if key[0] in below}


def bare(run_dir: Path) -> None:
    """Train a search's trials again, each for as many steps, in a bare loop on all cores."""
    trials = results.read_snapshot(run_dir).trials
    tasks = [(trial.config, trial.generator_steps) for trial in trials if trial.generator_steps]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        pool.starmap(_train, tasks, chunksize=1)


def _train(config: TrialConfig, generator_steps: int) -> None:
    from trainables.data import as_tensor, load
    from trainables.training import TrainState, train
    from trainables.trial import start_worker

    device = start_worker(1, False)
    data = load(config.data)
    state = TrainState.create(config, data.sample_shape, device)
    for _ in train(state, config.training, as_tensor(data.train), [generator_steps]):
        pass


def _costs(snapshot: Snapshot, search: Watched, bare: Watched, final_s: float) -> Iterator[str]:
    reports = [trial.metrics for trial in snapshot.trials if trial.metrics]
    steps = sum(trial.generator_steps for trial in snapshot.trials)
    training_s = sum(report["training_cpu_seconds"] for report in reports)
    scoring_s = sum(report["scoring_cpu_seconds"] for report in reports)
    rest_s = search.cpu_s - training_s - scoring_s - final_s
    statuses = Counter(str(trial.status) for trial in snapshot.trials)
    counts = ", ".join(f"{num} {status}" for status, num in statuses.items())
    yield (
        f"{snapshot.spec.name}: {len(snapshot.trials)} trials ({counts}), "
        f"{steps:,} generator steps."
    )
    yield ""
    yield "| | wall s | CPU s | of the search's CPU |"
    yield "|---|---|---|---|"
    yield _cells("the search", search.ended_s - search.started_s, search.cpu_s, search.cpu_s)
    for name, seconds in (
        ("of it training", training_s), ("scoring at the rungs", scoring_s),
        ("the final", final_s), ("all else", rest_s),
    ):  # fmt: skip
        yield _cells(name, None, seconds, search.cpu_s)
    yield _cells("a bare loop", bare.ended_s - bare.started_s, bare.cpu_s, search.cpu_s)
    scored_s = bare.cpu_s + scoring_s + final_s
    yield ""
    yield (
        f"Steps per CPU-second: {bare.cpu_s / search.cpu_s:.0%} of the bare loop's; "
        f"{scored_s / search.cpu_s:.0%} of those of a bare loop that also scored."
    )
    yield ""
    yield "CPU seconds of the search by process, training and scoring included: " + ", ".join(
        f"{name} {seconds:.1f}" for name, seconds in search.cpu_s_by_name.most_common(8)
    )


def _cells(name: str, wall_s: float | None, cpu_s: float, whole_cpu_s: float) -> str:
    wall = "" if wall_s is None else f"{wall_s:.0f}"
    return f"| {name} | {wall} | {cpu_s:.0f} | {cpu_s / whole_cpu_s:.1%} |"


def _waits(snapshot: Snapshot, search: Watched) -> Iterator[str]:
    yield "| wait | seconds | target |"
    yield "|---|---|---|"
    starts, ends = {}, {}
    for number, reports in snapshot.reports.items():
        first, last = reports[min(reports)], reports[max(reports)]
        starts[number] = first["unix_time_s"] - first["training_seconds"] - first["scoring_seconds"]
        ends[number] = last["unix_time_s"]
    to_first_s = min(starts.values()) - search.started_s
    yield f"| command to the first trial's training | {to_first_s:.1f} | 12 |"
    next_starts = _spread(start_waits(starts, ends))
    yield f"| a trial's end to the next one's training | {next_starts} | 0.3 |"
    schedule = Schedule(rungs=snapshot.spec.asha.rungs, **snapshot.spec.reporting.model_dump())
    for name, waits in sorted(report_waits(snapshot.reports, schedule.saves_at).items()):
        yield f"| {name} | {_spread(waits)} | 0.05 |"
    after_final_s = search.ended_s - (search.last_printed("in the final") or search.ended_s)
    last_end_s = max(ends.values())
    before_final_s = (search.last_printed("the final: the best") or last_end_s) - last_end_s
    to_exit_s = before_final_s + after_final_s
    yield f"| the last trial's end to the exit, the final apart | {to_exit_s:.1f} | 5 |"


def start_waits(starts: Mapping[int, float], ends: Mapping[int, float]) -> list[float]:
    """Return the seconds from each end of a trial to the next start of another, if there is one.

    Args:
        starts: The start of each trial, in seconds since 1970.
        ends: The end of each trial, in seconds since 1970.
    """
    waits, remaining = [], sorted(starts.values())
    for ended_s in sorted(ends.values()):
        later = [start_s for start_s in remaining if start_s >= ended_s - 0.05]
        if later:
            waits.append(later[0] - ended_s)
            remaining.remove(later[0])
    return waits


def report_waits(
    reports: Mapping[int, Mapping[int, Mapping[str, float]]], saves_at: Callable[[int], bool]
) -> dict[str, list[float]]:
    """Return the seconds between two reports of a trial without training or scoring.

    Args:
        reports: The reports by trial number and generator step.
        saves_at: Whether the report at a generator step has a checkpoint.

    Returns:
        The waits by kind of the earlier report: with or without a checkpoint.
    """
    waits: dict[str, list[float]] = defaultdict(list)
    for of_trial in reports.values():
        for before, after in pairwise(sorted(of_trial)):
            one, other = of_trial[before], of_trial[after]
            work_s = sum(other[key] - one[key] for key in ("training_seconds", "scoring_seconds"))
            wait_s = other["unix_time_s"] - one["unix_time_s"] - work_s
            waits["a report with a checkpoint" if saves_at(before) else "a report"].append(wait_s)
    return waits


def _spread(waits: Sequence[float]) -> str:
    if not waits:
        return "-"
    return f"{statistics.median(waits):.3f} (at most {max(waits):.3f}, of {len(waits)})"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        bare(Path(sys.argv[2]))
    else:
        main()
