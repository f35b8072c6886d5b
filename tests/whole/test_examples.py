"""The notebooks run afresh, with tiny budgets, and show what they are meant to."""

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest

from examples.execute import EXAMPLES, ROOT, copy_modules, execute

#: The notebooks, and how many figures each has.
FIGURES = {"search": 1, "theory": 7}
TINY = {
    "num_trials=4": "num_trials=2",
    '"asha.max_generator_steps": 600': '"asha.max_generator_steps": 40, '
    '"asha.grace_generator_steps": 10, "objective.critic_steps": 10, '
    '"objective.final_critic_steps": 10, "objective.final_cones": False, '
    '"search.max_concurrent_trials": 1',
}
TINY_THEORY = {
    "[-1, -0.5, -0.2, -0.05, 0, 0.05, 0.2, 0.5, 1]": "[0, 1], num_steps=5",
    "[0, 5, 10, 20, 50, 100, 200, 300, 400, 500]": "[0, 5, 10]",
    "[1, 5, 20, 50, 100, 200, 500]": "[1, 2, 3]",
    "optimal_discriminator()": "optimal_discriminator(num_steps=5)",
    "1_000_000": "1_000",
    "theory.noisy_critic_estimate(theta, 0.25)": "theory.noisy_critic_estimate(theta, 0.25, 5)",
    "theory.deep_critic(clip_value)": "theory.deep_critic(clip_value, num_steps=5)",
}


def outputs(notebook: Any, kind: str) -> list[str]:
    """All outputs of a MIME type, or the text that was printed."""
    found = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = [output["text"] for output in found if output.output_type == "stream"]
    return (
        printed if kind == "stream" else [o.data[kind] for o in found if kind in o.get("data", {})]
    )


def made_tiny(name: str, replacements: dict[str, str]) -> Any:
    """A notebook with other numbers in its code, each of which it has."""
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for full, tiny in replacements.items():
        assert any(full in cell.source for cell in code), full
        for cell in code:
            cell.source = cell.source.replace(full, tiny)
    return notebook


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a notebook runs."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    shutil.copytree(ROOT / "search_spaces", tmp_path / "search_spaces")
    copy_modules(tmp_path / "examples")
    return tmp_path / "examples"


def test_all_that_ship_are_here() -> None:
    assert set(FIGURES) == {path.stem for path in EXAMPLES.glob("*.ipynb")}


@pytest.mark.parametrize("name", FIGURES)
def test_a_notebook_as_it_is_shipped_was_executed_in_order(name: str) -> None:
    path = EXAMPLES / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == [*range(1, len(counts) + 1)]
    assert len(outputs(notebook, "image/png")) == FIGURES[name]
    assert str(ROOT) not in path.read_text()


# nbclient leaves its sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(600)
def test_the_search_runs_afresh(folder: Path) -> None:
    notebook = made_tiny("search", TINY)
    execute(notebook, folder)
    printed = "".join(outputs(notebook, "stream"))
    assert "notebook: 2 trials, rungs at 10, 40 generator steps" in printed
    assert len(printed.splitlines()) < 30, "a worker's output floods the cell"
    assert len(outputs(notebook, "image/png")) == 1
    assert (folder / "runs" / "notebook" / "best.yaml").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_theory_runs_afresh_and_draws_every_figure(folder: Path) -> None:
    notebook = made_tiny("theory", TINY_THEORY)
    execute(notebook, folder)
    assert outputs(notebook, "stream") == []
    assert len(outputs(notebook, "image/png")) == FIGURES["theory"]
    assert any("at the bounds" in text for text in outputs(notebook, "text/plain"))
