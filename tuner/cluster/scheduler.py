"""ASHA as a scheduler of Ray Tune's: an adapter to its public interface."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from trainables.config import ObjectiveConfig
from tuner.cluster.asha import Decision, Halving

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

#: To Ray a trial that waits has ended. Once promoted it is another trial of Ray's, which resumes
#: from the recorded checkpoints, as all do after an interruption. If Ray paused it, it would keep
#: its place among the trials that Ray lets run at a time, so that waiting trials would use up all
#: places, and nothing would be left of it but the checkpoint if Ray was lost.
_ACTIONS = {
    Decision.CONTINUE: TrialScheduler.CONTINUE,
    Decision.STOP: TrialScheduler.STOP,
    Decision.WAIT: TrialScheduler.STOP,
}


class AshaScheduler(FIFOScheduler):
    """Start trials in their order, and end those that ASHA stops or has wait.

    Trials go by their number in the search instead of Ray's identity, which changes on a resume.
    What ASHA knows is recorded by the study, so that nothing is kept in Ray's snapshot, and a trial
    that ends, fails or is restarted needs no word to it.
    """

    def __init__(self, asha: Halving, objective: ObjectiveConfig) -> None:
        """Judge trials by ``asha``, on the score that ``objective`` finds in their reports."""
        super().__init__()
        self._asha = asha
        self._objective = objective
        self._waiting: set[int] = set()

    def on_trial_result(
        self, tune_controller: "TuneController", trial: RayTrial, result: Mapping[str, Any]
    ) -> str:
        """Decide whether the trial continues."""
        score = self._objective.score_of(result)
        # A trial that ended before its first report has no steps.
        steps = result.get("generator_steps", 0)
        number = trial.config["number"]
        decision = self._asha.report(number, steps, score)
        if decision is Decision.WAIT:
            self._waiting.add(number)
        return _ACTIONS[decision]

    def had_wait(self, number: int) -> bool:
        """Tell, once, whether the trial was ended to wait, and not stopped."""
        if had := number in self._waiting:
            self._waiting.discard(number)
        return had

    def debug_string(self) -> str:
        """Name the rule, for Ray's progress table."""
        return "Using asynchronous successive halving."
