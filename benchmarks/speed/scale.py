"""What a search's driver costs: ``python -m benchmarks.speed.scale [--trials 100 1000 3000]``.

Trials only sleep and report, so that the driver's own work shows: the CPU seconds and the memory
of its one process, with our scheduler, sampler, MLflow and display on, against bare Ray Tune (FIFO,
random search, no callback, no logger) in the same run. Linux only.

A trial makes 10 reports of what a real one reports, is scored at 3 rungs, and saves itself at those
and once between; a checkpoint is a small file, at a rung with a picture. Scores fall from trial to
trial, so that ASHA, which is asked at every rung, lets all of them go on. What is not in it is the
start, up to the first trials' ends, and the final.
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
#: Trials whose reports are not counted: workers start meanwhile.
WARM_UP_TRIALS = 20
#: The curve has about so many points.
_POINTS = 6
_SAMPLE_S = 0.2
_MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """The driver at a moment. Seconds of CPU are of all its threads, MLflow's and main apart."""

    reports: int
    wall_s: float
    cpu_s: float
    mlflow_cpu_s: float
    rss_mib: float


@dataclass(frozen=True)
class Run:
    """One run in a process of its own; ``drain_s`` is what MLflow still took after the last."""

    samples: tuple[Sample, ...]
    drain_s: float

    @property
    def counted(self) -> list[Sample]:
        """Without the start."""
        return [s for s in self.samples if s.reports >= WARM_UP_TRIALS * len(REPORTS)]

    def per_report_ms(self, of: str, since: int = 0, until: int = sys.maxsize) -> float:
        """Milliseconds a report of ``wall_s``, ``cpu_s`` or ``mlflow_cpu_s``, between trials."""
        window = [s for s in self.counted if since <= s.reports // len(REPORTS) <= until]
        first, last = window[0], window[-1]
        spent = getattr(last, of) - getattr(first, of)
        return 1_000 * spent / max(1, last.reports - first.reports)

    @property
    def mib_per_100_trials(self) -> float:
        """Growth of the driver's memory over the second half: a line's slope."""
        late = self.counted[len(self.counted) // 2 :]
        trials = np.array([s.reports / len(REPORTS) for s in late])
        return 100 * float(np.polyfit(trials, [s.rss_mib for s in late], 1)[0])


def main() -> None:
    """Run each kind at each size, and print the tables; or one run, for that."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument("--slots", type=int, default=4, help="trials at a time; 4")
    parser.add_argument("--sleep-s", type=float, default=0.01, help="before each report; 0.01")
    parser.add_argument("--sampler", default="tpe", help="Optuna's; tpe")
    parser.add_argument("--one", choices=KINDS, help="one run, its samples as JSON")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(asdict(_one(asked.one, asked))))
        return
    kinds = list(KINDS)
    runs: dict[tuple[str, int], Run] = {}
    for num_trials in asked.trials:
        for kind in kinds:
            print(f"{kind}: {num_trials:,} trials ...", file=sys.stderr, flush=True)
            runs[kind, num_trials] = _in_own_process(kind, num_trials, asked)
    _print(runs, asked)


def _in_own_process(kind: str, num_trials: int, asked: argparse.Namespace) -> Run:
    command = [sys.executable, "-m", "benchmarks.speed.scale", "--one", kind]
    command += ["--trials", str(num_trials), "--slots", str(asked.slots)]
    command += ["--sleep-s", str(asked.sleep_s), "--sampler", asked.sampler]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(answer.splitlines()[-1])
    return Run(tuple(Sample(**sample) for sample in found["samples"]), found["drain_s"])


def _one(kind: str, asked: argparse.Namespace) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        counter = Path(folder, "reports")
        counter.touch()
        trainable = _sleeper(counter, asked.sleep_s)
        spec = _spec(Path(folder), asked.trials[0], asked.sampler)

        with connected(None, asked.slots), _sampling(counter) as samples:
            drain_s = KINDS[kind](Path(folder), spec, trainable, asked.slots)
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
            needs, stop = cluster.TrialResources(1, 0, {}), threading.Event()
            cluster.run_trials(record, data, str(folder / "ray"), needs, "sitting", stop, slots)
    counts = record.counts()
    if counts["completed"] != spec.num_trials:
        # A few, where trials overtake one another.
        print(f"not all trials made all reports: {dict(counts)}", file=sys.stderr)
    record.close()
    started_s = time.perf_counter()
    lacks = tracker.close("finished", timeout_s=3600)
    if lacks is not None:
        print(lacks, file=sys.stderr)
    return time.perf_counter() - started_s


def _no_data() -> Any:
    import ray

    return ray.put(None)


KINDS: Mapping[str, Callable[[Path, SearchSpec, Callable[..., None], int], float]] = {
    "bare Ray Tune": _bare,
    "ours": _ours,
}


def _sleeper(counter: Path, sleep_s: float) -> Callable[..., None]:
    """A trainable that reports as a real one does, and adds a byte to the file for each report."""
    reports, rungs, saves = REPORTS, RUNGS, SAVES
    always = ("critic_estimate", "critic_loss", "generator_loss", "critic_gradient_norm",
              "critic_lipschitz", "generator_steps_per_s", "training_seconds",
              "training_cpu_seconds", "scoring_seconds", "scoring_cpu_seconds")  # fmt: skip
    at_rungs = ("w1_stderr", "w1_train", "independent_critic_lipschitz", "rung_scoring_seconds")

    # Within, and importing within, so that Ray ships it as it is: workers then need no PyTorch.
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
            metrics |= {name: random.random() for name in always}
            if steps in rungs:
                metrics |= {"w1": score, **{name: random.random() for name in at_rungs}}
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
    """What this process has used, as the block goes on, from a thread of its own."""
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
    except OSError:  # it ended meanwhile
        return 0
    return int(fields[11]) + int(fields[12])


def _print(runs: Mapping[tuple[str, int], Run], asked: argparse.Namespace) -> None:
    print(
        f"\n{time.strftime('%d %B %Y')}, {os.cpu_count()} CPUs ({platform.machine()}), "
        f"{asked.slots} trials at a time, {len(REPORTS)} reports a trial, {len(RUNGS)} of them at "
        f"rungs; load now {os.getloadavg()[0]:.1f}. Of the driver's process; the first "
        f"{WARM_UP_TRIALS} trials do not count:\n"
    )
    head = ("", "trials", "wall ms/report", "CPU ms/report", "of it MLflow's thread",
            "CPU to bare", "MiB per 100 trials", "MLflow behind at the end, s")  # fmt: skip
    rows = []
    for (kind, n), run in runs.items():
        cpu, bare = (each.per_report_ms("cpu_s") for each in (run, runs["bare Ray Tune", n]))
        mlflow = run.per_report_ms("mlflow_cpu_s")
        wall = run.per_report_ms("wall_s")
        rows.append((kind, f"{n:,}", f"{wall:.1f}", f"{cpu:.2f}", f"{mlflow:.2f}",
                     f"{cpu / bare:.2f}x", f"{run.mib_per_100_trials:.2f}",
                     f"{run.drain_s:.0f}"))  # fmt: skip
    _print_table(head, rows)
    print("\nOver the largest run, CPU ms a report and MiB of memory, by trials so far:\n")
    largest = max(n for _, n in runs)
    edges = [round(e) for e in np.geomspace(WARM_UP_TRIALS, largest, _POINTS + 1)]
    kinds = list(dict.fromkeys(kind for kind, _ in runs))
    names = [name for kind in kinds for name in (f"{kind}, CPU", f"{kind}, MiB")]
    rows = []
    for since, until in pairwise(edges):
        row = [f"{since:,} to {until:,}"]
        for kind in kinds:
            run = runs[kind, largest]
            there = [s for s in run.counted if s.reports <= until * len(REPORTS)]
            row += [f"{run.per_report_ms('cpu_s', since, until):.2f}", f"{there[-1].rss_mib:.0f}"]
        rows.append(tuple(row))
    _print_table(("trials", *names), rows)


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for cells in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
