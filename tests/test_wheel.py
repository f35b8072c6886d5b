"""A wheel holds all that the program needs away from its checkout."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("trainables", "tuner", "search_spaces")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of a wheel, built of a copy: building writes into the source."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=source, check=True, capture_output=True
    )
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_it_holds_every_file_of_the_packages_and_every_search_space(installed: Path) -> None:
    for name in ("trainables", "tuner"):
        own = files(ROOT / name)
        assert {k: v for k, v in files(installed / name).items() if k in own} == own
    assert files(installed / "tuner" / "search_spaces") == files(ROOT / "search_spaces")
    (information,) = installed.glob("*.dist-info")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    entries = (information / "entry_points.txt").read_text()
    assert "".join(f"{name} = {entry}" for name, entry in scripts.items()) in entries


def test_its_program_finds_the_search_spaces_away_from_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    (entry,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].values()
    module, _, function = entry.partition(":")
    code = f"from {module} import {function} as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code, "search", "nowhere"],
        cwd=tmp_path, env={"PYTHONPATH": str(installed)}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    names = ", ".join(sorted(path.stem for path in (ROOT / "search_spaces").glob("*.yaml")))
    assert done.stderr.endswith(f"no search space of this name is shipped: those are {names}\n")
