"""Execute a notebook where it stands, with this Python: ``python -m examples.execute search``.

The outputs are stored in it; paths of this clone are shown as a newcomer's would be.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent
ROOT = EXAMPLES.parent
MODULES = ("theory.py", "drawings.py")
SHOWN_ROOT = "/home/you/wgan-tuner"


class _ThisPython(AsyncKernelManager):
    """Starts this Python as the kernel: none has to be installed, and no other is taken."""

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def execute(notebook: nbformat.NotebookNode, folder: Path, timeout_s: int = 600) -> None:
    """Run all cells in a folder, and store what they give; a cell that raises ends it."""
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook, kernel_manager_class=_ThisPython, resources=resources, timeout=timeout_s
    ).execute()


def copy_modules(folder: Path) -> None:
    """Make a folder with the modules that notebooks import from where they stand."""
    folder.mkdir()
    for module in MODULES:
        shutil.copy(EXAMPLES / module, folder)


def main(name: str) -> None:
    """Execute and store a notebook of this folder, in a copy of what it needs."""
    path = EXAMPLES / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "search_spaces", Path(folder, "search_spaces"))
        copy_modules(Path(folder, "examples"))
        execute(notebook, Path(folder, "examples"))
        text = nbformat.writes(notebook)
        for shown in (str(ROOT / ".venv"), sys.prefix):
            text = text.replace(shown, f"{SHOWN_ROOT}/.venv")
        text = text.replace(str(Path(folder).resolve()), SHOWN_ROOT)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
