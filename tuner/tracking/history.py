"""What the search tells of a trial to those who follow it, in words that all of them share."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

STEP = "generator_steps"  # every report has it
UNIX_TIME = "unix_time_s"  # a report may have it: when it was made


@final
@dataclass(frozen=True)
class TrialHistory:
    """What the driver durably knows of a trial; brings a follower up to date at a resume."""

    trial_id: str
    params: Mapping[str, object]  # flat
    reports: Sequence[Mapping[str, float]]  # each with "generator_steps"
    pictures: Mapping[int, Path]  # sample grids by generator step
    status: str | None  # None while unfinished
    message: str | None
    final: Mapping[str, float] | None = None  # with "generator_steps" and "unix_time_s"


@final
@dataclass(frozen=True)
class Links:
    """Where a search is found in MLflow, for the text that describes it there."""

    tracking_uri: str  # without credentials
    experiment_id: str
    run_id: str
    files: frozenset[str]  # that the run has
    model_id: str | None  # the best generator's


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1_000)


def reported_ms(report: Mapping[str, float], default_ms: int) -> int:
    """When a report was made, if it says so."""
    return int(report[UNIX_TIME] * 1_000) if UNIX_TIME in report else default_ms
