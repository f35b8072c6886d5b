"""The Ray Tune trainable: reports what :func:`trainables.trial.run` yields.

The only file here that knows Ray. A worker is reused from trial to trial, so nothing may be left
in the process: :func:`train_wgan` builds all it needs from its configuration.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ray
import torch
from ray import tune

from trainables.config import TrialConfig
from trainables.data import Data
from trainables.trial import Schedule, run, start_worker


def train_wgan(config: Mapping[str, Any], data: Data | Sequence[ray.ObjectRef]) -> None:
    """Run one trial under Ray Tune.

    Args:
        config: ``trial`` (a :class:`TrialConfig` as plain data), ``schedule`` (a
            :class:`Schedule` as plain data), ``threads``, and ``checkpoint``: the folder from
            which a resumed search goes on, or ``None``. A checkpoint of Ray's own, made since,
            goes before it.
        data: The data, or a reference to them in Ray's object store, alone in a list: a bare
            reference Ray would replace. All trials on a machine look at the one copy in the store.
    """
    device = start_worker(config["threads"])
    checkpoint = tune.get_checkpoint()
    if checkpoint is None and config["checkpoint"] is not None:
        checkpoint = tune.Checkpoint(config["checkpoint"])
    trial = TrialConfig.model_validate(config["trial"])
    schedule = Schedule.model_validate(config["schedule"])
    if not isinstance(data, Data):
        data = cast("Data", ray.get(data[0]))
    if checkpoint is None:
        _report_all(trial, data, schedule, device, None)
    else:
        with checkpoint.as_directory() as folder:
            _report_all(trial, data, schedule, device, Path(folder))


def _report_all(
    trial: TrialConfig, data: Data, schedule: Schedule, device: torch.device, folder: Path | None
) -> None:
    for report in run(trial, data, schedule, device, folder):
        if report.save is None:
            tune.report(report.metrics)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            report.save(Path(scratch))
            tune.report(report.metrics, checkpoint=tune.Checkpoint.from_directory(scratch))
