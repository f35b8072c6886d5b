"""The final: score the best trials again, and train their configurations with further seeds."""

from typing import TYPE_CHECKING

from tuner import retrain
from tuner.cluster import Interruption
from tuner.record import Record
from tuner.storage import join

if TYPE_CHECKING:
    from tuner.cluster import Executor


def run_final(
    executor: "Executor", record: Record, checkpoints: str, session: str, interrupted: Interruption
) -> None:
    """Do what the final lacks, until done, halted or interrupted.

    Args:
        executor: Where the trials ran.
        record: The search, whose trials have ended.
        checkpoints: The folder, or URI, of its checkpoints.
        session: The name of this session's folder there.
        interrupted: Ends it, to be resumed.
    """

    def is_stopped() -> bool:
        return interrupted.is_set() or record.halted is not None

    executor.run_final(record, interrupted)
    if is_stopped() or record.spec.objective.final_seeds == 1:
        return
    with retrain.repeating(record, checkpoints) as repeating:
        if repeating is None:
            return
        repeats = repeating.record
        executor.run_trials(repeats, join(repeating.location, "ray", session), interrupted)
        if not is_stopped() and repeats.halted is None:
            executor.run_final(repeats, interrupted)
    if not is_stopped():
        record.repeats_scored(repeating.results())
