"""Checkpoints are recorded by their paths within the search, and none outside is ever touched."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import s3

from tuner.space.spec import SearchSpec
from tuner.storage.folder import Folder
from tuner.study.checkpoints import CheckpointFolder, Superseded
from tuner.study.study import Study

MakeSpec = Callable[..., SearchSpec]
NAME = "ray/20260101-000000/search_00000/checkpoint_000001"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "search"
    folder.mkdir(parents=True)
    return folder


def record_as_before(path: Path, spec: SearchSpec, checkpoints: list[str]) -> None:
    """Record locations, as earlier versions did, or whoever edits a journal."""
    study = Study(path, spec)
    if study.ask() is not None:
        study._storage.set_trial_user_attr(study._id(0), "checkpoints", checkpoints)


def recorded(path: Path) -> list[list[str]]:
    """What the journal itself names, line by line."""
    lines = (json.loads(line) for line in path.read_text().splitlines())
    attrs = [line.get("user_attr", {}) for line in lines]
    return [attr["checkpoints"] for attr in attrs if "checkpoints" in attr]


@pytest.mark.parametrize(
    ("location", "given"),
    [
        ("/runs/search", f"/runs/search/{NAME}"),
        ("/runs/search", f"/where/it/was/search/{NAME}"),
        ("/runs/search", f"s3://bucket/search/{NAME}?region=eu-west-1"),
        ("/runs/search", NAME),
        ("/runs/ray", f"/runs/ray/{NAME}"),
        ("file:///runs/search", f"file:///runs/search/{NAME}"),
        ("s3://bucket/search?region=x", f"s3://bucket/search/{NAME}?region=x"),
    ],
)
def test_a_checkpoint_is_named_by_its_path_within_the_search(location: str, given: str) -> None:
    folder = CheckpointFolder(location, location.partition("?")[0].rpartition("/")[2])
    assert folder.recorded_name(given) == NAME
    head, mark, options = location.partition("?")
    assert folder.locate(given) == f"{head}/{NAME}{mark}{options}"


@pytest.mark.parametrize(
    "given",
    [
        "/etc", "/victim/ray/a/b/checkpoint_000001", "/runs/search", "/runs/search/best",
        "/runs/search/ray", "/runs/search/ray/", "/runs/search/ray/../../../victim", "ray/..",
        "ray/a/../..", "ray//etc", "best", "", ".", "/runs/search2/ray/a", "ray",
        "s3://bucket/other/ray/a", "ray/a\0",
    ],
)  # fmt: skip
def test_what_lies_outside_has_no_location(given: str) -> None:
    assert CheckpointFolder("/runs/search", "search").locate(given) is None


def test_nor_has_what_a_link_leads_out_to(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (run_dir / "ray").symlink_to(tmp_path)
    assert CheckpointFolder(str(run_dir), "search").locate("ray/victim") is None
    (tmp_path / "link").symlink_to(run_dir.parent)
    through_link = CheckpointFolder(str(tmp_path / "link" / "search"), "search")
    (run_dir / "ray").unlink()
    assert through_link.locate(NAME) == str(tmp_path / "link" / "search" / NAME)


def test_a_journal_that_moves_takes_its_checkpoints_along(
    run_dir: Path, tmp_path: Path, make_spec: MakeSpec
) -> None:
    study = Study(run_dir / "study.log", make_spec())
    study.ask()
    study.save(0, str(run_dir / NAME))
    assert recorded(run_dir / "study.log") == [[NAME]]
    shutil.move(run_dir, tmp_path / "search")
    (trial,) = Study(tmp_path / "search" / "study.log", make_spec()).trials()
    assert trial.checkpoint == str(tmp_path / "search" / NAME)


def test_a_copy_supersedes_its_own_checkpoints_and_never_the_original_s(
    run_dir: Path, tmp_path: Path, make_spec: MakeSpec
) -> None:
    """The journal is of an earlier version, which recorded locations."""
    before = [str(run_dir / NAME[:-1]) + number for number in "21"]
    record_as_before(run_dir / "study.log", make_spec(), before)
    copy = tmp_path / "copy" / "search"
    shutil.copytree(run_dir, copy)
    study = Study(copy / "study.log", make_spec())
    assert study.trial(0).checkpoints == tuple(str(copy / NAME[:-1]) + number for number in "21")
    assert study.foreign_checkpoints() == []
    assert study.save(0, str(copy / NAME[:-1]) + "3") == Superseded((str(copy / NAME),))
    assert recorded(copy / "study.log")[-1] == [NAME[:-1] + number for number in "32"]


def test_what_the_journal_names_outside_is_neither_read_nor_given_for_deletion(
    run_dir: Path, tmp_path: Path, make_spec: MakeSpec
) -> None:
    hostile = [str(tmp_path / "victim"), f"{run_dir}/ray/../../../victim"]
    record_as_before(run_dir / "study.log", make_spec(), hostile)
    study = Study(run_dir / "study.log", make_spec())
    assert study.trial(0).checkpoints == ()
    assert study.foreign_checkpoints() == hostile
    assert [study.save(0, f"{run_dir}/ray/s/t/checkpoint_{i}") for i in range(3)] == [
        Superseded(), Superseded(), Superseded((str(run_dir / "ray/s/t/checkpoint_0"),)),
    ]  # fmt: skip
    for elsewhere in (hostile[0], f"/where/it/was/search/{NAME}"):
        with pytest.raises(ValueError, match=f"{elsewhere} is no checkpoint of this search"):
            study.save(0, elsewhere)


def test_checkpoints_that_no_trial_needs_are_those_that_the_journal_does_not_name(
    run_dir: Path, tmp_path: Path, make_spec: MakeSpec
) -> None:
    study = Study(run_dir / "study.log", make_spec())
    assert study.superseded_checkpoints() == Superseded()  # there is no folder of them yet
    study.ask()
    study.save(0, str(run_dir / NAME))
    other, outside = run_dir / (NAME[:-1] + "2"), tmp_path / "checkpoint_000009"
    for folder in (run_dir / NAME, other, outside):
        folder.mkdir(parents=True)
        (folder / "state.pt").touch()
    (other.parent / "params.json").touch()
    (run_dir / NAME).with_name("checkpoint_000007").symlink_to(outside)
    assert study.superseded_checkpoints() == Superseded((str(other),))


def test_so_it_is_in_an_object_store(server: s3.S3, tmp_path: Path, make_spec: MakeSpec) -> None:
    location = server.uri(tmp_path.name, "search")
    study = Study(tmp_path / "study.log", make_spec(), location)
    study.ask()
    folder = CheckpointFolder(location, "search")
    study.save(0, str(folder.locate(NAME)))
    for name in (NAME, NAME[:-1] + "0"):
        Folder(str(folder.locate(name))).write_bytes("state.pt", b"state")
    assert study.superseded_checkpoints() == Superseded((str(folder.locate(NAME[:-1] + "0")),))


def _asked(run_dir: Path, make_spec: MakeSpec, num: int) -> tuple[Study, list[str]]:
    """Return a study of one trial that runs, and the folders of its first checkpoints."""
    study = Study(run_dir / "study.log", make_spec())
    study.ask()
    return study, [str(run_dir / NAME[:-1]) + str(number) for number in range(num)]


def test_the_generators_of_the_best_and_the_latest_rung_are_kept_without_their_states(
    run_dir: Path, make_spec: MakeSpec
) -> None:
    """The scores fall to the second rung and rise after it; a checkpoint is between any two."""
    study, at = _asked(run_dir, make_spec, 9)
    answers = []
    for number, score in enumerate((3.0, None, 1.0, None, 2.0, None, 4.0, None, 5.0)):
        rung = None if score is None else (100 * number + 100, score)
        answers.append(study.save(0, at[number], rung))
        if rung is not None and number < 8:  # the last report of a trial is not passed
            study.score(0, *rung)
    assert answers == [
        Superseded(),
        Superseded(),
        Superseded((at[0],)),
        Superseded((at[1],)),
        Superseded((), (at[2],)),
        Superseded((at[3],)),
        Superseded((at[4],)),
        Superseded((at[5],)),
        Superseded((at[6],)),
    ]
    assert study.trial(0).checkpoints == (at[8], at[7])
    assert study.trial(0).generators == {300: at[2], 900: at[8]}
    study.end(0, "completed", {"generator_steps": 900.0}, 5.0)
    trial = study.trial(0)
    assert (trial.best_rung, trial.score, trial.best_generator) == (300, 1.0, at[2])
    assert (trial.last_rung, trial.last_score) == (900, 5.0)


def test_what_a_kill_left_of_them_is_found(run_dir: Path, make_spec: MakeSpec) -> None:
    study = Study(run_dir / "study.log", make_spec())
    study.ask()
    at = [run_dir / f"{NAME[:-1]}{number}" for number in range(4)]
    for number, folder in enumerate(at):
        folder.mkdir(parents=True)
        for name in ("generator.pt", "state.pt"):
            (folder / name).touch()
        study.save(0, str(folder), (100, 1.0) if number == 0 else None)
    assert study.superseded_checkpoints() == Superseded((str(at[1]),), (str(at[0]),))
    (at[0] / "state.pt").unlink()
    assert study.superseded_checkpoints() == Superseded((str(at[1]),))


def test_a_rung_that_is_reached_again_replaces_its_generator(
    run_dir: Path, make_spec: MakeSpec
) -> None:
    study, at = _asked(run_dir, make_spec, 3)
    study.save(0, at[0], (100, 1.0))
    study.save(0, at[1], (100, 1.0))
    assert study.save(0, at[2]) == Superseded((at[0],))
    assert study.trial(0).generators == {100: at[1]}


def test_a_journal_names_a_generator_before_the_checkpoint_that_a_resume_takes(
    run_dir: Path, make_spec: MakeSpec
) -> None:
    study = Study(run_dir / "study.log", make_spec())
    study.ask()
    study.save(0, str(run_dir / NAME), (100, 1.0))
    generators, checkpoints = (run_dir / "study.log").read_text().splitlines()[-2:]
    assert json.loads(generators)["user_attr"] == {"generators": {"100": NAME}}
    assert json.loads(checkpoints)["user_attr"] == {"checkpoints": [NAME]}
