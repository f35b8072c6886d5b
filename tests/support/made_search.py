"""Searches made up for their reports: what trials scored is known, and nothing was trained."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tuner.page.facts import Facts
from tuner.results.pictures import picture_name
from tuner.results.snapshot import Snapshot
from tuner.space.domains import Choice, Domain, Range
from tuner.space.spec import SearchSpec
from tuner.study.importances import Point
from tuner.study.trial import Status, Trial

FLOOR = {"w1_floor": 0.2, "w1_floor_stderr": 0.05}
UNIT = Range[float](low=0.0, high=1.0)
DOMAINS = {"training.a": UNIT, "training.b": UNIT, "training.c": Choice(choice=("x", "y"))}


def trial(
    spec: SearchSpec,
    number: int,
    w1: Sequence[float],
    status: Status | None = "stopped",
    final: float | None = None,
    values: Mapping[str, Any] | None = None,
    message: str | None = None,
) -> Trial:
    """A trial with a ``w1`` for each rung from the first on; the values left out are the first."""
    params: dict[str, Any] = {}

    def pick(key: str, domain: Domain) -> Any:
        first = domain.choice[0] if isinstance(domain, Choice) else domain.low
        return params.setdefault(key, (values or {}).get(key, first))

    config = spec.trial_config(spec.choose(pick), seed=number)
    scores = dict(zip(spec.asha.rungs, w1, strict=False))
    steps = max(scores, default=10)
    metrics = {
        "generator_steps": float(steps), "training_seconds": steps / 10, "scoring_seconds": 1.0,
        "training_cpu_seconds": steps / 20, "scoring_cpu_seconds": 0.5,
        **({"w1": w1[-1], "w1_stderr": 0.01, "critic_estimate": -w1[-1]} if w1 else {}),
    }  # fmt: skip
    seconds = {"final_scoring_seconds": 3.0, "final_scoring_cpu_seconds": 2.0}
    scored = final and {"w1_final": final, "w1_final_stderr": 0.02, **seconds}
    return Trial(number, config, params, scores, status, metrics, message, (), scored or None)


def of_every_end(spec: SearchSpec) -> list[Trial]:
    """Eight trials, of which each rung and each way to end has some; two were in the final."""
    return [
        trial(spec, 0, [3.0, 2.0, 1.0], "completed", final=1.1),
        trial(spec, 1, [4.0, 2.5, 0.9], "completed", final=1.3),
        trial(spec, 2, [2.0, 1.5, 1.2], "completed"),
        trial(spec, 3, [5.0, 3.0]),
        trial(spec, 4, [9.0]),
        trial(spec, 5, [], "diverged"),
        trial(spec, 6, [6.0], None),
        trial(spec, 7, [], "failed"),
    ]


def facts(
    spec: SearchSpec,
    trials: Sequence[Trial],
    run_dir: Path = Path("/nowhere/search"),
    estimate: Callable[[float], float] = lambda w1: -w1,
    **more: Any,
) -> Facts:
    """A search of these trials; by default the own critics order them backwards."""
    reports = {
        t.number: {
            steps: {
                "generator_steps": float(steps), "w1": w1, "w1_stderr": 0.01,
                "critic_estimate": estimate(w1), "training_seconds": steps / 10,
            }
            for steps, w1 in t.scores.items()
        }
        for t in trials
    }  # fmt: skip
    known = {"floor": FLOOR, "elapsed_s": 60.0, "is_running": False, **more}
    return Facts(Snapshot(run_dir, spec, "id", tuple(trials), reports, **known))


def draw_samples(run_dir: Path, trials: Sequence[Trial]) -> None:
    """A picture at every rung of the trials."""
    for one in trials:
        folder = run_dir / "samples" / one.trial_id
        folder.mkdir(parents=True)
        for steps in one.scores:
            Image.new("L", (8, 4), 200).save(folder / picture_name(steps))


def points(score: Callable[[float, float, str], float], num: int = 80) -> list[Point]:
    """Trials at random values of ``DOMAINS``, with the scores that a function gives them."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(num):
        a, b, c = float(rng.random()), float(rng.random()), str(rng.choice(["x", "y"]))
        values = {"training.a": a, "training.b": b, "training.c": c}
        found.append(Point(values, score(a, b, c)))
    return found
