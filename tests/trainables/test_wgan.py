"""Trials as Ray runs them: their GPU, their name, their end when they hang, damaged checkpoints."""

import ctypes
import os
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from ray import tune
from small_trials import trial

from trainables import wgan
from trainables.data import Data
from trainables.training import state
from trainables.trial import Schedule, run, start_worker
from trainables.wgan import train_wgan

POINTS = np.linspace(-1, 1, 240, dtype=np.float32).reshape(120, 2)
DATA = Data(POINTS, POINTS, POINTS, POINTS)
SCHEDULE = Schedule(
    rungs=(16, 24), report_every_generator_steps=4, checkpoint_every_generator_steps=4
)
STEPS = [4, 8, 10, 12, 16, 20, 24]
TIMES = ("seconds", "generator_steps_per_s")
NOTE = (
    "was given a GPU on which torch finds no CUDA: trains on the CPU; "
    "cuda_graph changes nothing on a CPU"
)


@pytest.fixture(scope="module")
def in_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two GPUs that are declared, not there; yields a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AIR_NEW_OUTPUT", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        patch.setenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
        ray.init(
            address="local",
            num_cpus=4,
            num_gpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="CRITICAL",
        )
        yield tmp_path_factory.mktemp("ray")
        ray.shutdown()


class Heard(tune.Callback):
    """All reports and errors of all trials, by number."""

    def __init__(self) -> None:
        self.reports: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self.failed: set[int] = set()

    def on_trial_result(self, *, trial, result, **_: Any) -> None:
        self.reports[trial.config["number"]].append(result)

    def on_trial_error(self, *, trial, **_: Any) -> None:
        self.failed.add(trial.config["number"])

    def __getstate__(self) -> dict[str, Any]:
        return {"reports": defaultdict(list), "failed": set()}

    def notes(self, number: int) -> list[str]:
        return [r["note"] for r in self.reports[number] if "note" in r]

    def numbers(self, number: int) -> dict[float, dict[str, float]]:
        """What the trial's reports say, but for times, by step; of doubles the last."""
        own = [{k: v for k, v in r.items() if _is_own(k, v)} for r in self.reports[number]]
        return {r["generator_steps"]: r for r in own}


def _is_own(key: str, value: object) -> bool:
    from ray.tune.result import AUTO_RESULT_KEYS

    return isinstance(value, float) and key not in AUTO_RESULT_KEYS and not key.endswith(TIMES)


@dataclass(frozen=True)
class Ran:
    """What was heard of four trials, and the folder where they left what they saw."""

    heard: Heard
    folder: Path


@pytest.fixture(scope="module")
def ran(in_ray: Path) -> Ran:
    """Equal trials at the same time, each with half a GPU and an accident of its own.

    0: none. 1: hangs once. 2: hangs always. 3: dies once, its last checkpoint cut.
    """
    folder, heard = in_ray, Heard()
    small = trial(cuda_graph=True)

    def trainable(config: Mapping[str, Any], data: list[ray.ObjectRef]) -> None:
        number, plain = config["number"], wgan.run
        again = (folder / f"gpu_{number}").exists()
        if not again:
            given = ray.get_runtime_context().get_accelerator_ids()["GPU"]
            seen = os.environ["CUDA_VISIBLE_DEVICES"]
            (folder / f"gpu_{number}").write_text(f"{seen} {','.join(given)}")
        while len(list(folder.glob("gpu_*"))) < 4:  # all at once
            time.sleep(0.05)

        def run_wrongly(*args: Any) -> Iterator[Any]:
            for report in plain(*args):
                title = Path("/proc/self/cmdline").read_text().split("\0")[0]
                with (folder / f"title_{number}").open("a") as file:
                    file.write(title + "\n")
                at_last = report.metrics["generator_steps"] == 20
                if at_last and (number == 2 or (number == 1 and not again)):
                    ctypes.PyDLL(None).sleep(1000)  # and keeps the interpreter's lock
                if at_last and number == 3 and not again:
                    latest = tune.get_checkpoint()
                    assert latest is not None
                    newest = max(Path(latest.path).parent.glob("checkpoint_*"))
                    with (newest / "state.pt").open("r+b") as file:
                        file.truncate(1000)
                    os.kill(os.getpid(), signal.SIGKILL)
                yield report

        state.TrainState.create(small, (2,), "cpu")  # what torch imports late takes seconds
        wgan.run = run_wrongly
        train_wgan(config, data)

    tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trainable, data=[ray.put(DATA)]), {"cpu": 0.5, "gpu": 0.5}
        ),
        param_space={
            "search": "small",
            "number": tune.grid_search(list(range(4))),
            "trial": small.model_dump(mode="json"),
            "schedule": SCHEDULE.model_dump(),
            "threads": 1,
            "report_timeout_s": 12.0,
            "checkpoints": [],
        },
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(folder),
            callbacks=[heard],
            failure_config=tune.FailureConfig(max_failures=1),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
            verbose=0,
        ),
    ).fit()
    return Ran(heard, folder)


def test_four_trials_of_half_a_gpu_share_two_of_them_each_under_its_own_name(ran: Ran):
    pairs = [(ran.folder / f"gpu_{n}").read_text().split(" ") for n in range(4)]
    assert all(seen == given for seen, given in pairs)
    assert sorted(seen for seen, _ in pairs) == ["0", "0", "1", "1"]
    assert ran.heard.notes(0) == [NOTE]
    assert [r["generator_steps"] for r in ran.heard.reports[0]] == STEPS
    for number in range(4):
        titles = (ran.folder / f"title_{number}").read_text().splitlines()
        assert len(titles) >= len(STEPS)
        assert set(titles) == {f"ray::small_{number:05d}"}


def test_a_ray_that_has_moved_the_process_title_leaves_its_own(monkeypatch: pytest.MonkeyPatch):
    title = Path("/proc/self/cmdline").read_text()
    monkeypatch.delattr("ray._raylet.setproctitle")
    wgan._show("small_00000")
    assert Path("/proc/self/cmdline").read_text() == title


def test_a_trial_without_a_gpu_trains_on_the_cpu_whatever_it_sees(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert start_worker(1, use_gpu=False).type == "cpu"
    assert start_worker(1, use_gpu=True).type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert start_worker(1, use_gpu=True).type == "cpu"


def test_what_hangs_or_dies_with_a_damaged_checkpoint_ends_where_an_unbroken_trial_does(ran: Ran):
    """To the bit."""
    heard = ran.heard
    assert heard.failed == {2}
    expected = heard.numbers(0)
    assert list(expected) == STEPS
    assert heard.numbers(1) == expected
    assert heard.numbers(3) == expected
    # On a busy machine Ray has not noted the checkpoint of step 16 yet, and the one of 12 is used.
    again = [16], []
    steps = [[r["generator_steps"] for r in heard.reports[number]] for number in range(4)]
    assert steps[1] in [[4, 8, 10, 12, 16, *more, 20, 24] for more in again]
    assert steps[2] in [[4, 8, 10, 12, 16, *more] for more in again]
    # The checkpoints are of steps 4, 8, 12 and 16, which is the rung and number 3.
    assert steps[3] == [4, 8, 10, 12, 16, 16, 20, 24]
    damaged = (
        "checkpoint_000003 is damaged (state.pt ends too early): resumed from checkpoint_000002"
    )
    # One that Ray has not noted is left alone without a word.
    assert heard.notes(3) in ([NOTE, f"{damaged}; {NOTE}"], [NOTE, NOTE])
    assert heard.notes(1) == heard.notes(2) == [NOTE, NOTE]


# --- Which checkpoint a trial goes on from -----------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    first = next(r for r in run(trial(), DATA, SCHEDULE, torch.device("cpu")) if r.save)
    folder = tmp_path_factory.mktemp("saved")
    assert first.save is not None
    first.save(folder)
    return folder


@pytest.fixture
def checkpoints(saved: Path, tmp_path: Path) -> Path:
    """A trial's folder with checkpoints 1, 2, 9, 10 and 11, and that of an earlier sitting."""
    for number in (1, 2, 9, 10, 11):
        shutil.copytree(saved, tmp_path / "now" / f"checkpoint_{number:06d}")
    shutil.copytree(saved, tmp_path / "before" / "checkpoint_000007")
    (tmp_path / "now" / "checkpoint_tmp").mkdir()
    (tmp_path / "now" / "error.txt").touch()
    return tmp_path


def _cut(checkpoint: Path) -> None:
    with (checkpoint / "state.pt").open("r+b") as file:
        file.truncate(100)


def _chosen(
    monkeypatch: pytest.MonkeyPatch, latest: tune.Checkpoint | None, recorded: list[str]
) -> tuple[bytes | None, list[str]]:
    """The state that is gone on from, and the note."""
    monkeypatch.setattr(tune, "get_checkpoint", lambda: latest)
    with wgan.newest_whole(wgan._checkpoints(recorded)) as (folder, notes):
        return (None if folder is None else (folder / "state.pt").read_bytes()), notes


def test_one_that_is_kept_for_its_generator_alone_is_passed_over_without_a_word(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
):
    (checkpoints / "now" / "checkpoint_000009" / "state.pt").unlink()
    _cut(checkpoints / "now" / "checkpoint_000010")
    latest = tune.Checkpoint(f"{checkpoints}/now/checkpoint_000010", LocalFileSystem())
    _, notes = _chosen(monkeypatch, latest, [])
    (note,) = notes
    assert note.startswith("checkpoint_000010 is damaged (state.pt ")
    assert note.endswith("): resumed from checkpoint_000002")


@pytest.mark.parametrize("remote", [False, True])
def test_the_newest_whole_checkpoint_is_used_and_what_was_passed_over_is_said(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, *, remote: bool
):
    """Also on a file system that is not this machine's, from which they are fetched."""
    local = LocalFileSystem()
    filesystem = SubTreeFileSystem(str(checkpoints), local) if remote else local
    root = "" if remote else f"{checkpoints}/"
    latest = tune.Checkpoint(f"{root}now/checkpoint_000010", filesystem)
    recorded = [str(checkpoints / "gone" / "checkpoint_000008"),
                str(checkpoints / "before" / "checkpoint_000007")]  # fmt: skip
    whole = (checkpoints / "now/checkpoint_000001/state.pt").read_bytes()
    assert _chosen(monkeypatch, latest, recorded) == (whole, [])

    said = []
    order = ["now/checkpoint_000010", "now/checkpoint_000009", "now/checkpoint_000002",
             "now/checkpoint_000001", "before/checkpoint_000007"]  # fmt: skip
    for name, then in zip(order, [*order[1:], None], strict=True):
        _cut(checkpoints / name)
        said.append(f"{Path(name).name} is damaged (state.pt ends too early)")
        if name == "now/checkpoint_000001":
            said.append("checkpoint_000008 is missing")
        continues = "started from scratch" if then is None else f"resumed from {Path(then).name}"
        expected = None if then is None else whole
        found = _chosen(monkeypatch, latest, recorded)
        assert found == (expected, [f"{', '.join(said)}: {continues}"])


def test_what_an_earlier_sitting_recorded_is_used_where_this_one_has_none(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
):
    at = [str(checkpoints / "now" / f"checkpoint_{n:06d}") for n in (10, 9)]
    _cut(Path(at[0]))
    uris = [Path(path).as_uri() for path in at]
    damaged = "checkpoint_000010 is damaged (state.pt ends too early)"
    for recorded in (at, uris, [at[0], *uris]):  # and no double is looked at twice
        content, notes = _chosen(monkeypatch, None, recorded)
        assert content is not None
        assert notes == [f"{damaged}: resumed from checkpoint_000009"]
    assert _chosen(monkeypatch, None, []) == (None, [])


def test_a_checkpoint_newer_than_the_last_that_ray_heard_of_is_left_alone(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its reports went unheard: to go on from it would leave them out."""
    for number in (1, 2, 9, 10):
        _cut(checkpoints / "now" / f"checkpoint_{number:06d}")
    latest = tune.Checkpoint(str(checkpoints / "now" / "checkpoint_000010"))
    content, (note,) = _chosen(monkeypatch, latest, [])
    assert content is None
    assert note.endswith(": started from scratch")
    assert "000011" not in note
    assert note.count("is damaged") == 4
