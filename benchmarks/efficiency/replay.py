"""A search over recorded trials: the real sampler and scheduler, at no training cost.

What the sampler proposes becomes the recorded trial nearest to it that has not been taken yet, and
that is what the sampler is told it proposed. Workers take the CPU seconds that were recorded.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
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
from tuner.cluster import Asha, Decision
from tuner.space import Choice, Domain, SearchSpec, is_integer, read_spec
from tuner.study import STATES, SamplerView, Status, propose

#: Of these, by ``w1`` at the last rung, the final makes its choice.
NUM_FINALISTS = 3
#: As many as ``mixed.yaml`` asks for.
NUM_TRIALS = 60


class Stops(Protocol):
    """Whether a trial goes on past a rung; ``top_generator_steps`` is the last rung in use."""

    @property
    def top_generator_steps(self) -> int:
        """Where a trial is compared with the best."""
        ...

    def continues(self, number: int, steps: int, report: Mapping[str, float]) -> bool:
        """Be told a report at a rung, and say whether the trial goes on."""
        ...


class OurAsha:
    """The rule that searches stop their trials by."""

    def __init__(self, spec: SearchSpec, seed: int) -> None:
        self._asha = Asha(spec.asha, seed)
        self._objective = spec.objective
        self.top_generator_steps = spec.asha.max_generator_steps

    def continues(self, number: int, steps: int, report: Mapping[str, float]) -> bool:
        """Whether a trial goes on past a rung; it is stopped at the last one in any case."""
        score = self._objective.score_of(report)
        return self._asha.report(number, steps, score) is Decision.CONTINUE


@dataclass(frozen=True)
class Setting:
    """A way to search.

    ``overrides`` change ``mixed.yaml``; ``metric`` ranks the trials; ``stops`` makes what stops
    them; ``num_startup`` are TPE's first trials, which are random.
    """

    name: str
    overrides: Sequence[str] = ()
    metric: Literal["independent_critic", "critic_estimate"] = "independent_critic"
    stops: Callable[[SearchSpec, int], Stops] = OurAsha
    num_startup: int | None = None

    @cached_property
    def spec(self) -> SearchSpec:
        """The search that it is."""
        spec = read_spec(SPACE, ["search.num_trials=1000000", *self.overrides])
        # Not by an override: a search by the own critic's estimate would be refused.
        objective = spec.objective.model_copy(update={"name": self.metric})
        return spec.model_copy(update={"objective": objective})


@dataclass(frozen=True)
class Pick:
    """What the final would have picked after so much: its truth, infinite where there is none.

    ``generator_steps`` are of all trials, ``seconds`` the workers' wall time, both with what it
    takes to complete the finalists where the search stopped them before the end.
    """

    generator_steps: float = math.inf
    seconds: float = math.inf
    num_trials: float = math.inf
    truth: float = math.inf


@dataclass(frozen=True)
class Outcome:
    """One search: what would have been picked whenever that changed, and after so many trials."""

    picks: tuple[Pick, ...]
    after_num_trials: Pick

    def first(self, within: float) -> Pick:
        """The first pick that is good enough; one of infinite cost where there is none."""
        return next((pick for pick in self.picks if pick.truth <= within), Pick())


class Table:
    """Recorded curves, to be taken once each in a replay."""

    def __init__(self, curves: Sequence[Curve], domains: Mapping[str, Domain]) -> None:
        self.curves = curves
        self._columns = {key: column for column, key in enumerate(domains)}
        self._domains = domains
        self._points = np.stack([self._point(curve.params) for curve in curves])
        self.best_truth = min(curve.truth for curve in curves)

    def _point(self, params: Mapping[str, Any]) -> np.ndarray:
        """Parameters as numbers from 0 to 1, NaN where one does not apply, choices counted."""
        point = np.full(len(self._columns), np.nan)
        for key, value in params.items():
            point[self._columns[key]] = _position(self._domains[key], value)
        return point

    def nearest(self, params: Mapping[str, Any], taken: np.ndarray) -> int:
        """The curve nearest to a proposal of those not taken; a choice that differs counts 1."""
        wanted = self._point(params)
        is_choice = np.array([isinstance(d, Choice) for d in self._domains.values()])
        apart = np.where(is_choice, self._points != wanted, np.abs(self._points - wanted))
        both_missing = np.isnan(self._points) & np.isnan(wanted)
        apart = np.where(both_missing, 0.0, np.where(np.isnan(apart), 1.0, apart))
        distances = np.where(taken, np.inf, np.square(apart).sum(1))
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
    """One search over the table, from a seed, on so many workers at a time."""

    def __init__(self, setting: Setting, table: Table, seed: int) -> None:
        self._table, self._num_startup = table, setting.num_startup
        self._spec = setting.spec.model_copy(
            update={"search": setting.spec.search.model_copy(update={"seed": seed})}
        )
        self._stops = setting.stops(self._spec, seed)
        self._taken = np.zeros(len(table.curves), bool)
        self._trials: list[FrozenTrial] = []
        self._sampler_view = SamplerView()
        self._at: dict[int, list[tuple[float, int]]] = defaultdict(list)

    def run(self, num_workers: int, until: float) -> Outcome:
        """Search until the pick is as good as ``until``, and ``NUM_TRIALS`` trials have ended."""
        events: list[tuple[float, int, _Running | None]] = []
        picks, after = [Pick()], Pick()
        order, steps, num_ended = count(), 0, 0
        for _ in range(num_workers):
            heapq.heappush(events, (0.0, next(order), None))
        while events:
            now_s, _, trial = heapq.heappop(events)
            if trial is not None:
                at = self._next(trial)
                steps += at - max(trial.scores, default=0)
                if self._passes(trial, at):
                    heapq.heappush(events, (now_s + self._takes(trial), next(order), trial))
                    continue
                num_ended += 1
                pick = self._pick(steps, now_s, num_workers)
                if pick.truth != picks[-1].truth:
                    picks.append(pick)
                if num_ended == NUM_TRIALS:
                    after = pick
                if num_ended >= NUM_TRIALS and pick.truth <= until:
                    break
            if not self._taken.all():
                trial = self._propose()
                heapq.heappush(events, (now_s + self._takes(trial), next(order), trial))
        return Outcome(tuple(picks[1:]), after)

    def _pick(self, steps: int, now_s: float, num_workers: int) -> Pick:
        top, end = self._stops.top_generator_steps, self._spec.asha.max_generator_steps
        finalists = [self._table.curves[i] for _, i in sorted(self._at[top])[:NUM_FINALISTS]]
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

    def _next(self, trial: _Running) -> int:
        """The step of its next event: a rung, or where it diverges before."""
        return min(_recorded(trial.rungs[0]), max(trial.curve.reports))

    def _takes(self, trial: _Running) -> float:
        """CPU seconds to its next event, the scoring there included."""
        reports, after = trial.curve.reports, self._next(trial)
        before = [steps for steps in reports if steps < after]
        seconds = reports[after]["training_cpu_seconds"]
        if trial.scores:
            seconds -= reports[max(trial.scores)]["training_cpu_seconds"]
        scored = reports[after]["scoring_cpu_seconds"]
        return seconds + scored - (reports[max(before)]["scoring_cpu_seconds"] if before else 0)

    def _passes(self, trial: _Running, steps: int) -> bool:
        """Have it judged at a rung; the study and the sampler learn what they would."""
        report, frozen = trial.curve.reports[steps], trial.frozen
        score = self._spec.objective.score_of(report)
        if score is None or steps != _recorded(trial.rungs[0]):
            self._end(frozen, "diverged")
            return False
        trial.scores[steps] = score
        frozen.intermediate_values[steps] = score
        rung = trial.rungs.pop(0)
        self._at[rung].append((score, trial.index))
        continues = self._stops.continues(trial.number, rung, report)
        if not trial.rungs:
            self._end(frozen, "completed", score)
            return False
        if not continues:
            self._end(frozen, "stopped")
        return continues

    def _end(self, frozen: FrozenTrial, status: Status, value: float | None = None) -> None:
        frozen.user_attrs["ending"] = {"status": status}
        frozen.state, frozen.value = STATES[status], value
        self._sampler_view.update(frozen)


def _recorded(rung: int) -> int:
    """Where a rung was recorded: within 2% of it."""
    return min(SCORED_AT, key=lambda steps: abs(steps - rung))


def _distribution(domain: Domain) -> optuna.distributions.BaseDistribution:
    if isinstance(domain, Choice):
        return optuna.distributions.CategoricalDistribution(domain.choice)
    if is_integer(domain):
        return optuna.distributions.IntDistribution(int(domain.low), int(domain.high), domain.log)
    return optuna.distributions.FloatDistribution(domain.low, domain.high, domain.log)


def _startup(num_trials: int | None) -> AbstractContextManager[object]:
    """Have TPE begin with so many random trials, which a search does not let one set."""
    if num_trials is None:
        return nullcontext()
    sampler = partial(optuna.samplers.TPESampler, n_startup_trials=num_trials)
    return patch.object(optuna.samplers, "TPESampler", sampler)
