"""Full-length curves of real trials, recorded once: ``python -m benchmarks.efficiency.curves``.

Draws trials of ``search_spaces/mixed.yaml`` at random, trains each to the end whatever it scores,
and scores it on the way at all steps where a rung of any setting lies. At the end it is scored once
more for the truth, by stronger critics on data that nothing else reads. A trial is a line of
``mixed_digits.jsonl``; those that are there already are not trained again.

``python -m benchmarks.efficiency`` replays them. Two numbers may be given: of trials, and of
processes.
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
from trainables.trial import GENERATOR, Schedule, final_score, run, start_worker
from tuner.space import SearchSpec, read_spec
from tuner.study import propose

SPACE = Path(__file__).parents[2] / "search_spaces" / "mixed.yaml"
TABLE = Path(__file__).with_name("mixed_digits.jsonl")
NUM_TRIALS = 153
#: The rungs of reduction factors 2, 3 and 4 from 75 generator steps, of 4 from 150 and from 19, and
#: of 2 from 38.
SCORED_AT = (19, 38, 75, 150, 225, 300, 600, 675, 1200)
#: The truth's critics: of two seeds that no search here uses, each as strong as the final's.
TRUTH_SEEDS = (101, 102)


@dataclass(frozen=True)
class Curve:
    """A trial that was trained to the end.

    ``params`` are what was drawn, by dotted key; ``reports`` what it reported, by generator step;
    ``truth`` is its ``w1`` by the truth's critics at the end, infinite if it diverged before.
    """

    number: int
    params: Mapping[str, Any]
    reports: Mapping[int, Mapping[str, float]]
    truth: float

    @property
    def has_diverged(self) -> bool:
        """Whether it was over before its time."""
        return math.isinf(self.truth)


def recorded(path: Path = TABLE) -> list[Curve]:
    """The curves in the table, by number."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    curves = []
    for line in map(json.loads, lines):
        reports = {int(steps): report for steps, report in line["reports"].items()}
        truth = math.inf if line["truth"] is None else line["truth"]
        curves.append(Curve(line["number"], line["params"], reports, truth))
    return sorted(curves, key=lambda curve: curve.number)


@cache
def space() -> SearchSpec:
    """The search space, drawn from at random."""
    return read_spec(SPACE, ["search.sampler=random", "search.num_trials=1000000"])


@cache
def _data() -> Data:
    return load(space().data)


def record(number: int) -> dict[str, Any]:
    """Train a trial to the end: its line of the table."""
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
                key: _short(metrics[key]) for key in KEPT & metrics.keys()
            }
            if metrics["generator_steps"] == SCORED_AT[-1] and report.save is not None:
                report.save(Path(scratch))
                truth = _short(
                    statistics.fmean(
                        final_score(Path(scratch) / GENERATOR, data, _truth(seed), device).w1
                        for seed in TRUTH_SEEDS
                    )
                )
    return {"number": number, "params": drawn.params, "truth": truth, "reports": reports}


KEPT = {"w1", "w1_stderr", "critic_estimate", "training_cpu_seconds", "scoring_cpu_seconds"}


def _truth(seed: int) -> ObjectiveConfig:
    return space().objective.model_copy(update={"seed": seed})


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def main() -> None:
    """Record what is missing of the first so many trials."""
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
