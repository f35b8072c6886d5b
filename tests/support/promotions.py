"""The jobs of a search whose trials are promoted, by the paper's Algorithm 2 from its reports."""

import json
from pathlib import Path

#: Trials are promoted from the first two to the next.
RUNGS = (5, 10, 20)


def rung_reports(run_dir: Path) -> list[tuple[int, int, float]]:
    """All reports at rungs in their order: the trial, the rung and its score."""
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [(one["trial"], int(one["generator_steps"]), one["w1"]) for one in lines if "w1" in one]


def by_algorithm_2(reports: list[tuple[int, int, float]], num_trials: int) -> list[tuple[int, int]]:
    """Each job of the one worker: the trial, and the rung that it trains to.

    The paper's ``get_job`` (Li et al. 2020) with a reduction factor of 2. It is asked once before
    the first report, and after each.
    """
    jobs, scores, promoted = [], dict[int, dict[int, float]](), {rung: set() for rung in RUNGS}
    for reported in [None, *reports]:
        if reported is not None:
            number, rung, score = reported
            scores.setdefault(rung, {})[number] = score
        job = None
        for k in [rung for rung in RUNGS[-2::-1] if rung in scores]:
            top = sorted(scores[k], key=lambda n, k=k: scores[k][n])[: len(scores[k]) // 2]
            if free := [number for number in top if number not in promoted[k]]:
                promoted[k].add(free[0])
                job = free[0], 2 * k
                break
        if job is None and (new := sum(rung == RUNGS[0] for _, rung in jobs)) < num_trials:
            job = new, RUNGS[0]
        jobs += [] if job is None else [job]
    return jobs
