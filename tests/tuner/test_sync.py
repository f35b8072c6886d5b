"""``python -m tuner.sync RUN``: MLflow gets what it lacks of a search, and nothing else changes."""

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_search
from small_search import read_files, read_runs, tell_search
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tuner import sync
from tuner.space.spec import SearchSpec
from tuner.study.study import Study
from tuner.tracking import retry
from tuner.tracking import store as mlflow_store
from tuner.tracking.tracker import Tracker, kept_files

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def run_dir(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search's folder, beside an empty database."""
    monkeypatch.setattr(retry, "FIRST_RETRY_S", 0.01)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tmp_path / "search"


@pytest.fixture
def search(make_spec: Callable[..., SearchSpec]) -> SearchSpec:
    return make_spec(search={"num_trials": 2, "sampler": "random"}, objective={"final_trials": 1})


def follow(search: SearchSpec, run_dir: Path, uri: str | None) -> Callable[[str], Tracker]:
    return lambda search_id: Tracker(search, run_dir, search_id, lambda text: None, uri)


def everything(uri: str) -> dict[str | None, tuple[Any, ...]]:
    """All that a search's runs hold, but for when they were made, and the parent's end."""
    found, client = {}, mlflow_store.open_client(uri)
    for trial_id, run in read_runs(uri).items():
        histories = {k: client.get_metric_history(run.info.run_id, k) for k in run.data.metrics}
        metrics = {k: [(m.step, m.value, m.timestamp) for m in h] for k, h in histories.items()}
        files = (read_files(uri, run), read_files(uri, run, "samples"))
        tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
        ended = run.info.end_time if trial_id else None
        found[trial_id] = (run.info.status, ended, tags, run.data.params, metrics, files)
    return found


def fingerprint(run_dir: Path) -> dict[str, str]:
    """Every file of a folder but the journal, which is compared by what it says."""
    return {
        str(path.relative_to(run_dir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run_dir.rglob("*"))
        if path.is_file() and path.name not in ("study.log", ".lock")
    }


def test_another_persons_search_sends_no_password_to_its_mlflow(
    make_spec: Callable[..., SearchSpec],
    run_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The address is confirmed by the option, or replaced by the user's own."""
    search = make_spec(mlflow={"tracking_uri": NOWHERE})
    run_dir.mkdir()
    (run_dir / "spec.yaml").write_text(search.to_yaml())
    Study(run_dir / "study.log", search)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter22")
    uris: list[str | None] = []
    monkeypatch.setattr(sync, "sync", lambda search, uri, console: uris.append(uri) or 0)
    assert sync.main([str(run_dir)]) == 2
    err = capsys.readouterr().err
    assert "mlflow.tracking_uri in " in err
    assert f"MLFLOW_TRACKING_PASSWORD would be sent to {NOWHERE}: if it is yours, confirm" in err
    assert sync.main([str(run_dir), "--tracking-uri", NOWHERE]) == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:10")
    assert sync.main([str(run_dir)]) == 0
    assert "in place of the search's http://127.0.0.1:9" in capsys.readouterr().out
    assert uris == [NOWHERE, "$MLFLOW_TRACKING_URI"]


def test_a_copy_is_as_if_it_had_been_followed_and_twice_is_once(
    search: SearchSpec,
    run_dir: Path,
    tmp_path: Path,
    empty_database: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And the trials, the reports and the table stay as they were."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "provenance.json").write_text('[{"host": "before"}, {"host": "here"}]')
    told = tell_search(search, run_dir, follow(search, run_dir, None), finish=True)
    assert told.answer is None
    expected = everything(f"sqlite:///{tmp_path}/mlflow.db")
    assert [expected[i][0] for i in (None, "00000", "00001")] == ["FINISHED"] * 3
    assert expected[None][2]["session.host"] == "here"
    assert expected[None][2]["session.count"] == "2"
    assert "session.host" not in expected["00000"][2]
    (tmp_path / "there").mkdir()
    uri = small_search.copied(empty_database, tmp_path / "there")

    files, trials = fingerprint(run_dir), Study(run_dir / "study.log", search).trials()
    elapsed_s = Study(run_dir / "study.log", search).elapsed_s
    assert sync.main([str(run_dir), "--tracking-uri", uri]) == 0
    wrote = "wrote 3 runs, 9 reports, 8 files, 3 ends of runs\n"
    assert capsys.readouterr().out.startswith(wrote)
    assert everything(uri) == expected
    assert fingerprint(run_dir) == files
    study = Study(run_dir / "study.log", search)
    assert (study.trials(), study.elapsed_s) == (trials, elapsed_s)

    assert sync.main([str(run_dir), "--tracking-uri", uri]) == 0
    assert "nothing was missing" in capsys.readouterr().out
    assert everything(uri) == expected


def test_tensorboard_gets_what_it_lacks_if_the_search_names_it(
    make_spec: Callable[..., SearchSpec], run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = make_spec(
        search={"num_trials": 2, "sampler": "random"}, tracking={"tensorboard": True}
    )
    tell_search(search, run_dir, follow(search, run_dir, None), finish=True)
    for picture in run_dir.rglob("step_*.png"):
        picture.unlink()  # they are none
    assert not (run_dir / "tensorboard").exists()
    assert sync.main([str(run_dir)]) == 0
    logdir = f"TensorBoard: {sys.executable} -m tensorboard.main --logdir {run_dir}/tensorboard"
    assert logdir in capsys.readouterr().out
    for number in range(2):
        events = EventAccumulator(str(run_dir / "tensorboard" / f"{number:05d}"))
        events.Reload()
        steps = {event.step: event.value for event in events.Scalars("w1")}
        assert steps == dict.fromkeys(search.asha.rungs, 1.0 + number)
    shutil.rmtree(run_dir / "tensorboard")
    (run_dir / "tensorboard").write_text("in the way")
    assert sync.main([str(run_dir)]) == 1
    assert "TensorBoard lacks data of this search (" in capsys.readouterr().err


def test_an_interrupted_search_stays_so_until_it_is_resumed(
    search: SearchSpec, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = tell_search(search, run_dir, follow(search, run_dir, NOWHERE), finish=False)
    assert told.answer is not None
    assert "lacks data of 2 trials and of the search itself (Connection refused)" in told.answer
    command = f"{sys.executable} -m tuner.sync {run_dir} --tracking-uri {NOWHERE}"
    assert told.answer.endswith(f"--resume writes what is missing, and so does: {command}")
    assert sync.main([str(run_dir)]) == 0
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    runs = read_runs(uri)
    states = {trial_id: run.info.status for trial_id, run in runs.items()}
    assert states == {None: "KILLED", "00000": "FINISHED", "00001": "KILLED"}
    assert runs["00001"].data.tags["status"] == "interrupted"
    before = everything(uri)
    capsys.readouterr()
    assert sync.main([str(run_dir)]) == 0
    assert "nothing was missing" in capsys.readouterr().out
    assert everything(uri) == before
    # The parent's runs are the same ones when the search goes on.
    resumed = tell_search(search, run_dir, follow(search, run_dir, None), finish=True)
    assert resumed.answer is None
    assert {run.info.run_id for run in runs.values()} == {
        run.info.run_id for run in read_runs(uri).values()
    }
    assert {run.info.status for run in read_runs(uri).values()} == {"FINISHED"}


def test_a_server_that_is_not_there_is_exit_status_1(
    search: SearchSpec, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_search(search, run_dir, follow(search, run_dir, None), finish=True)
    capsys.readouterr()
    assert sync.main([str(run_dir), "--tracking-uri", NOWHERE]) == 1
    out, err = capsys.readouterr()
    assert "wrote" not in out
    what = "lacks data of up to 2 trials and of the search itself (Connection refused)"
    assert err.startswith(f"MLflow ({NOWHERE}) {what}. Nothing is lost: ")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "holds no search: it has no spec.yaml and no study.log; give a search's folder"),
        (["--tracking-uri", "http://me:secret@h"], "must not hold a password"),
    ],
)
def test_bad_input_is_exit_status_2_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], why: str
) -> None:
    assert sync.main([str(tmp_path / "none"), *options]) == 2
    err = capsys.readouterr().err
    assert why in err
    assert "secret" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_search_that_runs_writes_itself(
    search: SearchSpec, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_search(search, run_dir, follow(search, run_dir, NOWHERE), finish=False)
    with (run_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sync.main([str(run_dir)]) == 2
    assert "is in use by a search that is running" in capsys.readouterr().err


def test_what_mlflow_keeps_of_the_folder_is_what_is_there(
    search: SearchSpec, run_dir: Path
) -> None:
    assert kept_files(run_dir) == []
    tell_search(search, run_dir, follow(search, run_dir, NOWHERE), finish=True)
    assert [path.name for path in kept_files(run_dir)] == ["spec.yaml", "trials.csv"]
