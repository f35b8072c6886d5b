"""Replay a search on recorded trials: the real sampler and scheduler, without training.

Each proposal of the sampler is replaced by the nearest recorded trial that is not taken yet, and
the sampler sees the parameters of that trial. Workers take the CPU seconds that were recorded.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from typing import Any, Literal, Protocol
from unittest.mock import patch

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from benchmarks.efficiency.curves import SCORED_AT, SPACE, Curve
from tuner.cluster import Decision, make_halving
from tuner.space import Choice, Domain, SearchSpec, is_integer, read_spec
from tuner.study import STATES, SamplerView, Status, propose

#: The trials with the lowest ``w1`` at the last rung, of which the final picks one.
NUM_FINALISTS = 3
#: The number of trials in ``mixed.yaml``.
NUM_TRIALS = 60
#: Seconds in which a promoted trial loads its checkpoint, in a worker that runs already.
RESUME_SECONDS = 0.5


class StoppingRule(Protocol):
    """A rule that stops trials at rungs."""

    @property
    def top_generator_steps(self) -> int:
        """Return the last rung in use, whose best trials are the finalists."""
        ...

    def continues(self, number: int, steps: int, report: Mapping[str, float]) -> bool:
        """Record a trial's report at a rung, and return whether the trial continues."""
        ...


class SearchAsha:
    """ASHA as a search runs it, which may promote trials that did not continue."""

    def __init__(self, spec: SearchSpec, seed: int) -> None:
        self._asha = make_halving(spec.asha, seed)
        self._objective = spec.objective
        self.top_generator_steps = spec.asha.max_generator_steps

    def continues(self, number: int, steps: int, report: Mapping[str, float]) -> bool:
        """Record a report, and return whether the trial continues; it never does at the last."""
        score = self._objective.score_of(report)
        return self._asha.report(number, steps, score) is Decision.CONTINUE

    def promote(self, waiting: Collection[int]) -> int | None:
        """Return the number of a trial that continues; ``None`` for none."""
        return self._asha.promote(waiting)


@dataclass(frozen=True)
class Setting:
    """The settings of a search.

    ``overrides`` change ``mixed.yaml``. ``metric`` ranks the trials. ``stopping_rule`` creates the
    rule that stops them, from the search and a seed. ``num_startup`` is the number of TPE's random
    first trials.
    """

    name: str
    overrides: Sequence[str] = ()
    metric: Literal["independent_critic", "critic_estimate"] = "independent_critic"
    stopping_rule: Callable[[SearchSpec, int], StoppingRule] = SearchAsha
    num_startup: int | None = None

    @cached_property
    def spec(self) -> SearchSpec:
        """Return the search with these settings."""
        spec = read_spec(SPACE, ["search.num_trials=1000000", *self.overrides])
        # Not an override, which would be refused for the own critic's estimate in this space.
        objective = spec.objective.model_copy(update={"name": self.metric})
        return spec.model_copy(update={"objective": objective})


@dataclass(frozen=True)
class Pick:
    """The trial that the final would pick at some time, and the cost until then.

    ``generator_steps`` are those of all trials, and ``seconds`` is the wall time. Both include the
    completion of finalists that were stopped early. ``truth`` is the true score of the pick. All
    are infinite if there is no pick.
    """

    generator_steps: float = math.inf
    seconds: float = math.inf
    num_trials: float = math.inf
    truth: float = math.inf


@dataclass(frozen=True)
class Outcome:
    """The outcome of one search: each change of the pick, and the pick after ``NUM_TRIALS``."""

    picks: tuple[Pick, ...]
    after_num_trials: Pick

    def first(self, within: float) -> Pick:
        """Return the first pick whose truth is at most ``within``, or one of infinite cost."""
        return next((pick for pick in self.picks if pick.truth <= within), Pick())


class Table:
    """The recorded curves; a replay takes each at most once."""

    def __init__(self, curves: Sequence[Curve], domains: Mapping[str, Domain]) -> None:
        self.curves = curves
        self._columns = {key: column for column, key in enumerate(domains)}
        self._domains = domains
        self._points = np.stack([self._point(curve.params) for curve in curves])
        self.best_truth = min(curve.truth for curve in curves)

    def _point(self, params: Mapping[str, Any]) -> np.ndarray:
        """Map parameters to [0, 1], choices to their index, and parameters not set to NaN."""
        point = np.full(len(self._columns), np.nan)
        for key, value in params.items():
            point[self._columns[key]] = _position(self._domains[key], value)
        return point

    def nearest(self, params: Mapping[str, Any], taken: np.ndarray) -> int:
        """Return the index of the nearest curve that is not taken.

        The distance is Euclidean; different choices, and a parameter that only one has, count 1.
        """
        proposal = self._point(params)
        is_choice = np.array([isinstance(d, Choice) for d in self._domains.values()])
        differences = np.where(is_choice, self._points != proposal, np.abs(self._points - proposal))
        both_missing = np.isnan(self._points) & np.isnan(proposal)
        one_missing = np.isnan(differences)
        differences = np.where(both_missing, 0.0, np.where(one_missing, 1.0, differences))
        distances = np.where(taken, np.inf, np.square(differences).sum(1))
        return int(distances.argmin())


def _position(domain: Domain, value: Any) -> float:
    if isinstance(domain, Choice):
        return float(domain.choice.index(value))
    if domain.log:
        return math.log(value / domain.low) / math.log(domain.high / domain.low)
    return (value - domain.low) / (domain.high - domain.low)


@dataclass
class _Running:
    number: int
    index: int
    curve: Curve
    frozen: FrozenTrial
    rungs: list[int] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)


class Replay:
    """One search over the table, from a seed."""

    def __init__(self, setting: Setting, table: Table, seed: int) -> None:
        self._table, self._num_startup = table, setting.num_startup
        self._spec = setting.spec.model_copy(
            update={"search": setting.spec.search.model_copy(update={"seed": seed})}
        )
        self._stopping_rule = setting.stopping_rule(self._spec, seed)
        self._taken = np.zeros(len(table.curves), bool)
        self._trials: list[FrozenTrial] = []
        self._sampler_view = SamplerView(promotes=self._spec.asha.promotes)
        self._scores_at: dict[int, list[tuple[float, int]]] = defaultdict(list)
        self._waiting: dict[int, _Running] = {}

    def run(self, num_workers: int, until: float) -> Outcome:
        """Search until the pick's truth is at most ``until`` and ``NUM_TRIALS`` trials ended."""
        events: list[tuple[float, int, _Running | None]] = []
        picks, after = [Pick()], Pick()
        order, steps, ended = count(), 0, set[int]()
        for _ in range(num_workers):
            heapq.heappush(events, (0.0, next(order), None))
        while events:
            now_s, _, trial = heapq.heappop(events)
            if trial is not None:
                step = self._next_step(trial)
                steps += step - max(trial.scores, default=0)
                if self._passes(trial, step):
                    heapq.heappush(events, (now_s + self._seconds(trial), next(order), trial))
                    continue
                pick = self._pick(steps, now_s, num_workers)
                if pick.truth != picks[-1].truth:
                    picks.append(pick)
                is_new = trial.number not in ended
                ended.add(trial.number)
                if is_new and len(ended) == NUM_TRIALS:
                    after = pick
                if len(ended) >= NUM_TRIALS and pick.truth <= until:
                    break
            if (promoted := self._promote()) is not None:
                trial, now_s = self._waiting.pop(promoted), now_s + RESUME_SECONDS
            elif not self._taken.all():
                trial = self._propose()
            else:
                continue
            heapq.heappush(events, (now_s + self._seconds(trial), next(order), trial))
        return Outcome(tuple(picks[1:]), after)

    def _promote(self) -> int | None:
        rule = self._stopping_rule
        return rule.promote(self._waiting.keys()) if isinstance(rule, SearchAsha) else None

    def _pick(self, steps: int, now_s: float, num_workers: int) -> Pick:
        top, end = self._stopping_rule.top_generator_steps, self._spec.asha.max_generator_steps
        ranked = sorted(self._scores_at[top])
        finalists = [self._table.curves[i] for _, i in ranked[:NUM_FINALISTS]]
        if not finalists:
            return Pick()
        ends = [min(end, max(curve.reports)) for curve in finalists]
        seconds = [
            curve.reports[last]["training_cpu_seconds"]
            - curve.reports[_recorded(top)]["training_cpu_seconds"]
            for curve, last in zip(finalists, ends, strict=True)
        ]
        return Pick(
            steps + sum(ends) - _recorded(top) * len(ends),
            now_s + max(sum(seconds) / num_workers, *seconds, 0.0),
            len(self._trials),
            min(curve.truth for curve in finalists),
        )

    def _propose(self) -> _Running:
        number = len(self._trials)
        points = self._spec.first_points
        point = points[number] if number < len(points) else None
        with _startup(self._num_startup):
            drawn, _ = propose(self._spec, number, self._sampler_view.select(self._trials), point)
        index = self._table.nearest(drawn.params, self._taken)
        self._taken[index] = True
        curve = self._table.curves[index]
        frozen = optuna.trial.create_trial(
            state=TrialState.RUNNING, params=dict(curve.params),
            distributions={key: _distribution(self._spec.domains[key]) for key in curve.params},
        )  # fmt: skip
        frozen.number = number
        self._trials.append(frozen)
        self._sampler_view.update(frozen)
        return _Running(number, index, curve, frozen, list(self._spec.asha.rungs))

    def _next_step(self, trial: _Running) -> int:
        """Return the step of the trial's next event: a rung, or an earlier divergence."""
        return min(_recorded(trial.rungs[0]), max(trial.curve.reports))

    def _seconds(self, trial: _Running) -> float:
        """Return the CPU seconds until the trial's next event, including the scoring there."""
        reports, after = trial.curve.reports, self._next_step(trial)
        before = [steps for steps in reports if steps < after]
        seconds = reports[after]["training_cpu_seconds"]
        if trial.scores:
            seconds -= reports[max(trial.scores)]["training_cpu_seconds"]
        scored = reports[after]["scoring_cpu_seconds"]
        return seconds + scored - (reports[max(before)]["scoring_cpu_seconds"] if before else 0)

    def _passes(self, trial: _Running, steps: int) -> bool:
        """Apply the stopping rule at a rung, and update the sampler's view as a search does."""
        report, frozen = trial.curve.reports[steps], trial.frozen
        score = self._spec.objective.score_of(report)
        if score is None or steps != _recorded(trial.rungs[0]):
            self._end(frozen, "diverged")
            return False
        trial.scores[steps] = score
        frozen.intermediate_values[steps] = score
        self._sampler_view.update(frozen)
        rung = trial.rungs.pop(0)
        self._scores_at[rung].append((score, trial.index))
        continues = self._stopping_rule.continues(trial.number, rung, report)
        if not trial.rungs:
            self._end(frozen, "completed", score)
            return False
        if not continues:
            self._waiting[trial.number] = trial
            # To the sampler a trial that waits is one that was stopped.
            self._end(frozen, "stopped")
        return continues

    def _end(self, frozen: FrozenTrial, status: Status, value: float | None = None) -> None:
        frozen.user_attrs["ending"] = {"status": status}
        frozen.state, frozen.value = STATES[status], value
        self._sampler_view.update(frozen)


def _recorded(rung: int) -> int:
    """Return the recorded step nearest to a rung; it is within 2% of it."""
    return min(SCORED_AT, key=lambda steps: abs(steps - rung))


def _distribution(domain: Domain) -> optuna.distributions.BaseDistribution:
    if isinstance(domain, Choice):
        return optuna.distributions.CategoricalDistribution(domain.choice)
    if is_integer(domain):
        return optuna.distributions.IntDistribution(int(domain.low), int(domain.high), domain.log)
    return optuna.distributions.FloatDistribution(domain.low, domain.high, domain.log)


def _startup(num_trials: int | None) -> AbstractContextManager[object]:
    """Set the number of TPE's random first trials, for which a search has no key."""
    if num_trials is None:
        return nullcontext()
    sampler = partial(optuna.samplers.TPESampler, n_startup_trials=num_trials)
    return patch.object(optuna.samplers, "TPESampler", sampler)
