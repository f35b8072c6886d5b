"""Searches as a user starts them, and what they leave.

Each is a process of its own, of its own session and with its own environment, that ends by itself
or is killed. They are forked from a server that has imported what takes seconds, or every test
would import it anew; what reads the environment when it is imported, Ray, is not among it.
``test_security.py`` and ``test_deploy.py`` start ``python -m tuner.search`` itself.
"""

import contextlib
import csv
import functools
import importlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

_started: list["Search"] = []
#: The project, and the folder of this file.
_PATH = Path(__file__).parents[2], Path(__file__).parent
#: Columns that hold wall time, the only ones that may differ between two equal searches.
TIMES = {"training_seconds", "scoring_seconds", "final_scoring_seconds"}


@dataclass(frozen=True)
class Search:
    """A search that was started. What it says goes into files, so that nothing has to be read."""

    process: BaseProcess
    out: Path
    err: Path

    @property
    def returncode(self) -> int:
        """Its exit status, or minus the signal that ended it; only once it has ended."""
        assert self.process.exitcode is not None
        return self.process.exitcode

    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.process.exitcode is not None

    def said(self) -> tuple[str, str]:
        """Output and errors so far."""
        return self.out.read_text(), self.err.read_text()

    def signal(self, number: int) -> None:
        """Send it a signal, and none to what it started."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def signal_all(self, number: int) -> None:
        """Send a signal to its process group, as ``timeout``, Slurm and systemd do."""
        assert self.process.pid is not None
        os.killpg(self.process.pid, number)

    def ended(self, timeout_s: float = 250) -> tuple[int, str, str]:
        """Wait for its end: exit status, output, errors."""
        self.process.join(timeout_s)
        assert self.is_over(), ("it goes on", *self.said())
        return self.returncode, *self.said()


def start(
    space: Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
    module: str = "tuner.search",
    with_dashboard: bool = False,
) -> Search:
    """Start a search, or another command of its kind, in the folder of its search space.

    Ray's dashboard is a dozen processes, which take as much CPU time to start as many a test.
    """
    folder = Path(tempfile.mkdtemp(dir=_scratch().name))
    files = folder / "out", folder / "err"
    for file in files:
        file.touch()
    environment = {**os.environ, "COLUMNS": "200", **(environment or {})}
    given = (module, [str(space), *options], space.parent, environment, files)
    process = _server().Process(
        target=_search, args=given, kwargs={"with_dashboard": with_dashboard}
    )
    process.start()
    while not (folder / "listens").exists() and process.is_alive():
        time.sleep(0.01)
    _started.append(Search(process, *files))
    return _started[-1]


@functools.cache
def _server() -> ForkServerContext:
    """Start the server that searches are forked from.

    It imports ``preloaded`` by ``PYTHONPATH`` alone, and would silently do without it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["preloaded"])
    with patch.dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, _PATH))):
        forkserver.ensure_running()
    return context


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """Gone when this process ends."""
    return tempfile.TemporaryDirectory(prefix="searches-")


def _search(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    files: Sequence[Path],
    *,
    with_dashboard: bool,
) -> None:
    """What ``python -m MODULE`` is, in a process that was forked."""
    os.setsid()  # a process group of its own
    # A shell starts what is to run in the background with it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # The server that it was forked from ignores SIGINT, and so did it until a moment ago.
    files[0].with_name("listens").touch()
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    sys.path[0] = str(_PATH[0])  # which Ray tells its workers
    assert "preloaded" in sys.modules, "each search would import for seconds"
    if not with_dashboard and "--local" not in arguments:
        _leave_out_the_dashboard()
    status = importlib.import_module(module).main(arguments)
    assert "--local" not in arguments or "ray" not in sys.modules, "it was to do without Ray"
    sys.exit(status)


def _leave_out_the_dashboard() -> None:
    """Start no dashboard with any Ray that this process starts."""
    import ray

    init = ray.init

    def init_without(**options: Any) -> Any:
        without = {"include_dashboard": False} if "include_dashboard" in options else {}
        return init(**{**options, **without})

    ray.init = init_without


def end_all() -> None:
    """End what a failed test left, and Ray with it: it would be in the way of the next."""
    for search in _started:
        if not search.is_over() and search.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it has not yet a session of its own
                os.killpg(search.process.pid, signal.SIGKILL)
            search.process.kill()
            search.process.join()
    _started.clear()


def run(
    space: Path, *options: str, environment: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Run a search to its end: exit status, output, errors."""
    return start(space, *options, environment=environment).ended()


def rows(run_dir: Path) -> list[dict[str, str]]:
    """The table of the trials."""
    with (run_dir / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_times(table: list[dict[str, str]]) -> list[dict[str, str]]:
    """All that must be the same in two equal searches."""
    return [{k: v for k, v in row.items() if k not in TIMES} for row in table]


def best(run_dir: Path) -> str:
    """The best trial's file, without its line on the sessions."""
    lines = (run_dir / "best.yaml").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("# Run by "))


def reports(run_dir: Path) -> list[dict[str, float]]:
    """All that was reported so far, whole lines only."""
    path = run_dir / "metrics.jsonl"
    raw = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in raw.splitlines(keepends=True) if line.endswith("\n")]


def wait_for_reports(search: Search, run_dir: Path, count: int) -> None:
    """Wait until so many reports were heard; the search must not end before."""
    wait_until(search, lambda: len(reports(run_dir)) >= count)


def wait_until(search: Search, is_true: Callable[[], bool]) -> None:
    """Wait until something is so; the search must not end before."""
    while not is_true():
        assert not search.is_over(), search.said()
        time.sleep(0.02)


def best_in_mlflow(database: Path) -> tuple[str, float]:
    """The trial that the one search of a database chose, and its score by the final."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    (search,) = (r for r in client.search_runs(experiments) if "best_trial" in r.data.tags)
    best = search.data.tags["best_trial"]
    (trial,) = (
        r for r in client.search_runs(experiments) if r.data.tags.get("tuner.trial_id") == best
    )
    (once,) = client.get_metric_history(trial.info.run_id, "w1_final")
    assert once.value == search.data.metrics["best_w1_final"]
    return best, once.value


def mlflow_runs(database: Path) -> dict[str, list[tuple[str, str]]]:
    """(name, status) of the runs in a database: the searches' and the trials'."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs: dict[str, list[tuple[str, str]]] = {"searches": [], "trials": []}
    for found in client.search_runs(experiments):
        kind = "trials" if "mlflow.parentRunId" in found.data.tags else "searches"
        runs[kind].append((str(found.info.run_name), found.info.status))
        counted = "while_training.generator_steps"
        steps = [m.step for m in client.get_metric_history(found.info.run_id, counted)]
        assert len(steps) == len(set(steps)), "a report was logged twice"
    return runs
