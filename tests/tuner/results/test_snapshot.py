"""A search's folder, read while somebody else writes it or a crash has cut it short."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_search

from tuner.errors import BadInput
from tuner.results import snapshot
from tuner.space.spec import SearchSpec
from tuner.storage import lock as folder
from tuner.tracking.tracker import Tracker

MakeSpec = Callable[..., SearchSpec]


@pytest.fixture
def run_dir(make_spec: MakeSpec, uri: str, tmp_path: Path) -> Path:
    """A search of two trials, of which the second is under way."""
    tell(make_spec(search={"num_trials": 2, "sampler": "random"}), tmp_path / "search", uri, False)
    return tmp_path / "search"


def tell(search: SearchSpec, run_dir: Path, uri: str, finish: bool) -> None:
    def follow(search_id: str) -> Any:
        return Tracker(search, run_dir, search_id, lambda text: None, uri)

    small_search.tell_search(search, run_dir, follow, finish=finish)


def contents(run_dir: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in run_dir.rglob("*") if p.is_file()}


def test_a_search_under_way_is_told_as_it_stands(run_dir: Path) -> None:
    found = snapshot.read_snapshot(run_dir)
    done, open_ = found.trials
    assert (done.status, done.scores) == ("completed", {250: 1.0, 1000: 1.0, 4000: 1.0})
    assert (open_.status, open_.generator_steps) == (None, 100)
    assert [sorted(found.reports[n]) for n in (0, 1)] == [[250, 1000, 4000], [100]]
    assert found.best == done
    assert found.state == "interrupted"
    with folder.own_folder(run_dir):
        assert snapshot.read_snapshot(run_dir).state == "running"


@pytest.mark.parametrize("name", ["study.log", "metrics.jsonl"])
def test_a_damaged_line_is_named_in_the_search_s_own_file(run_dir: Path, name: str) -> None:
    first, rest = (run_dir / name).read_bytes().split(b"\n", 1)
    (run_dir / name).write_bytes(b"\n".join([first, b"garbage", rest]))
    with pytest.raises(
        BadInput, match=f"^{run_dir / name}: 1 fault\n  line 2: is not as it was wr"
    ):
        snapshot.read_snapshot(run_dir)


def test_a_finished_search_is_told_as_finished(
    make_spec: MakeSpec, uri: str, tmp_path: Path, run_dir: Path
) -> None:
    tell(snapshot.read_snapshot(run_dir).spec, run_dir, uri, True)
    found = snapshot.read_snapshot(run_dir)
    assert found.state == "finished"
    assert [t.final["w1_final"] for t in found.trials if t.final] == [1.5, 1.5]


def test_reading_changes_nothing_also_where_a_line_is_cut_short(run_dir: Path) -> None:
    for name in ("study.log", "metrics.jsonl"):
        with (run_dir / name).open("a") as file:
            file.write('{"half": ')
    (run_dir / "study.log.lock").touch()  # as the journal's writer has it for a moment
    before = contents(run_dir)
    found = snapshot.read_snapshot(run_dir)
    assert [t.status for t in found.trials] == ["completed", None]
    assert contents(run_dir) == before


def test_a_trial_is_found_by_its_number(run_dir: Path) -> None:
    found = snapshot.read_snapshot(run_dir)
    assert found.trial("00001") == found.trial("1") == found.trials[1]
    for wrong in ("2", "-1", "one", "²"):
        with pytest.raises(BadInput, match=f"has no trial '{wrong}': its trials are 0 to 1"):
            found.trial(wrong)


@pytest.mark.parametrize("name", ["spec.yaml", "study.log"])
def test_a_folder_of_no_search_is_refused(run_dir: Path, name: str, tmp_path: Path) -> None:
    shutil.copytree(run_dir, tmp_path / "other")
    (tmp_path / "other" / name).unlink()
    with pytest.raises(BadInput, match=rf"holds no search: it has no {name}; give a search's"):
        snapshot.read_snapshot(tmp_path / "other")
