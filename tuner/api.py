"""Run searches from a notebook or a script, on the same path as the commands.

    from tuner import run_search
    result = run_search("search_spaces/gp.yaml", num_trials=8)
    samples = result.best.generator(torch.randn(64, result.best.latent_dim))

Importing this loads neither torch nor Ray: each function loads what it needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import BadInput, Fault, Halted

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from tuner.driver import CheckedSearch
    from tuner.results import Generator, Snapshot
    from tuner.study import Trial


@dataclass(frozen=True)
class BestTrial:
    """The trial that a search chose.

    ``config`` is all that it depends on, as ``best.yaml`` has it; ``w1`` is of its last rung,
    ``w1_final`` of the final, if it was in one.
    """

    trial_id: str
    config: Mapping[str, Any]
    w1: float
    w1_final: float | None
    _search: "Snapshot"
    _trial: "Trial"

    @cached_property
    def _generator(self) -> "Generator":
        from tuner import results

        return results.generator_of_trial(self._search, self._trial)

    @property
    def latent_dim(self) -> int:
        """Numbers in a latent."""
        return self._generator.latent_dim

    def generator(self, latents: "Tensor") -> "Tensor":
        """Samples [n, *sample_shape] in [-1, 1] of latents [n, latent_dim], standard normal.

        Raises:
            BadInput: where the search has left no generator, or its network's module is not there.
            ValueError: where the latents have another shape.
        """
        return self._generator(latents)

    def __repr__(self) -> str:
        """In one line: the configuration fills a page."""
        final = None if self.w1_final is None else f"{self.w1_final:.4g}"
        return f"BestTrial({self.trial_id!r}, w1={self.w1:.4g}, w1_final={final})"


@dataclass(frozen=True)
class Result:
    """What a search has left in its folder; ``best`` is ``None`` where no trial has completed."""

    run_dir: Path
    best: BestTrial | None

    @cached_property
    def trials(self) -> "pd.DataFrame":
        """``trials.csv``: a row a trial. What does not apply to a trial is missing there."""
        import pandas as pd

        path = self.run_dir / "trials.csv"
        if not path.exists():
            raise BadInput(str(path), [Fault("", "is not there yet: no trial has ended")])
        texts = ("trial_id", "status", "message")
        return pd.read_csv(path, dtype=dict.fromkeys(texts, "str"))

    @property
    def report(self) -> Path | None:
        """``report.html``, where it was written."""
        path = self.run_dir / "report.html"
        return path if path.exists() else None


def run_search(
    space: str | Path,
    *,
    num_trials: int | None = None,
    time_budget_s: float | None = None,
    overrides: Mapping[str, Any] | None = None,
    runs_dir: str | Path | None = None,
    name: str | None = None,
    resume: bool = False,
    warm_start: str | Path | None = None,
    local: bool = False,
    address: str | None = None,
    runtime_env: str | Path | None = None,
    quiet: bool = False,
) -> Result:
    """Run the search of a search space file, as ``python -m tuner.search`` does.

    Ctrl-C, or a notebook's "interrupt", stops the search within seconds and raises
    ``KeyboardInterrupt``, so that no cell below goes on with half a search: all is saved,
    ``resume=True`` goes on with it, and :func:`load_search` shows what there is so far.

    Args:
        space: The search space.
        num_trials: In place of the file's ``search.num_trials``.
        time_budget_s: In place of the file's ``search.time_budget_s``.
        overrides: In place of other values of the file, by dotted key: ``{"data.path": "faces"}``.
        runs_dir: The folder of all searches, in place of the file's ``results.runs_dir``.
        name: The search's name and folder, in place of the file's.
        resume: Go on with the search of that name; begin it, if there is none.
        warm_start: The folder or name of an earlier search, whose best trials are run first.
        local: Run the trials one after the other in this process, without Ray.
        address: Of an existing Ray cluster; ``RAY_ADDRESS``, if left out; else one is started here.
        runtime_env: A file that says what the cluster's nodes need besides.
        quiet: Print nothing.

    Raises:
        BadInput: what was given cannot be run; its text has all that is wrong.
        Halted: something outside stopped the search, to be resumed once that is mended.
        KeyboardInterrupt: it was interrupted.
    """
    import os

    from tuner import cli, driver

    if local and address is not None:
        what = "goes with no address: give one of the two"
        raise BadInput("run_search", [Fault("local", what)])
    _want_no_widgets()
    given = {"search.num_trials": num_trials, "search.time_budget_s": time_budget_s}
    changed = {key: value for key, value in given.items() if value is not None}
    request = driver.request_from_file(
        Path(space),
        {**(overrides or {}), **changed},
        name,
        None if runs_dir is None else str(runs_dir),
        resume=resume,
        warm_start=None if warm_start is None else str(warm_start),
        address=None if local else address or os.environ.get("RAY_ADDRESS") or None,
        is_local=local,
        runtime_env=None if runtime_env is None else Path(runtime_env),
    )
    console = cli.console(quiet=quiet)
    with cli.halts_on_full_disk("call run_search again with resume=True"):
        search = driver.check_request(request, console)
        _run(search, resume, console)
    return load_search(search.run_dir)


def _want_no_widgets() -> None:
    """In a notebook, Ray and tqdm ask for a package whose widgets nothing here shows."""
    import logging
    import warnings

    logging.getLogger("ray.widgets").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "IProgress not found")


def _run(search: "CheckedSearch", resume: bool, console: Any) -> None:
    from tuner import cli

    outcome = cli.run_and_report(search, resume=resume, console=console)
    if outcome.halted is not None:
        raise Halted(f"{outcome.halted}: once that is fixed, call it again with resume=True")
    if outcome.interrupted:
        raise KeyboardInterrupt(
            f"{search.run_dir} is saved: resume it with resume=True, or read it with load_search"
        )


def load_search(run_dir: str | Path) -> Result:
    """What a search has found, finished or not, from its folder: nothing in it is changed.

    Raises:
        BadInput: where it holds no search.
    """
    from tuner import results

    found = results.read_snapshot(Path(run_dir))
    trial = found.best
    best = None
    if trial is not None:
        w1_final = trial.final["w1_final"] if trial.final else None
        config, w1 = trial.config.applied(), trial.metrics["w1"]
        best = BestTrial(trial.trial_id, config, w1, w1_final, found, trial)
    return Result(Path(run_dir).absolute(), best)
