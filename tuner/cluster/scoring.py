"""Score a finalist again: the same on a worker of Ray's and in this process."""

import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.storage import fetch_file

if TYPE_CHECKING:
    from trainables.config import ObjectiveConfig
    from trainables.data import Data


def score_checkpoint(
    checkpoint: str | None,
    name: str,
    data: "Data",
    objective: "ObjectiveConfig",
    threads: int,
    use_gpu: bool,
    allow_code: Collection[str] = (),
) -> tuple[float, float, float]:
    """Score the generator of a checkpoint by the final's stronger critics.

    Args:
        checkpoint: Its folder: a path or a URI; ``None`` if the trial has none.
        name: The trial that it must be of, such as ``gp_00003``.
        data: The data of the search.
        objective: Its section ``objective``.
        threads: CPU threads to compute with.
        use_gpu: Whether the process was given a GPU.
        allow_code: The modules of the search's custom generators.

    Returns:
        ``w1``, its standard error, and the seconds that it took.

    Raises:
        OSError: if there is no checkpoint, or it cannot be read.
        DamagedCheckpointError: if its generator is not whole, or is of another trial.
    """
    from trainables.checkpoint import Identity
    from trainables.trial import final_score, start_worker

    if checkpoint is None:
        raise FileNotFoundError("it has no checkpoint in the search's folder")
    with tempfile.TemporaryDirectory() as scratch:
        device, started_s = start_worker(threads, use_gpu), time.perf_counter()
        generator = Path(scratch, "generator.pt")
        fetch_file(checkpoint, generator.name, generator)
        score = final_score(generator, data, objective, device, allow_code, Identity(name))
        return score.w1, score.w1_stderr, time.perf_counter() - started_s
