"""Run a small search that has trials of every end, in this process, and write its report."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trainables.config import DataConfig
from trainables.data import Data, load
from trainables.trial import floor, settings_restored
from tuner.cluster.interruption import Interruption
from tuner.cluster.local import LocalExecutor
from tuner.page import write_report
from tuner.record import record as record_module
from tuner.record.listener import Listener
from tuner.record.record import Record
from tuner.space.spec import validate
from tuner.study.study import Study
from tuner.study.trial import Trial

#: Seconds of the time budget, which pass at once while the last trial runs.
BUDGET_S = 1000


class _Clock(Listener):
    """Runs as clocks do, until a late trial reports at a step: it jumps past the time budget."""

    def __init__(self, first: int, steps: int) -> None:
        self._first, self._steps, self._jump_s = first, steps, 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self._jump_s

    def trial_reported(self, trial: Trial, report: Any) -> None:
        if trial.number >= self._first and report["generator_steps"] == self._steps:
            self._jump_s = 2.0 * BUDGET_S


def run(run_dir: Path, document: dict[str, Any], slow: tuple[int, int]) -> None:
    """Run a search to its end.

    Args:
        run_dir: Its folder.
        document: The search space.
        slow: The time budget ends when a trial of this number, or a later one, reports at this
            step.
    """
    spec, faults = validate(document)
    assert spec is not None, faults
    run_dir.mkdir(parents=True)
    (run_dir / "spec.yaml").write_text(spec.to_yaml())
    data = _fewer(load(DataConfig(dataset=document["data"]["dataset"])))
    clock = _Clock(*slow)
    with pytest.MonkeyPatch.context() as patch, settings_restored():
        patch.setattr(
            record_module, "time", SimpleNamespace(monotonic=clock.monotonic, time=time.time)
        )
        study = Study(run_dir / "study.log", spec)
        found = floor(data, spec.objective)
        study.set_floor({"w1_floor": found.w1, "w1_floor_stderr": found.w1_stderr})
        record, interrupted = Record(run_dir, spec, study), Interruption()
        record.listeners.append(clock)
        executor = LocalExecutor(spec.resources, lambda text: None)
        executor.load(data)
        executor.run_trials(record, f"{run_dir}/ray/session", interrupted)
        record.end_waiting()
        executor.run_final(record, interrupted)
        record.close()
    write_report(run_dir, is_over=True, limit_s=0)


def _fewer(data: Data) -> Data:
    parts = (data.train, data.critic_train, data.critic_eval, data.final)
    return Data(*(np.ascontiguousarray(part[:500]) for part in parts))
