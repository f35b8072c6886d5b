"""Ray's ASHA, made to last over a resume and to give the same brackets every time."""

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from trainables.config import ObjectiveConfig
from tuner.space.sections import AshaConfig

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

    from tuner.study.trial import Trial


class Asha(AsyncHyperBandScheduler):
    """Asynchronous successive halving (Li et al. 2020) over the objective's score at the rungs.

    Trials go by their number in the search instead of Ray's identity, which a resumed search
    gives anew; so rungs can be filled again from the study's scores, which Ray's own restore
    loses. A trial's bracket follows from the seed and its number, where Ray draws from the
    global generator, anew at each retry. Reports without a score pass: rungs alone decide, and
    a diverged trial, whose last report has none, leaves no mark on any cutoff.
    """

    def __init__(
        self,
        config: AshaConfig,
        seed: int,
        objective: ObjectiveConfig,
        trials: Iterable["Trial"] = (),
    ) -> None:
        """Make the rungs, and fill them with the scores of trials that ran before."""
        super().__init__(
            time_attr="generator_steps",
            metric="score",
            mode="min",
            max_t=config.max_generator_steps,
            grace_period=config.grace_generator_steps,
            reduction_factor=max(2, config.reduction_factor),  # Ray knows no 1
            brackets=config.brackets,
        )
        self._stops_early = config.reduction_factor > 1
        self._seed = seed
        self._objective = objective
        for trial in trials:
            bracket = self._bracket(trial.number)
            for steps, score in sorted(trial.scores.items()):
                bracket.on_result(SimpleNamespace(trial_id=str(trial.number)), steps, -score)

    def _bracket(self, number: int) -> Any:
        """Draw a bracket with Ray's own odds: one with more rungs is the likelier."""
        sizes = np.array([len(bracket._rungs) for bracket in self._brackets])
        odds = np.exp(sizes - sizes.max())
        draw = np.random.default_rng([self._seed, number]).choice(len(sizes), p=odds / odds.sum())
        return self._brackets[draw]

    def on_trial_add(self, tune_controller: "TuneController", trial: RayTrial) -> None:
        """Assign the trial to its bracket."""
        number = trial.config["number"]
        self._trial_info[str(number)] = self._bracket(number)

    def on_trial_result(
        self, tune_controller: "TuneController", trial: RayTrial, result: Mapping[str, Any]
    ) -> str:
        """Decide at a rung whether the trial goes on."""
        score = self._objective.score_of(result)
        if score is None:
            return TrialScheduler.CONTINUE
        if not self._stops_early and result["generator_steps"] < self._max_t:
            return TrialScheduler.CONTINUE
        report = {"generator_steps": result["generator_steps"], "score": score}
        return super().on_trial_result(tune_controller, _by_number(trial), report)

    def on_trial_complete(
        self, tune_controller: "TuneController", trial: RayTrial, result: Mapping[str, Any]
    ) -> None:
        """Forget a trial that ended; its scores stay in the rungs."""
        self._trial_info.pop(str(trial.config["number"]), None)

    def on_trial_remove(self, tune_controller: "TuneController", trial: RayTrial) -> None:
        """Forget a trial that ended before it started."""
        self._trial_info.pop(str(trial.config["number"]), None)


def _by_number(trial: RayTrial) -> Any:
    return SimpleNamespace(trial_id=str(trial.config["number"]))
