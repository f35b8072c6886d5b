"""ASHA as a scheduler of Ray Tune's: an adapter to its public interface."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from trainables.config import ObjectiveConfig
from tuner.cluster.asha import Asha, Decision

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

_ACTIONS = {Decision.CONTINUE: TrialScheduler.CONTINUE, Decision.STOP: TrialScheduler.STOP}


class AshaScheduler(FIFOScheduler):
    """Start trials in their order, and stop those that ASHA stops.

    Trials go by their number in the search instead of Ray's identity, which changes on a resume.
    What ASHA knows is recorded by the study, so that nothing is kept in Ray's snapshot, and a trial
    that ends, fails or is restarted needs no word to it.
    """

    def __init__(self, asha: Asha, objective: ObjectiveConfig) -> None:
        """Judge trials by ``asha``, on the score that ``objective`` finds in their reports."""
        super().__init__()
        self._asha = asha
        self._objective = objective

    def on_trial_result(
        self, tune_controller: "TuneController", trial: RayTrial, result: Mapping[str, Any]
    ) -> str:
        """Decide whether the trial continues."""
        score = self._objective.score_of(result)
        # A trial that ended before its first report has no steps.
        steps = result.get("generator_steps", 0)
        return _ACTIONS[self._asha.report(trial.config["number"], steps, score)]

    def debug_string(self) -> str:
        """Name the rule, for Ray's progress table."""
        return "Using asynchronous successive halving."
