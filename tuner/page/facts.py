"""What a report says of a search in numbers: places, fates, what it cost, who was ahead.

``w1`` at different rungs does not compare, so that whatever is compared here is at one rung.
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

#: The fate of a trial that the time budget ended between two rungs, and of one that has not ended.
OUT_OF_TIME, UNDER_WAY = "out of time", "under way"
#: Scores by generator step.
Curve = Mapping[int, float]


@final
@dataclass(frozen=True)
class Facts:
    """A search, as its report looks at it."""

    search: Snapshot

    @cached_property
    def curves(self) -> dict[int, Curve]:
        """The ``w1`` of each trial's rungs, by its number; a trial without one is left out."""
        is_w1 = self.search.spec.objective.metric == "w1"
        found: dict[int, Curve] = {}
        for trial in self.search.trials:
            reports = self.search.reports.get(trial.number, {})
            curve = dict(trial.scores) if is_w1 else {}
            curve |= {s: r["w1"] for s, r in reports.items() if "w1" in r}
            curve = {s: w1 for s, w1 in sorted(curve.items()) if math.isfinite(w1)}
            if curve:
                found[trial.number] = curve
        return found

    @cached_property
    def places(self) -> list[Trial]:
        """All trials, the best first: by the final, then by their scores, then by how far they got.

        Of two that were stopped, the one that reached the later rung, then the lower ``w1`` there.
        """
        completed = placed(self.search.trials)
        known = {t.number for t in completed}
        others = [t for t in self.search.trials if t.number not in known]
        return [*completed, *sorted(others, key=self._how_far)]

    def _how_far(self, trial: Trial) -> tuple[float, ...]:
        curve = self.curves.get(trial.number)
        if curve is None:
            return (1, 0, 0, trial.number)
        last = max(curve)
        return (0, -last, curve[last], trial.number)

    @cached_property
    def place_of(self) -> dict[int, int]:
        """Each trial's place by its number, from 1."""
        return {trial.number: place for place, trial in enumerate(self.places, start=1)}

    @property
    def rungs(self) -> tuple[int, ...]:
        """Generator steps at which trials are scored."""
        return self.search.spec.asha.rungs

    @property
    def last_rung(self) -> int:
        """The one that completes a trial."""
        return self.rungs[-1]

    def fate(self, trial: Trial) -> str:
        """How it went: its status, and of a stopped one the rung that did not let it pass."""
        if trial.status == "stopped":
            is_judged = trial.generator_steps in self.rungs
            return f"stopped at {trial.generator_steps:,}" if is_judged else OUT_OF_TIME
        return trial.status or UNDER_WAY

    @property
    def completed(self) -> list[Trial]:
        """The completed trials by their score."""
        return results.ranked(self.search.trials)

    def w1_at(self, steps: int) -> dict[int, float]:
        """The ``w1`` at a rung by trial number, of all that were scored there."""
        return {n: curve[steps] for n, curve in self.curves.items() if steps in curve}

    @cached_property
    def first_scored_rung(self) -> int:
        """The rung at which the most trials were scored; the first, unless brackets skip it."""
        return max(self.rungs, key=lambda steps: (len(self.w1_at(steps)), -steps))

    @property
    def cut_off(self) -> "list[Ahead]":
        """Trials that the time budget ended while ahead of the best by more than the error."""
        best, found = self.search.best, []
        if best is None:
            return []
        for trial in self.search.trials:
            steps = last_common_rung(self, trial, best)
            if steps is None or self.fate(trial) != OUT_OF_TIME:
                continue
            w1, best_w1 = (self.curves[t.number][steps] for t in (trial, best))
            reports = [self.search.reports.get(t.number, {}).get(steps, {}) for t in (trial, best)]
            error = math.hypot(*(report.get("w1_stderr", 0.0) for report in reports))
            if w1 < best_w1 - results.half_width(error):
                found.append(Ahead(trial, steps, w1, best_w1))
        return sorted(found, key=lambda ahead: ahead.w1 - ahead.best_w1)

    @property
    def median(self) -> Trial | None:
        """The middle one of the completed trials; of an even number, the worse of the two."""
        return self.completed[len(self.completed) // 2] if self.completed else None

    @property
    def stderr_at_rung(self) -> float | None:
        """The standard error of the best trial's ``w1`` at its last rung."""
        best = self.search.best
        return None if best is None else best.metrics.get("w1_stderr")


@final
@dataclass(frozen=True)
class Ahead:
    """A trial that did better than the best one at the last rung that both reached."""

    trial: Trial
    steps: int
    w1: float
    best_w1: float


def last_common_rung(facts: Facts, one: Trial, other: Trial) -> int | None:
    """The last rung at which both were scored."""
    both = facts.curves.get(one.number, {}).keys() & facts.curves.get(other.number, {}).keys()
    return max(both, default=None)


@final
@dataclass(frozen=True)
class Cost:
    """What a search took. CPU seconds are as the trials' processes counted them."""

    wall_s: float
    training_cpu_s: float
    scoring_cpu_s: float
    final_s: float
    generator_steps: int
    saved_steps: int

    @property
    def saved_share(self) -> float:
        """Of the steps that all trials would have taken had none been stopped early."""
        return self.saved_steps / max(1, self.saved_steps + self.generator_steps)


def cost(facts: Facts) -> Cost:
    """Add up what all trials took."""
    trials = facts.search.trials
    # Stopped by a rung, that is; what the time budget cut off was not saved but is lacking.
    stopped = [
        t.generator_steps for t in trials if t.status == "stopped" and facts.fate(t) != OUT_OF_TIME
    ]

    def total(key: str, instead: str) -> float:
        return math.fsum(t.metrics.get(key, t.metrics.get(instead, 0.0)) for t in trials)

    return Cost(
        wall_s=facts.search.elapsed_s,
        training_cpu_s=total("training_cpu_seconds", "training_seconds"),
        scoring_cpu_s=total("scoring_cpu_seconds", "scoring_seconds"),
        final_s=math.fsum(t.final.get("final_scoring_seconds", 0.0) for t in trials if t.final),
        generator_steps=sum(t.generator_steps for t in trials),
        saved_steps=sum(facts.last_rung - steps for steps in stopped),
    )


@final
@dataclass(frozen=True)
class WrongPick:
    """What the trials' own critics would have picked at one rung, out of those scored there.

    ``place`` is its true one by ``w1``, ``alike`` the share of pairs that both order alike, from
    Kendall's tau-b; half of them where one has no order at all.
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
    """By trial number: what its own critic said at a rung, and ``w1`` there."""
    found = {}
    for number, w1 in facts.w1_at(steps).items():
        estimate = facts.search.reports.get(number, {}).get(steps, {}).get("critic_estimate")
        if estimate is not None and math.isfinite(estimate):
            found[number] = (estimate, w1)
    return found


def wrong_pick(facts: Facts, steps: int) -> WrongPick | None:
    """Compare the two orders at a rung; ``None`` with fewer than two trials."""
    pairs = estimates_at(facts, steps)
    if len(pairs) < 2:
        return None
    picked = min(pairs, key=lambda n: pairs[n])
    best = min(pairs, key=lambda n: pairs[n][1])
    correlation: Any = kendalltau(*zip(*pairs.values(), strict=True))
    tau = float(correlation.statistic)
    return WrongPick(
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
