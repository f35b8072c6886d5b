"""The Ray Tune trainable: reports what :func:`trainables.trial.run` yields.

The only file here that knows Ray. A worker is reused from trial to trial, so nothing may be left
in the process: :func:`train_wgan` builds all it needs from its configuration.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import ray
from pyarrow.fs import FileSelector, FileSystem, FileType
from ray import tune

from trainables.checkpoint import STATE, newest_whole
from trainables.config import TrialConfig
from trainables.data import Data
from trainables.trial import (
    Report,
    Schedule,
    device_notes,
    identity_of,
    run,
    start_worker,
)
from trainables.watchdog import Watchdog


def train_wgan(config: Mapping[str, Any], data: Data | Sequence[ray.ObjectRef]) -> None:
    """Run one trial under Ray Tune.

    It trains on the GPU that Ray gave it, and on the CPU where Ray gave it none. It resumes from
    the newest checkpoint that is whole; what was wrong with newer ones stands in its first report
    as ``note``, the only text in a report.

    Args:
        config: ``search`` and ``number``, which name the trial; ``trial`` (a :class:`TrialConfig`
            as plain data); ``schedule`` (a :class:`Schedule` as plain data); ``threads``;
            ``report_timeout_s``, the seconds without a report after which the process is ended;
            ``checkpoints``: paths or URIs to resume from, the newest first.
            Checkpoints that Ray has of the trial, made since, go before them.
        data: The data, or a reference to them in Ray's object store, alone in a list: a bare
            reference Ray would replace. All trials on a machine look at the one copy in the store.
    """
    with Watchdog(config["report_timeout_s"]) as watchdog:
        name = f"{config['search']}_{config['number']:05d}"
        _show(name)
        use_gpu = bool(ray.get_runtime_context().get_accelerator_ids().get("GPU"))
        device = start_worker(config["threads"], use_gpu)
        trial = TrialConfig.model_validate(config["trial"])
        schedule = Schedule.model_validate(config["schedule"])
        if not isinstance(data, Data):
            data = cast("Data", ray.get(data[0]))
        found = newest_whole(_checkpoints(config["checkpoints"]), identity_of(name, trial))
        with found as (folder, notes):
            notes += device_notes(trial, device, use_gpu)
            note = {"note": "; ".join(notes)} if notes else {}
            for report in run(trial, data, schedule, device, folder, name):
                with _saved(report) as checkpoint, watchdog.waiting():
                    tune.report({**report.metrics, **note}, checkpoint=checkpoint)
                _show(name)  # Ray has put its own in its place
                note = {}


@contextmanager
def _saved(report: Report) -> Iterator[tune.Checkpoint | None]:
    if report.save is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as scratch:
        report.save(Path(scratch))
        yield tune.Checkpoint(scratch)


def _show(name: str) -> None:
    """Name the process after the trial, for Ray's dashboard, which shows its title, and for ps.

    By a function of Ray's internals; a Ray that has moved it leaves the title that it gave.
    """
    with suppress(ImportError):
        from ray._raylet import setproctitle  # pyright: ignore[reportAttributeAccessIssue]

        setproctitle(f"ray::{name}")


def _checkpoints(recorded: Sequence[str]) -> Iterator[tune.Checkpoint]:
    """List all candidates, the newest first: Ray's of this session, then the recorded ones."""
    seen = set()
    if (latest := tune.get_checkpoint()) is not None:
        seen.add(latest.path)
        yield latest
        for checkpoint in _before(latest):
            seen.add(checkpoint.path)
            yield checkpoint
    for location in recorded:
        checkpoint = tune.Checkpoint(location)
        if checkpoint.path not in seen:
            seen.add(checkpoint.path)
            yield checkpoint


def _before(latest: tune.Checkpoint) -> list[tune.Checkpoint]:
    """List the older checkpoints in a trial's folder, the newest first.

    A newer one than the latest that Ray knows belongs to a report that may not have arrived. One
    without a training state is kept for its generator alone.
    """
    path, filesystem = Path(latest.path), _filesystem(latest)
    siblings = filesystem.get_file_info(FileSelector(str(path.parent), allow_not_found=True))
    numbers = {info.path: _number(Path(info.path)) for info in siblings}
    older = [at for at, number in numbers.items() if 0 <= number < _number(path)]
    older.sort(key=lambda at: numbers[at], reverse=True)
    states = filesystem.get_file_info([f"{at}/{STATE}" for at in older])
    whole = (at for at, state in zip(older, states, strict=True) if state.type == FileType.File)
    return [tune.Checkpoint(at, filesystem) for at in whole]


def _filesystem(checkpoint: tune.Checkpoint) -> FileSystem:
    return cast("FileSystem", checkpoint.filesystem)  # every checkpoint that is made has one


def _number(path: Path) -> int:
    """Return Ray's number of a checkpoint, or -1 if it is none."""
    found = re.fullmatch(r"checkpoint_(\d+)", path.name)
    return int(found[1]) if found else -1
