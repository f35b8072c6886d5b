"""Other trackers than MLflow: what TensorBoard's and W&B's own readers find of a small search."""

import importlib.util
import json
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_search import LRS, SmallSearch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

from tuner import search as search_command
from tuner.record import Record
from tuner.space import TrackingConfig
from tuner.study import Study
from tuner.tracking.boards import BoardFollower, boards_of

Open = Callable[..., BoardFollower]


@pytest.fixture
def begin(search: SmallSearch) -> Open:
    """Start a session of the search, followed for one board, as ``tracking`` chooses it."""

    def begin(warnings: list[str], **tracking: Any) -> BoardFollower:
        chosen = TrackingConfig(**tracking)
        search.spec = search.spec.model_copy(update={"tracking": chosen})
        search.leave()
        study = Study(search.run_dir / "study.log", search.spec)
        record = search.record = Record(search.run_dir, search.spec, study)
        (follower,) = boards_of(search.spec, search.run_dir, "id", warnings.append)
        record.listeners.append(follower)
        record.start()
        return follower

    return begin


def finish(search: SmallSearch, follower: BoardFollower) -> str | None:
    """The trial under way completes, and both are in the final."""
    if 1 not in search.current.running:
        assert search.begin() == 1
        search.report(1, 250)  # a resumed trial reports its last step again
    search.report(1, 500)
    search.current.ended(1)
    search.score_final()
    return follower.close("finished", timeout_s=30)


def wait(follower: BoardFollower) -> None:
    while follower._changed.lacking:
        assert follower._thread is not None
        assert follower._thread.is_alive()
        time.sleep(0.001)


def read_events(folder: Path) -> dict[str, EventAccumulator]:
    found = EventMultiplexer().AddRunsFromDirectory(str(folder))
    found.Reload()
    return {name: found.GetAccumulator(name) for name in found.Runs()}


def points(run: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in run.Scalars(tag)]


def hyperparameters(run: EventAccumulator, tag: str) -> Any:
    return run.SummaryMetadata(tag).plugin_data.content


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_each_point_once_after_a_kill_and_a_resume(
    search: SmallSearch, begin: Open
) -> None:
    warnings: list[str] = []
    wait_for = begin(warnings, tensorboard=True)
    search.run()
    wait(wait_for)
    live = read_events(search.run_dir / "tensorboard")
    assert points(live["00001"], "w1") == [(250, 3.5)]  # while it trains
    search.leave()
    follower = begin(warnings, tensorboard=True)
    assert finish(search, follower) is None
    runs = read_events(search.run_dir / "tensorboard")
    assert runs.keys() == {".", "00000", "00001"}
    for number in range(2):
        run = runs[f"{number:05d}"]
        assert points(run, "w1") == [(250, 2.5 + number), (500, 5.0 + number)]
        assert points(run, "best_w1") == [(250, 2.5 + number)]
        assert points(run, "w1_final") == [(250, 4.5)]
        (picture,) = run.Images("samples")
        assert (picture.step, picture.width, picture.height) == (250, 3, 2)
        start = metadata.parse_session_start_info_plugin_data(
            hyperparameters(run, metadata.SESSION_START_INFO_TAG)
        )
        assert {key: value.number_value for key, value in start.hparams.items()} == {
            "critic_lr": LRS[number]
        }
        assert metadata.SESSION_END_INFO_TAG in run.PluginTagToContent("hparams")
    experiment = metadata.parse_experiment_plugin_data(
        hyperparameters(runs["."], metadata.EXPERIMENT_TAG)
    )
    assert [info.name for info in experiment.hparam_infos] == ["critic_lr"]
    assert [info.name.tag for info in experiment.metric_infos] == ["best_w1", "w1_final", "w1"]
    assert warnings == []

    trials = search.trials
    search.leave()
    written = files_of(search.run_dir / "tensorboard")
    (again,) = boards_of(search.spec, search.run_dir, "id", warnings.append)
    again.start(trials, resumes=False)  # as tuner.sync does
    assert again.close("finished") is None
    now = files_of(search.run_dir / "tensorboard")
    assert {p: now[p] for p in written if p.parent.name.startswith("0")} == {
        p: at for p, at in written.items() if p.parent.name.startswith("0")
    }


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of W&B's file: LevelDB's log format after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    raw, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(raw):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", raw[at : at + 7])
        record += raw[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            yield Record.FromString(record)
            record = b""


@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_has_each_trial_once_after_a_kill_and_a_resume(
    search: SmallSearch, begin: Open
) -> None:
    warnings: list[str] = []
    follower = begin(warnings, wandb="offline")
    search.run()
    wait(follower)
    search.leave()
    assert finish(search, begin(warnings, wandb="offline")) is None
    assert warnings == []
    folders = sorted((search.run_dir / "wandb").glob("offline-run-*"))
    assert sorted(folder.name[-8:] for folder in folders) == ["id-00000", "id-00001"]
    for folder in folders:
        number = int(folder.name[-1])
        (file,) = folder.glob("*.wandb")
        records = list(wandb_records(file))
        (run,) = (record.run for record in records if record.HasField("run"))
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert (run.project, run.run_group, run.display_name) == ("wgan", "gp", f"gp {number:05d}")
        assert config["critic_lr"] == LRS[number]
        rows = [
            {"/".join(item.nested_key) or item.key: json.loads(item.value_json)
             for item in record.history.item}
            for record in records if record.HasField("history")
        ]  # fmt: skip
        assert [(row["_step"], row["w1"]) for row in rows] == [
            (250, 2.5 + number), (500, 5.0 + number)
        ]  # fmt: skip
        assert ["samples" in "".join(row) for row in rows] == [True, False]
        summary = {
            item.key: json.loads(item.value_json)
            for record in records if record.HasField("summary") for item in record.summary.update
        }  # fmt: skip
        assert (summary["best_w1"], summary["w1_final"]) == (2.5 + number, 4.5)


def test_a_board_that_fails_is_warned_of_once_and_the_search_ends_as_ever(
    search: SmallSearch, begin: Open
) -> None:
    (search.run_dir / "tensorboard").write_text("a file where its folder should be")
    warnings: list[str] = []
    follower = begin(warnings, tensorboard=True)
    search.run()
    answer = finish(search, follower)
    assert len(warnings) == 1
    assert warnings[0].startswith("TensorBoard is not written to any more: ")
    assert warnings[0].endswith(". The search continues.")
    assert answer is not None
    assert "TensorBoard lacks data of this search (" in answer
    assert f"-m tuner.sync {search.run_dir}" in answer
    assert [trial.status for trial in search.trials] == ["completed", "completed"]


def test_no_link_in_another_person_s_folder_is_followed(
    search: SmallSearch, begin: Open, tmp_path: Path
) -> None:
    """Else a resume would delete event files elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "00000").mkdir(parents=True)
    mine = elsewhere / "00000" / "events.out.tfevents.1.mine"
    mine.write_text("mine")
    (search.run_dir / "tensorboard").symlink_to(elsewhere)
    warnings: list[str] = []
    follower = begin(warnings, tensorboard=True)
    search.run()
    follower.close("interrupted", timeout_s=30)
    (search.run_dir / "tensorboard").unlink()
    (search.run_dir / "tensorboard").mkdir()
    (search.run_dir / "tensorboard" / "00000").symlink_to(elsewhere / "00000")
    search.leave()
    follower = begin(warnings, tensorboard=True)
    follower.close("interrupted", timeout_s=30)
    assert [text.endswith("is a link: remove it. The search continues.") for text in warnings] == [
        True,
        True,
    ]
    assert [path.name for path in elsewhere.rglob("events*")] == [mine.name]


def test_a_missing_package_is_one_message_before_the_start(
    space: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec
    missing = {"wandb", "tensorboardX"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in missing else find(name, *a)
    )
    path = space(
        "name: a\nsearch: {num_trials: 1}\ntracking: {tensorboard: true, wandb: offline}\n"
    )
    assert search_command.main([str(path), "--runs-dir", str(path.parent)]) == 2
    error = capsys.readouterr().err
    assert "2 faults" in error
    assert "tracking.tensorboard: needs the package tensorboardX, which is not installed: " in error
    assert "-m pip install wandb, or leave it out" in error
    assert not (path.parent / "a").exists()
