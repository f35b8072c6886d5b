"""Record full-length learning curves: ``python -m benchmarks.efficiency.curves [TRIALS [PROCS]]``.

Draws trials of ``search_spaces/mixed.yaml`` at random and trains each to the last step, whatever
its scores, with a score at each step that is a rung in any setting. At the end it gets its true
score, by stronger critics on data that nothing else uses. Each trial is a line of
``mixed_digits.jsonl``; trials that are in the file already are skipped.

``python -m benchmarks.efficiency`` replays the curves.
"""

import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna

from trainables.config import ObjectiveConfig
from trainables.data import Data, load
from trainables.trial import GENERATOR, Finalist, Schedule, run, start_worker
from tuner.space import SearchSpec, read_spec
from tuner.study import propose

SPACE = Path(__file__).parents[2] / "search_spaces" / "mixed.yaml"
TABLE = Path(__file__).with_name("mixed_digits.jsonl")
NUM_TRIALS = 500
#: All rungs of reduction factors 2, 3 and 4 from 75 generator steps, of 4 from 150 and from 19, and
#: of 2 from 38, in generator steps.
SCORED_AT = (19, 38, 75, 150, 225, 300, 600, 675, 1200)
#: The seeds of the critics of the true score, which no search here uses; each critic is as strong
#: as that of the final.
TRUTH_SEEDS = (101, 102)
_RECORDED_METRICS = {
    "w1", "w1_stderr", "critic_estimate", "training_cpu_seconds", "scoring_cpu_seconds",
}  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """The learning curve of a trial that was trained to the last step.

    ``params`` are its searched values by dotted key, and ``reports`` its reports by generator step.
    ``truth`` is its true score, the ``w1`` at the end by stronger critics; infinite if the trial
    diverged.
    """

    number: int
    params: Mapping[str, Any]
    reports: Mapping[int, Mapping[str, float]]
    truth: float

    @property
    def has_diverged(self) -> bool:
        """Return whether the trial diverged."""
        return math.isinf(self.truth)


def recorded(path: Path = TABLE) -> list[Curve]:
    """Read the curves in the table, sorted by number."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    curves = []
    for line in map(json.loads, lines):
        reports = {int(steps): report for steps, report in line["reports"].items()}
        truth = math.inf if line["truth"] is None else line["truth"]
        curves.append(Curve(line["number"], line["params"], reports, truth))
    return sorted(curves, key=lambda curve: curve.number)


@cache
def space() -> SearchSpec:
    """Return the search space, with the random sampler."""
    return read_spec(SPACE, ["search.sampler=random", "search.num_trials=1000000"])


@cache
def _data() -> Data:
    return load(space().data)


def record(number: int) -> dict[str, Any]:
    """Train a trial to the end, and return its line of the table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    points = space().first_points
    point = points[number] if number < len(points) else None
    drawn, config = propose(space(), number, [], point)
    schedule = Schedule(
        rungs=SCORED_AT,
        report_every_generator_steps=SCORED_AT[-1],
        checkpoint_every_generator_steps=SCORED_AT[-1],
    )
    data, device, reports, truth = _data(), start_worker(1, False), {}, None
    with tempfile.TemporaryDirectory() as scratch:
        for report in run(config, data, schedule, device):
            metrics = report.metrics
            reports[int(metrics["generator_steps"])] = {
                key: _rounded(metrics[key]) for key in _RECORDED_METRICS & metrics.keys()
            }
            if metrics["generator_steps"] == SCORED_AT[-1] and report.save is not None:
                report.save(Path(scratch))
                finalist = Finalist.load(Path(scratch) / GENERATOR, device)
                scores = [finalist.score(data, _objective(seed)).w1 for seed in TRUTH_SEEDS]
                truth = _rounded(statistics.fmean(scores))
    return {"number": number, "params": drawn.params, "truth": truth, "reports": reports}


def _objective(seed: int) -> ObjectiveConfig:
    return space().objective.model_copy(update={"seed": seed})


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def main() -> None:
    """Record those of the first trials that are not in the table."""
    num_trials = int(sys.argv[1]) if len(sys.argv) > 1 else NUM_TRIALS
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    missing = sorted({*range(num_trials)} - {curve.number for curve in recorded()})
    started_s = time.monotonic()
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool, TABLE.open("a") as table:
        running = [pool.submit(record, number) for number in missing]
        for done, future in enumerate(as_completed(running), start=1):
            line = future.result()
            table.write(json.dumps(line) + "\n")
            table.flush()
            taken_s = time.monotonic() - started_s
            print(
                f"{done}/{len(missing)} trial {line['number']}: truth {line['truth']}; "
                f"{taken_s:.0f} s, {taken_s / done * (len(missing) - done):.0f} s to go",
                flush=True,
            )


if __name__ == "__main__":
    main()
