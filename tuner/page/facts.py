"""Derive the numbers of a report from a search: places, outcomes, costs, comparisons.

Values of ``w1`` at different rungs are not comparable, so all comparisons are at one rung.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from scipy.stats import kendalltau

from tuner import results
from tuner.results import Snapshot, placed
from tuner.study import Trial

#: The outcomes of a trial that the budget ended between two rungs, and of one that has not ended.
OUT_OF_BUDGET, RUNNING, WAITING = "out of budget", "running", "waiting"
#: ``w1`` by generator step.
Curve = Mapping[int, float]


@final
@dataclass(frozen=True)
class Facts:
    """The numbers of a search that its report shows."""

    search: Snapshot

    @cached_property
    def curves(self) -> dict[int, Curve]:
        """Return the ``w1`` at the rungs by trial number, without trials that have none."""
        is_w1 = self.search.spec.objective.metric == "w1"
        curves: dict[int, Curve] = {}
        for trial in self.search.trials:
            reports = self.search.reports.get(trial.number, {})
            curve = dict(trial.scores) if is_w1 else {}
            curve |= {s: r["w1"] for s, r in reports.items() if "w1" in r}
            curve = {s: w1 for s, w1 in sorted(curve.items()) if math.isfinite(w1)}
            if curve:
                curves[trial.number] = curve
        return curves

    @cached_property
    def places(self) -> list[Trial]:
        """Return all trials, the best first.

        Completed trials are sorted by :func:`tuner.results.placed`. The others follow, sorted by
        the last rung that they reached, then by ``w1`` there.
        """
        completed = placed(self.search.trials)
        numbers = {t.number for t in completed}
        others = [t for t in self.search.trials if t.number not in numbers]
        return [*completed, *sorted(others, key=self._by_progress)]

    def _by_progress(self, trial: Trial) -> tuple[float, ...]:
        curve = self.curves.get(trial.number)
        if curve is None:
            return (1, 0, 0, trial.number)
        last = max(curve)
        return (0, -last, curve[last], trial.number)

    @cached_property
    def place_of(self) -> dict[int, int]:
        """Return the place of each trial, from 1, by its number."""
        return {trial.number: place for place, trial in enumerate(self.places, start=1)}

    @property
    def rungs(self) -> tuple[int, ...]:
        """Return the generator steps at which trials are scored."""
        return self.search.spec.asha.rungs

    @property
    def last_rung(self) -> int:
        """Return the rung at which a trial is completed."""
        return self.rungs[-1]

    def outcome(self, trial: Trial) -> str:
        """Return the status of a trial; for a stopped one, with the rung that stopped it."""
        if trial.status == "stopped":
            is_judged = trial.generator_steps in self.rungs
            return f"stopped at {trial.generator_steps:,}" if is_judged else OUT_OF_BUDGET
        return trial.shown_status

    @property
    def completed(self) -> list[Trial]:
        """Return the completed trials sorted by score."""
        return results.ranked(self.search.trials)

    def w1_at(self, steps: int) -> dict[int, float]:
        """Return the ``w1`` at a rung by trial number, for all trials that reached it."""
        return {n: curve[steps] for n, curve in self.curves.items() if steps in curve}

    @cached_property
    def first_scored_rung(self) -> int:
        """Return the rung that the most trials reached: the first, unless brackets skip it."""
        return max(self.rungs, key=lambda steps: (len(self.w1_at(steps)), -steps))

    @property
    def cut_off(self) -> "list[CutOffTrial]":
        """Return the trials that the budget ended while significantly ahead of the best."""
        best, ahead = self.search.best, []
        if best is None:
            return []
        for trial in self.search.trials:
            steps = last_common_rung(self, trial, best)
            if steps is None or self.outcome(trial) != OUT_OF_BUDGET:
                continue
            w1, best_w1 = (self.curves[t.number][steps] for t in (trial, best))
            reports = [self.search.reports.get(t.number, {}).get(steps, {}) for t in (trial, best)]
            error = math.hypot(*(report.get("w1_stderr", 0.0) for report in reports))
            if w1 < best_w1 - results.half_width(error):
                ahead.append(CutOffTrial(trial, steps, w1, best_w1))
        return sorted(ahead, key=lambda cut: cut.w1 - cut.best_w1)

    @property
    def median(self) -> Trial | None:
        """Return the median of the completed trials; the worse of the two middle ones."""
        return self.completed[len(self.completed) // 2] if self.completed else None

    @property
    def stderr_at_rung(self) -> float | None:
        """Return the standard error of the best trial's ``w1`` at its best rung."""
        best = self.search.best
        if best is None:
            return None
        reports = self.search.reports.get(best.number, {})
        return reports.get(best.best_rung or 0, best.metrics).get("w1_stderr")

    def best_rung(self, trial: Trial) -> int | None:
        """Return the best rung of a trial; if it was not ranked there, the last one with ``w1``."""
        curve = self.curves.get(trial.number, {})
        return trial.best_rung if trial.best_rung in curve else max(curve, default=None)


@final
@dataclass(frozen=True)
class CutOffTrial:
    """A trial with a lower ``w1`` than the best one at the last rung that both reached."""

    trial: Trial
    steps: int
    w1: float
    best_w1: float


def last_common_rung(facts: Facts, one: Trial, other: Trial) -> int | None:
    """Return the last rung at which both trials were scored, or ``None``."""
    common = facts.curves.get(one.number, {}).keys() & facts.curves.get(other.number, {}).keys()
    return max(common, default=None)


@final
@dataclass(frozen=True)
class Cost:
    """The cost of a search. CPU seconds are measured by the trials' processes."""

    wall_s: float
    training_cpu_s: float
    scoring_cpu_s: float
    final_cpu_s: float
    generator_steps: int
    saved_steps: int

    @property
    def saved_share(self) -> float:
        """Return the saved steps as a share of the steps without early stopping."""
        return self.saved_steps / max(1, self.saved_steps + self.generator_steps)


def cost(facts: Facts) -> Cost:
    """Sum the costs of all trials, and of the final where its CPU time was measured."""
    trials, floor = facts.search.trials, facts.search.final_floor
    finals = [
        t.final.get(key, 0.0)
        for t in trials
        if t.final
        for key in ("final_scoring_cpu_seconds", "final_seeds_cpu_seconds")
    ]
    # Only trials that a rung stopped count as savings, not those that the budget ended.
    stopped = [
        t.generator_steps
        for t in trials
        if t.status == "stopped" and facts.outcome(t) != OUT_OF_BUDGET
    ]

    def total(key: str, fallback: str) -> float:
        return math.fsum(t.metrics.get(key, t.metrics.get(fallback, 0.0)) for t in trials)

    return Cost(
        wall_s=facts.search.elapsed_s,
        training_cpu_s=total("training_cpu_seconds", "training_seconds"),
        scoring_cpu_s=total("scoring_cpu_seconds", "scoring_seconds"),
        final_cpu_s=math.fsum([*finals, floor.cpu_seconds if floor else 0.0]),
        generator_steps=sum(t.generator_steps for t in trials),
        saved_steps=sum(facts.last_rung - steps for steps in stopped),
    )


@final
@dataclass(frozen=True)
class CriticPick:
    """The trial that the lowest estimate of the trials' own critics selects at one rung.

    ``place`` is its place by ``w1``. ``alike`` is the share of pairs of trials that both measures
    order alike, (1 + tau) / 2 for Kendall's tau-b; 0.5 if all values of a measure are equal.
    """

    steps: int
    trial: Trial
    estimate: float
    w1: float
    best: Trial
    best_w1: float
    place: int
    num_trials: int
    alike: float


def estimates_at(facts: Facts, steps: int) -> dict[int, tuple[float, float]]:
    """Return each trial's own critic's estimate at a rung, and its ``w1`` there, by number."""
    estimates = {}
    for number, w1 in facts.w1_at(steps).items():
        estimate = facts.search.reports.get(number, {}).get(steps, {}).get("critic_estimate")
        if estimate is not None and math.isfinite(estimate):
            estimates[number] = (estimate, w1)
    return estimates


def critic_pick(facts: Facts, steps: int) -> CriticPick | None:
    """Compare the orders by the own critics and by ``w1``; ``None`` for fewer than two trials."""
    pairs = estimates_at(facts, steps)
    if len(pairs) < 2:
        return None
    picked = min(pairs, key=lambda n: pairs[n])
    best = min(pairs, key=lambda n: pairs[n][1])
    correlation: Any = kendalltau(*zip(*pairs.values(), strict=True))
    tau = float(correlation.statistic)
    return CriticPick(
        steps=steps,
        trial=facts.search.trials[picked],
        estimate=pairs[picked][0],
        w1=pairs[picked][1],
        best=facts.search.trials[best],
        best_w1=pairs[best][1],
        place=1 + sum(w1 < pairs[picked][1] for _, w1 in pairs.values()),
        num_trials=len(pairs),
        alike=0.5 if math.isnan(tau) else (1 + tau) / 2,
    )
