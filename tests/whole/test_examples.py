"""The notebook runs afresh, with a tiny budget, and shows what it is meant to."""

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest

from examples.execute import EXAMPLES, ROOT, execute

PATH = EXAMPLES / "search.ipynb"
TINY = {
    "num_trials=4": "num_trials=2",
    '"asha.max_generator_steps": 600': '"asha.max_generator_steps": 40, '
    '"asha.grace_generator_steps": 10, "objective.critic_steps": 10, '
    '"objective.final_critic_steps": 10, "objective.final_cones": False',
}


def outputs(notebook: Any, kind: str) -> list[str]:
    """All outputs of a MIME type, or the text that was printed."""
    found = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = [output["text"] for output in found if output.output_type == "stream"]
    return (
        printed if kind == "stream" else [o.data[kind] for o in found if kind in o.get("data", {})]
    )


def test_the_notebook_as_it_is_shipped_was_executed_in_order() -> None:
    notebook = nbformat.read(PATH, as_version=4)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == [*range(1, len(counts) + 1)]
    assert len(outputs(notebook, "image/png")) == 1
    assert str(ROOT) not in PATH.read_text()


# nbclient leaves its sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(600)
def test_the_notebook_runs_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    notebook = nbformat.read(PATH, as_version=4)
    for cell in notebook.cells:
        for full, tiny in TINY.items():
            cell.source = cell.source.replace(full, tiny)
    shutil.copytree(ROOT / "search_spaces", tmp_path / "search_spaces")
    (tmp_path / "examples").mkdir()
    execute(notebook, tmp_path / "examples")
    printed = "".join(outputs(notebook, "stream"))
    assert "notebook: 2 trials, rungs at 10, 40 generator steps" in printed
    assert len(printed.splitlines()) < 30, "a worker's output floods the cell"
    assert len(outputs(notebook, "image/png")) == 1
    assert (tmp_path / "examples" / "runs" / "notebook" / "best.yaml").exists()
