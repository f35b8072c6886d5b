"""Estimate how long a search takes, from a few timed steps of one configuration."""

import itertools
import math
from typing import TYPE_CHECKING, Any

from tuner.driver import preflight
from tuner.space import Choice, Domain, SearchSpec, is_integer

if TYPE_CHECKING:
    from trainables.data import Data

#: Generator steps at which the time is read, until it is enough.
_TIMED_STEPS, _ENOUGH_S = (2, 4, 8, 16, 32), 1.0


def estimate_text(spec: SearchSpec, data: "Data") -> str:
    """Time a few steps in the middle of the space, and say how long the search would take here.

    Args:
        spec: The search.
        data: Its data.
    """
    from trainables.networks import in_one_line

    budget_s = spec.search.time_budget_s
    if spec.num_trials is None:
        return f"time: {_words(budget_s or math.inf)}, the time budget, and the final after it"
    try:
        step_s, num_at_once = _step_seconds(spec, data), _trials_at_once(spec)
    except Exception as error:  # of a custom network, say, or the GPU's memory is full
        return f"time: not known, as a trial failed in training: {in_one_line(error)}"
    asha, per_step_s = spec.asha, spec.num_trials * step_s / num_at_once
    longest = _words(asha.max_generator_steps * per_step_s)
    if asha.reduction_factor == 1:
        text = f"time: roughly {longest} of training"
    else:
        expected = _words(expected_steps(asha.rungs, asha.reduction_factor) * per_step_s)
        text = f"time: roughly {expected} of training if each rung stops all but 1/"
        text += f"{asha.reduction_factor} of the trials, {longest} if none is stopped"
    at_once = f"{num_at_once} trial{'s' * (num_at_once > 1)} at once"
    text += f", with {at_once} on this machine at {step_s:.2g} s per generator step; the scores at "
    text += "the rungs come on top, and other configurations may be several times slower or faster"
    if budget_s is not None:
        text += f"; it ends after {_words(budget_s)}, its time budget"
    return text


def expected_steps(rungs: tuple[int, ...], reduction_factor: int) -> float:
    """Return the mean generator steps of a trial, if each rung lets 1/reduction_factor continue."""
    lengths = (above - below for below, above in itertools.pairwise((0, *rungs)))
    return math.fsum(length / reduction_factor**rung for rung, length in enumerate(lengths))


def _step_seconds(spec: SearchSpec, data: "Data") -> float:
    """Time generator steps, each with its critic steps, with the resources of a trial."""
    from trainables.data import as_tensor
    from trainables.training import TrainState, train
    from trainables.trial import settings_restored, start_worker

    config = spec.trial_config(spec.choose(_middle), seed=0)
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
