"""Estimate how long a search takes, from a few timed steps of one configuration."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.driver import preflight
from tuner.results import trials_text
from tuner.space import Choice, Domain, SearchSpec, is_integer

if TYPE_CHECKING:
    from trainables.data import Data

#: Generator steps at which the time is read, until it is enough.
_TIMED_STEPS, _ENOUGH_S = (2, 4, 8, 16, 32), 1.0
#: The whole numbers of which a larger one makes a step dearer, under any method.
_SIZES = frozenset(
    {"generator_width", "generator_depth", "critic_width", "critic_depth", "batch_size", "n_critic"}
)
_Pick = Callable[[str, Domain], Any]


@dataclass(frozen=True)
class _Pace:
    """The seconds of a generator step of a trial, and how many trials run at a time.

    ``others`` says what a step of other trials takes.
    """

    step_s: float
    num_at_once: int
    others: str = "other configurations may be several times slower or faster"

    def seconds(self, generator_steps: float) -> float:
        """Return how long so many steps take, over all trials."""
        return generator_steps * self.step_s / self.num_at_once


def estimate_text(spec: SearchSpec, data: "Data") -> str:
    """Time a few steps of the space, and say how long the search would take here.

    They are of the middle of the space, which the estimate is of; and of its smallest and of its
    largest trials, if it has any.

    Args:
        spec: The search.
        data: Its data.
    """
    from trainables.networks import in_one_line

    try:
        middle_s = _step_seconds(spec, data, _middle)
    except Exception as error:  # of a custom network, say, or the GPU's memory is full
        return f"time: not known, as a trial failed in training: {in_one_line(error)}"
    pace = _Pace(middle_s, _trials_at_once(spec), *_ends_text(spec, data))
    lines = [_time_text(spec, pace), _seeds_text(spec, pace), _bracket_text(spec, pace)]
    return "\n".join(line for line in lines if line is not None)


def _time_text(spec: SearchSpec, pace: _Pace) -> str:
    budgets = _steps_of_budgets(spec, pace)
    ending = ""
    if budgets:
        key = min(budgets, key=lambda key: budgets[key])
        about = "" if key == "time_budget_s" else "about "
        ending = f"{about}{_words(pace.seconds(budgets[key]))}, {_budget_text(spec, key)}"
    if spec.num_trials is None:
        return f"time: {ending}, and the final after it"
    asha = spec.asha
    longest = _words(pace.seconds(spec.num_trials * asha.max_generator_steps))
    if asha.reduction_factor == 1:
        text = f"time: roughly {longest} of training"
    else:
        expected = spec.num_trials * expected_steps(asha.rungs, asha.reduction_factor)
        text = f"time: roughly {_words(pace.seconds(expected))} of training if each rung stops all "
        text += f"but 1/{asha.reduction_factor} of the trials, {longest} if none is stopped"
    at_once = f"{pace.num_at_once} trial{'s' * (pace.num_at_once > 1)} at once"
    text += f", with {at_once} on this machine at {pace.step_s:.2g} s per generator step; the "
    text += f"scores at the rungs come on top, and {pace.others}"
    return f"{text}; it ends after {ending}" if ending else text


def _seeds_text(spec: SearchSpec, pace: _Pace) -> str | None:
    """Say what the further seeds of the final cost."""
    objective = spec.objective
    num = objective.final_trials * (objective.final_seeds - 1)
    if not num:
        return None
    words = _words(pace.seconds(num * spec.asha.max_generator_steps))
    return f"further seeds: the final trains up to {num} more times to the last rung: {words}"


def _bracket_text(spec: SearchSpec, pace: _Pace) -> str | None:
    """Warn if ASHA gets fewer trials than one of which reaches the last rung by its scores."""
    asha = spec.asha
    num_needed = asha.reduction_factor ** (len(asha.rungs) - 1)
    steps = expected_steps(asha.rungs, asha.reduction_factor)
    bought = {key: budget / steps for key, budget in _steps_of_budgets(spec, pace).items()}
    if spec.num_trials is not None:
        bought["num_trials"] = spec.num_trials
    key = min(bought, key=lambda key: bought[key])
    if asha.reduction_factor == 1 or bought[key] >= num_needed:
        return None
    num = max(1, math.floor(bought[key]))
    buys = (
        f"search.num_trials gives {trials_text(num)}"
        if key == "num_trials"
        else (f"{_budget_text(spec, key)} buys roughly {trials_text(num)}")
    )
    early = "early trials continue for lack of others to compare with"
    if asha.promotes:
        early = "with fewer, the best that waits is promoted at the end, if the budget lasts"
    return (
        f"warning: {buys}, fewer than the {num_needed} of one full bracket, of which ASHA lets one "
        f"reach the last rung by its scores: {early}. Raise search.{key}, raise "
        "asha.grace_generator_steps, or lower asha.max_generator_steps"
    )


def _steps_of_budgets(spec: SearchSpec, pace: _Pace) -> dict[str, float]:
    """Return the generator steps that each budget buys, by its key."""
    per_unit = {
        "time_budget_s": pace.num_at_once / pace.step_s,
        "generator_steps": 1.0,
        "gpu_hours": 3600 / (pace.step_s * (spec.resources.counted_gpus or 1.0)),
    }
    return {key: budget * per_unit[key] for key, budget in spec.search.budgets.items()}


def _budget_text(spec: SearchSpec, key: str) -> str:
    budget = spec.search.budgets[key]
    texts = {
        "time_budget_s": "the time budget",
        "generator_steps": f"the budget of {budget:,} generator steps",
        "gpu_hours": f"the budget of {budget:g} GPU-hours",
    }
    return texts[key]


def expected_steps(rungs: tuple[int, ...], reduction_factor: int) -> float:
    """Return the mean generator steps of a trial, if each rung lets 1/reduction_factor continue."""
    lengths = (above - below for below, above in itertools.pairwise((0, *rungs)))
    return math.fsum(length / reduction_factor**rung for rung, length in enumerate(lengths))


def _ends_text(spec: SearchSpec, data: "Data") -> list[str]:
    """Time the smallest and the largest trials; return what to say of them, if there are any."""
    from trainables.networks import in_one_line

    if spec.choose(_smallest) == spec.choose(_largest):
        return []
    try:
        ends = [_step_seconds(spec, data, pick) for pick in (_smallest, _largest)]
    except Exception as error:  # the largest may need more memory than there is
        fault = f"failed in training ({in_one_line(error)})"
        return [f"warning: a trial with its smallest or largest networks and batches {fault}"]
    low, high = (f"{seconds:.2g}" for seconds in ends)
    return [
        f"a step takes {low} s with the smallest networks and batches, {high} s with the largest"
    ]


def _step_seconds(spec: SearchSpec, data: "Data", pick: _Pick) -> float:
    """Time generator steps, each with its critic steps, with the resources of a trial."""
    from trainables.data import as_tensor
    from trainables.training import TrainState, train
    from trainables.trial import settings_restored, start_worker

    config = spec.trial_config(spec.choose(pick), seed=0)
    with settings_restored():
        device = start_worker(spec.resources.threads_per_trial, use_gpu=_gpus_per_trial(spec) > 0)
        state = TrainState.create(config, data.sample_shape, device)
        real = as_tensor(data.train).to(device)
        # The first step compiles and warms up: it counts only if the trial diverges in it.
        first, seconds, steps = 0.0, 0.0, 1
        for measured in train(state, config.training, real, (1, *_TIMED_STEPS)):
            seconds, steps = measured.training_seconds, measured.generator_steps
            if steps == 1:
                first = seconds
            elif seconds - first > _ENOUGH_S:
                break
    return (seconds - first) / (steps - 1) if steps > 1 else seconds


def _middle(_: str, domain: Domain) -> Any:
    """Return a value in the middle of a domain: at its ends a step costs the least or the most."""
    if isinstance(domain, Choice):
        return domain.choice[len(domain.choice) // 2]
    low, high = domain.low, domain.high
    middle = math.sqrt(low * high) if domain.log else (low + high) / 2
    return round(middle) if is_integer(domain) else middle


def _smallest(key: str, domain: Domain) -> Any:
    """Return the value of a domain with which a step costs the least, else one in its middle."""
    return min(_sizes(key, domain), default=_middle(key, domain))


def _largest(key: str, domain: Domain) -> Any:
    """Return the value of a domain with which a step costs the most, else one in its middle."""
    return max(_sizes(key, domain), default=_middle(key, domain))


def _sizes(key: str, domain: Domain) -> list[int]:
    if key.rpartition(".")[2] not in _SIZES:
        return []
    values = domain.choice if isinstance(domain, Choice) else (domain.low, domain.high)
    return [int(value) for value in values]


def _trials_at_once(spec: SearchSpec) -> int:
    resources = spec.resources
    limits = [preflight.num_cpus() / resources.cpus_per_trial, float(spec.num_trials or math.inf)]
    if (gpus := _gpus_per_trial(spec)) > 0:
        limits.append(preflight.num_gpus() / gpus)
    if spec.search.max_concurrent_trials is not None:
        limits.append(spec.search.max_concurrent_trials)
    return max(1, math.floor(min(limits)))


def _gpus_per_trial(spec: SearchSpec) -> float:
    gpus = spec.resources.gpus_per_trial
    return float(preflight.num_gpus() > 0) if isinstance(gpus, str) else gpus


def _words(seconds: float) -> str:
    """Return a duration with the precision of an estimate."""
    for unit_s, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * unit_s:
            return f"{seconds / unit_s:.2g} {unit}"
    return f"{max(1, round(seconds))} s"
