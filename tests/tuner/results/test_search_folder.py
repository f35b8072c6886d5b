"""A folder is told to hold a search by the names of its files."""

from pathlib import Path

import pytest

from tuner.errors import BadInput
from tuner.results.search_folder import check_is_search, is_search


def test_a_search_has_its_search_space_and_its_journal(tmp_path: Path) -> None:
    for name in ("spec.yaml", "study.log"):
        assert not is_search(tmp_path)
        (tmp_path / name).touch()
    assert is_search(tmp_path)
    check_is_search(tmp_path)


@pytest.mark.parametrize("name", ["spec.yaml", "study.log", "trials.csv"])
def test_any_of_its_files_is_left_of_a_broken_one(tmp_path: Path, name: str) -> None:
    assert not is_search(tmp_path, or_broken=True)
    (tmp_path / name).touch()
    assert is_search(tmp_path, or_broken=True)


def test_the_refusal_names_what_is_missing_and_what_to_give(tmp_path: Path) -> None:
    what = r"holds no search: it has no spec\.yaml and no study\.log; give a search's folder, such"
    with pytest.raises(BadInput, match=what):
        check_is_search(tmp_path)
    (tmp_path / "study.log").touch()
    with pytest.raises(BadInput, match=r"it has no spec\.yaml; give"):
        check_is_search(tmp_path)
