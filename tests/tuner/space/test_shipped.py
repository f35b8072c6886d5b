"""A search space by its name, where there is no such file."""

from pathlib import Path

import pytest

from tuner.errors import BadInput
from tuner.space.shipped import FOLDER, find_space, shipped_spaces
from tuner.space.spec import read_spec


def test_those_of_the_checkout_are_shipped() -> None:
    root = Path(__file__).parents[3] / "search_spaces"
    assert [path.resolve() for path in shipped_spaces().values()] == sorted(root.glob("*.yaml"))


def test_a_name_is_the_shipped_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_space(Path("gp")) == FOLDER / "gp.yaml"
    assert read_spec(find_space(Path("gp"))).name == "gp"
    Path("gp").mkdir()  # such as a search's folder
    assert find_space(Path("gp")) == FOLDER / "gp.yaml"
    Path("gp").rmdir()
    Path("gp").write_text("name: mine")
    assert find_space(Path("gp")) == Path("gp")


@pytest.mark.parametrize("path", ["gp.yaml", "./x/gp", "/gp", "x/gp.yaml"])
def test_a_path_is_a_path(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_space(Path(path)) == Path(path)


def test_a_name_of_neither_is_refused_with_those_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"no search space of this name is shipped: those are .*gp,"):
        find_space(Path("pg"))
    Path("pg").mkdir()
    assert find_space(Path("pg")) == Path("pg")
