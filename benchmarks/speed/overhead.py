"""What a search costs beside its training: ``python -m benchmarks.speed.overhead [SPACE]``.

Runs the command, on ``search_spaces/gp.yaml``, in a scratch folder, and then the same
configurations for as many steps in a bare loop: a plain ``for`` over the training in one process a
core, without Ray, rungs, MLflow or files. CPU seconds are of every process that came of either,
Ray's own included. A search of one trial goes before, so that neither waits for the disk. Linux
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
    """A process and all that came of it: CPU seconds by name, and its lines with their times."""

    cpu_s_by_name: Counter[str]
    started_s: float
    ended_s: float
    lines: Sequence[tuple[float, str]]

    @property
    def cpu_s(self) -> float:
        """Of all processes."""
        return self.cpu_s_by_name.total()

    def last_said(self, words: str) -> float | None:
        """When a line with these words was last printed, in seconds since 1970."""
        said = [at for at, line in self.lines if words in line]
        return max(said, default=None)


def main() -> None:
    """Print the table of a search space."""
    print(table(sys.argv[1] if len(sys.argv) > 1 else "search_spaces/gp.yaml"))


def table(space: str = "search_spaces/gp.yaml") -> str:
    """Run a search and its bare loop: what the search costs besides, in Markdown."""
    # What a dying process leaves behind stays below us, and so is found.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as runs_dir, tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "tuner.search", space, "--runs-dir"]
        watch([*command, scratch, "--set", "search.num_trials=1"])
        search = watch([*command, runs_dir])
        (made,) = Path(runs_dir).glob("*/trials.csv")
        found = results.read_snapshot(made.parent)
        command = [sys.executable, "-m", "benchmarks.speed.overhead"]
        bare = watch([*command, "--bare", str(made.parent)])
    final_s = sum(trial.final["final_scoring_seconds"] for trial in found.trials if trial.final)
    return "\n".join([*_costs(found, search, bare, final_s), "", *_waits(found, search)])


def watch(command: Sequence[str]) -> Watched:
    """Run a command to its end.

    CPU seconds are those last seen of all our descendants, by polling. Waiting for them would not
    do: Ray lets the kernel reap its workers, uncounted.
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


def bare(run_dir: Path) -> None:
    """Train a search's trials again, as far as each came, in a bare loop on all cores."""
    trials = results.read_snapshot(run_dir).trials
    asked = [(trial.config, trial.generator_steps) for trial in trials if trial.generator_steps]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        pool.starmap(_train, asked, chunksize=1)


def _train(config: TrialConfig, generator_steps: int) -> None:
    from trainables.data import as_tensor, load
    from trainables.training import TrainState, train
    from trainables.trial import start_worker

    device = start_worker(1, False)
    data = load(config.data)
    state = TrainState.create(config, data.sample_shape, device)
    for _ in train(state, config.training, as_tensor(data.train), [generator_steps]):
        pass


def _costs(found: Snapshot, search: Watched, bare: Watched, final_s: float) -> Iterator[str]:
    reports = [trial.metrics for trial in found.trials if trial.metrics]
    steps = sum(trial.generator_steps for trial in found.trials)
    training_s = sum(report["training_cpu_seconds"] for report in reports)
    scoring_s = sum(report["scoring_cpu_seconds"] for report in reports)
    rest_s = search.cpu_s - training_s - scoring_s - final_s
    fates = Counter(str(trial.status) for trial in found.trials)
    yield (
        f"{found.spec.name}: {len(found.trials)} trials "
        f"({', '.join(f'{num} {fate}' for fate, num in fates.items())}), {steps:,} generator steps."
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


def _waits(found: Snapshot, search: Watched) -> Iterator[str]:
    yield "| wait | seconds | target |"
    yield "|---|---|---|"
    starts, ends = {}, {}
    for number, reports in found.reports.items():
        first, last = reports[min(reports)], reports[max(reports)]
        starts[number] = first["unix_time_s"] - first["training_seconds"] - first["scoring_seconds"]
        ends[number] = last["unix_time_s"]
    to_first_s = min(starts.values()) - search.started_s
    yield f"| command to the first trial's training | {to_first_s:.1f} | 12 |"
    yield f"| a trial's end to the next one's training | {_spread(between(starts, ends))} | 0.3 |"
    schedule = Schedule(rungs=found.spec.asha.rungs, **found.spec.reporting.model_dump())
    for name, waits in sorted(around_reports(found.reports, schedule.saves_at).items()):
        yield f"| {name} | {_spread(waits)} | 0.05 |"
    after_final = search.ended_s - (search.last_said("in the final") or search.ended_s)
    before_final = (search.last_said("the final: the best") or max(ends.values())) - max(
        ends.values()
    )
    to_exit_s = before_final + after_final
    yield f"| the last trial's end to the exit, the final apart | {to_exit_s:.1f} | 5 |"


def between(starts: Mapping[int, float], ends: Mapping[int, float]) -> list[float]:
    """From each trial's end to the next start of a trial, as long as there is one to start."""
    waits, later = [], sorted(starts.values())
    for ended_s in sorted(ends.values()):
        after = [at for at in later if at >= ended_s - 0.05]
        if after:
            waits.append(after[0] - ended_s)
            later.remove(after[0])
    return waits


def around_reports(
    reports: Mapping[int, Mapping[int, Mapping[str, float]]], saves_at: Callable[[int], bool]
) -> dict[str, list[float]]:
    """What passed between two reports of a trial, but for training and scoring.

    It is told by the first of the two: ``saves_at`` says whether that had a checkpoint.
    """
    waits: dict[str, list[float]] = defaultdict(list)
    for of_trial in reports.values():
        for before, after in pairwise(sorted(of_trial)):
            one, other = of_trial[before], of_trial[after]
            worked = sum(other[key] - one[key] for key in ("training_seconds", "scoring_seconds"))
            wait = other["unix_time_s"] - one["unix_time_s"] - worked
            waits["a report with a checkpoint" if saves_at(before) else "a report"].append(wait)
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
