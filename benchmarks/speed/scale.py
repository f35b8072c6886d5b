"""Measure the cost of the driver: ``python -m benchmarks.speed.scale [--trials 100 1000 3000]``.

Trials only sleep and report, so that the measured CPU seconds and memory are those of the driver's
process. Compares a search, with its scheduler, sampler, MLflow and display, with bare Ray Tune
(FIFO, random search, no callback, no logger) in the same run. Linux only.

A trial makes 10 reports with the metrics of a real one, is scored at 3 rungs, and saves a
checkpoint at those and once more: a small file, and a picture at a rung. Each trial scores better
than the one before it, so that ASHA stops none. The start, up to the end of the first trials, and
the final are not measured.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tuner.cluster import connected
from tuner.space import Choice, SearchSpec, read_spec

RUNGS = (100, 300, 900)
SAVES = (*RUNGS, 500)
REPORTS = (10, *range(100, 901, 100))
SPACE = "search_spaces/gp.yaml"
#: The first trials, during which workers start; their reports do not count.
WARM_UP_TRIALS = 20
#: The number of intervals in the table of the largest run.
_INTERVALS = 6
_SAMPLE_S = 0.2
_MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """The driver's use of resources up to a moment.

    ``cpu_s`` are the CPU seconds of all threads, ``mlflow_cpu_s`` those of MLflow's thread.
    """

    reports: int
    wall_s: float
    cpu_s: float
    mlflow_cpu_s: float
    rss_mib: float


@dataclass(frozen=True)
class Run:
    """One run in a separate process; ``drain_s`` is the time that MLflow needed after its end."""

    samples: tuple[Sample, ...]
    drain_s: float

    @property
    def counted(self) -> list[Sample]:
        """Return the samples after the warm-up."""
        return [s for s in self.samples if s.reports >= WARM_UP_TRIALS * len(REPORTS)]

    def per_report_ms(self, field: str, since: int = 0, until: int = sys.maxsize) -> float:
        """Return the milliseconds per report.

        Args:
            field: ``wall_s``, ``cpu_s`` or ``mlflow_cpu_s``.
            since: The number of trials at the start of the interval.
            until: The number of trials at its end.
        """
        window = [s for s in self.counted if since <= s.reports // len(REPORTS) <= until]
        first, last = window[0], window[-1]
        spent_s = getattr(last, field) - getattr(first, field)
        return 1_000 * spent_s / max(1, last.reports - first.reports)

    @property
    def mib_per_100_trials(self) -> float:
        """Return the growth of the driver's memory: the slope of a line over the second half."""
        late = self.counted[len(self.counted) // 2 :]
        trials = np.array([s.reports / len(REPORTS) for s in late])
        return 100 * float(np.polyfit(trials, [s.rss_mib for s in late], 1)[0])


def main() -> None:
    """Run each kind at each size in a subprocess and print the tables, or run one kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument("--slots", type=int, default=4, help="trials at a time; 4")
    parser.add_argument("--sleep-s", type=float, default=0.01, help="before each report; 0.01")
    parser.add_argument("--sampler", default="tpe", help="Optuna's; tpe")
    parser.add_argument("--one", choices=KINDS, help="one run, its samples as JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(asdict(_run_one(args.one, args))))
        return
    kinds = list(KINDS)
    runs: dict[tuple[str, int], Run] = {}
    for num_trials in args.trials:
        for kind in kinds:
            print(f"{kind}: {num_trials:,} trials ...", file=sys.stderr, flush=True)
            runs[kind, num_trials] = _run_in_subprocess(kind, num_trials, args)
    _print(runs, args)


def _run_in_subprocess(kind: str, num_trials: int, args: argparse.Namespace) -> Run:
    command = [sys.executable, "-m", "benchmarks.speed.scale", "--one", kind]
    command += ["--trials", str(num_trials), "--slots", str(args.slots)]
    command += ["--sleep-s", str(args.sleep_s), "--sampler", args.sampler]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    run = json.loads(output.splitlines()[-1])
    return Run(tuple(Sample(**sample) for sample in run["samples"]), run["drain_s"])


def _run_one(kind: str, args: argparse.Namespace) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        counter = Path(folder, "reports")
        counter.touch()
        trainable = _sleeper(counter, args.sleep_s)
        spec = _spec(Path(folder), args.trials[0], args.sampler)

        with connected(None, args.slots), _sampling(counter) as samples:
            drain_s = KINDS[kind](Path(folder), spec, trainable, args.slots)
        return Run(tuple(samples), drain_s)


def _spec(folder: Path, num_trials: int, sampler: str) -> SearchSpec:
    grace, _, last = RUNGS
    return read_spec(
        Path(SPACE),
        [
            f"search.num_trials={num_trials}",
            "search.time_budget_s=null",
            f"search.sampler={sampler}",
            f"asha.grace_generator_steps={grace}",
            f"asha.max_generator_steps={last}",
            "asha.reduction_factor=3",
            f"mlflow.tracking_uri=sqlite:///{folder}/mlflow.db",
        ],
    )


def _bare(folder: Path, spec: SearchSpec, trainable: Callable[..., None], slots: int) -> float:
    from ray import tune

    space = {
        key: tune.choice(list(domain.choice))
        if isinstance(domain, Choice)
        else (tune.loguniform if domain.log else tune.uniform)(domain.low, domain.high)
        for key, domain in spec.domains.items()
    }
    tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable, data=[_no_data()]), {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            num_samples=spec.num_trials or 1, max_concurrent_trials=slots, reuse_actors=True
        ),
        run_config=tune.RunConfig(name="bare", storage_path=str(folder), verbose=0),
    ).fit()
    return 0.0


def _ours(folder: Path, spec: SearchSpec, trainable: Callable[..., None], slots: int) -> float:
    import trainables.wgan
    from tuner import cluster
    from tuner.cluster import Gauges
    from tuner.display import Display
    from tuner.record import Record
    from tuner.study import Study
    from tuner.tracking import Tracker

    trainables.wgan.train_wgan = trainable
    tracker = Tracker(spec, folder, "scale", lambda text: print(text, file=sys.stderr))
    study = Study(folder / "study.log", spec)
    study.set_floor({"w1_floor": 0.1, "w1_floor_stderr": 0.01})
    record = Record(folder, spec, study)
    record.listeners += [tracker, Gauges(record)]
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        screen = Console(file=nowhere, force_terminal=True, width=80, height=24)
        with Display(screen, {"MLflow": tracker.ui_command}).showing(record):
            record.start()
            data = _no_data()
            resources, stop = cluster.TrialResources(1, 0, {}), cluster.Interruption()
            servers = cluster.Servers(stop, print)
            cluster.run_trials(record, data, str(folder / "ray"), resources, stop, slots, servers)
    counts = record.counts()
    if counts["completed"] != spec.num_trials:
        # ASHA stops a few trials if a later one, which scores better, reaches a rung first.
        print(f"not all trials made all reports: {dict(counts)}", file=sys.stderr)
    record.close()
    started_s = time.perf_counter()
    missing = tracker.close("finished", timeout_s=3600)
    if missing is not None:
        print(missing, file=sys.stderr)
    return time.perf_counter() - started_s


def _no_data() -> Any:
    import ray

    return ray.put(None)


KINDS: Mapping[str, Callable[[Path, SearchSpec, Callable[..., None], int], float]] = {
    "bare Ray Tune": _bare,
    "ours": _ours,
}


def _sleeper(counter: Path, sleep_s: float) -> Callable[..., None]:
    """Return a trainable that reports as a real one, and appends a byte per report to a file."""
    reports, rungs, saves = REPORTS, RUNGS, SAVES
    metrics_of_all = ("critic_estimate", "critic_loss", "generator_loss", "critic_gradient_norm",
              "critic_lipschitz", "generator_steps_per_s", "training_seconds",
              "training_cpu_seconds", "scoring_seconds", "scoring_cpu_seconds")  # fmt: skip
    metrics_of_rungs = (
        "w1_stderr",
        "w1_train",
        "independent_critic_lipschitz",
        "rung_scoring_seconds",
    )

    # A nested function with its own imports is pickled by value, so that workers import no PyTorch.
    def sleep_and_report(config: Mapping[str, Any], data: Any) -> None:
        import os
        import random
        import tempfile
        import time
        from pathlib import Path

        from ray import tune

        score = 1e3 / (1 + config.get("number", 0))
        for steps in reports:
            time.sleep(sleep_s)
            metrics = {"generator_steps": float(steps), "diverged": 0.0}
            metrics |= {name: random.random() for name in metrics_of_all}
            if steps in rungs:
                metrics |= {"w1": score, **{name: random.random() for name in metrics_of_rungs}}
            with counter.open("ab") as file:
                file.write(b".")
            if steps not in saves:
                tune.report(metrics)
                continue
            with tempfile.TemporaryDirectory() as folder:
                names = ["state.pt", *(["generator.pt", "samples.png"] if steps in rungs else [])]
                for name in names:
                    Path(folder, name).write_bytes(os.urandom(4096))
                tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))

    return sleep_and_report


@contextmanager
def _sampling(counter: Path) -> Iterator[list[Sample]]:
    """Sample the resources of this process during the block, from a separate thread."""
    samples: list[Sample] = []
    done = threading.Event()

    def watch() -> None:
        started_s = time.perf_counter()
        while not done.wait(_SAMPLE_S):
            samples.append(_sample(counter.stat().st_size, time.perf_counter() - started_s))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _sample(reports: int, wall_s: float) -> Sample:
    mlflow = [t.native_id for t in threading.enumerate() if t.name == "mlflow"]
    ticks = sum(_ticks(Path(f"/proc/self/task/{native_id}/stat")) for native_id in mlflow)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Sample(
        reports,
        wall_s,
        time.process_time(),
        ticks / os.sysconf("SC_CLK_TCK"),
        pages * os.sysconf("SC_PAGE_SIZE") / _MIB,
    )


def _ticks(stat: Path) -> int:
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:  # the thread has ended
        return 0
    return int(fields[11]) + int(fields[12])


def _print(runs: Mapping[tuple[str, int], Run], args: argparse.Namespace) -> None:
    print(
        f"\n{time.strftime('%d %B %Y')}, {os.cpu_count()} CPUs ({platform.machine()}), "
        f"{args.slots} trials at a time, {len(REPORTS)} reports a trial, {len(RUNGS)} of them at "
        f"rungs; load now {os.getloadavg()[0]:.1f}. Of the driver's process; the first "
        f"{WARM_UP_TRIALS} trials do not count:\n"
    )
    head = ("", "trials", "wall ms/report", "CPU ms/report", "of it MLflow's thread",
            "CPU to bare", "MiB per 100 trials", "MLflow behind at the end, s")  # fmt: skip
    rows = []
    for (kind, n), run in runs.items():
        cpu, bare = (r.per_report_ms("cpu_s") for r in (run, runs["bare Ray Tune", n]))
        mlflow = run.per_report_ms("mlflow_cpu_s")
        wall = run.per_report_ms("wall_s")
        rows.append((kind, f"{n:,}", f"{wall:.1f}", f"{cpu:.2f}", f"{mlflow:.2f}",
                     f"{cpu / bare:.2f}x", f"{run.mib_per_100_trials:.2f}",
                     f"{run.drain_s:.0f}"))  # fmt: skip
    _print_table(head, rows)
    print("\nOver the largest run, CPU ms a report and MiB of memory, by trials so far:\n")
    largest = max(n for _, n in runs)
    edges = [round(e) for e in np.geomspace(WARM_UP_TRIALS, largest, _INTERVALS + 1)]
    kinds = list(dict.fromkeys(kind for kind, _ in runs))
    names = [name for kind in kinds for name in (f"{kind}, CPU", f"{kind}, MiB")]
    rows = []
    for since, until in pairwise(edges):
        row = [f"{since:,} to {until:,}"]
        for kind in kinds:
            run = runs[kind, largest]
            last = [s for s in run.counted if s.reports <= until * len(REPORTS)][-1]
            row += [f"{run.per_report_ms('cpu_s', since, until):.2f}", f"{last.rss_mib:.0f}"]
        rows.append(tuple(row))
    _print_table(("trials", *names), rows)


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for cells in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
