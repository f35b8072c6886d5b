"""Score finalists again, and real samples: on a worker of Ray's as in this process."""

import math
import tempfile
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.storage import fetch_file
from tuner.study import FinalScore

if TYPE_CHECKING:
    from trainables.config import ObjectiveConfig
    from trainables.data import Data
    from trainables.diagnostics import Diagnosis
    from trainables.objective import Score


def score_checkpoint(
    checkpoint: str | None,
    name: str,
    data: "Data",
    objective: "ObjectiveConfig",
    threads: int,
    use_gpu: bool,
    allow_code: Collection[str] = (),
) -> FinalScore:
    """Score the generator of a checkpoint by the final's stronger critics, and diagnose it.

    Args:
        checkpoint: Its folder: a path or a URI; ``None`` if the trial has none.
        name: The trial that it must be of, such as ``gp_00003``.
        data: The data of the search.
        objective: Its section ``objective``.
        threads: CPU threads to compute with.
        use_gpu: Whether the process was given a GPU.
        allow_code: The modules of the search's custom classes.

    Raises:
        OSError: if there is no checkpoint, or it cannot be read.
        DamagedCheckpointError: if its generator is not whole, or is of another trial.
    """
    from trainables.checkpoint import Identity
    from trainables.trial import Finalist, start_worker

    if checkpoint is None:
        raise FileNotFoundError("it has no checkpoint in the search's folder")
    with tempfile.TemporaryDirectory() as scratch:
        device, timed = start_worker(threads, use_gpu), _Timed()
        generator = Path(scratch, "generator.pt")
        fetch_file(checkpoint, generator.name, generator)
        finalist = Finalist.load(generator, device, allow_code, Identity(name))
        score = finalist.score(data, objective)
        if not math.isfinite(score.w1):
            return timed(score)
        diagnosis = finalist.diagnose(data, objective)
        return replace(timed(score, diagnosis), comparison=finalist.compare(data, objective))


def score_real_samples(
    data: "Data", objective: "ObjectiveConfig", threads: int, use_gpu: bool
) -> FinalScore:
    """Score real samples as :func:`score_checkpoint` does generated ones: the final's floor."""
    from trainables.trial import final_floor, start_worker

    device, timed = start_worker(threads, use_gpu), _Timed()
    return timed(final_floor(data, objective, device))


class _Timed:
    """Adds the time that has passed since its creation to a score."""

    def __init__(self) -> None:
        self._started_s, self._started_cpu_s = time.perf_counter(), time.thread_time()

    def __call__(self, score: "Score", diagnosis: "Diagnosis | None" = None) -> FinalScore:
        seconds = time.perf_counter() - self._started_s
        cpu_seconds = time.thread_time() - self._started_cpu_s
        readings = asdict(score.readings)
        final = FinalScore(score.w1, score.w1_stderr, seconds, cpu_seconds, readings)
        if diagnosis is None:
            return final
        found = {"diagnosis": diagnosis.values, "faults": diagnosis.faults}
        return replace(final, w1_train=score.w1_train, **found)
