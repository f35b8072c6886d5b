"""The tree is the architecture: what import-linter's contracts cannot say in a few lines."""

import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(p.parent.name for p in (ROOT / "tuner").glob("*/__init__.py"))


@pytest.fixture(scope="module")
def imports() -> list[tuple[str, str]]:
    graph = grimp.build_graph("tuner", "trainables", cache_dir=None)
    return [(a, b) for a in graph.modules for b in graph.find_modules_directly_imported_by(a)]


def test_a_package_of_the_search_is_entered_by_its_face_alone(imports: list[tuple[str, str]]):
    """Others write ``from tuner.study import Study``, never ``from tuner.study.study import``."""
    inner = [(a, b) for a, b in imports if b.startswith("tuner.") and b.count(".") == 2]
    assert len(inner) > 100  # within the packages
    packages = {b: b.rsplit(".", 1)[0] for _, b in inner}
    assert [(a, b) for a, b in inner if not f"{a}.".startswith(f"{packages[b]}.")] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_face_gives_all_that_it_names_and_no_name_of_a_module(package: str):
    face = __import__(f"tuner.{package}", fromlist=["_"])
    modules = {path.stem for path in (ROOT / "tuner" / package).glob("*.py")}
    assert face.__all__
    assert modules & set(face.__all__) == set()
    for name in face.__all__:
        assert getattr(face, name) is not None


def test_every_file_that_gives_shapes_has_them_checked_in_tests():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]
    start = "--jaxtyping-packages="
    (option,) = (o for o in settings["ini_options"]["addopts"] if o.startswith(start))
    *checked, _ = option.removeprefix(start).split(",")
    for path in (ROOT / "trainables").rglob("*.py"):
        if "from jaxtyping" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            assert any(f"{name}.".startswith(f"{package}.") for package in checked), name
