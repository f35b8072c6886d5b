"""Run and read searches from a notebook or a script, as the commands do.

    from tuner import run_search
    result = run_search("search_spaces/gp.yaml", num_trials=8)
    samples = result.best.generator(torch.randn(64, result.best.latent_dim))

Importing this module loads neither torch nor Ray: each function imports what it needs.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner import process
from tuner.errors import BadInput, Fault, Halted
from tuner.process import silence

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from tuner.driver import CheckedSearch
    from tuner.results import Generator, Snapshot
    from tuner.study import Trial


@dataclass(frozen=True)
class BestTrial:
    """The best trial of a search.

    Attributes:
        trial_id: Its number, such as ``00007``.
        config: Its full configuration, as in ``best.yaml``.
        w1: Its ``w1`` at its best rung.
        w1_final: Its score in the final; ``None`` if it was in none.
        generator_steps: The generator step of that rung, whose generator this is.
    """

    trial_id: str
    config: Mapping[str, Any]
    w1: float
    w1_final: float | None
    generator_steps: int
    _search: "Snapshot"
    _trial: "Trial"
    _allow_code: Collection[str] = ()

    @cached_property
    def _generator(self) -> "Generator":
        from tuner import results

        return results.generator_of_trial(self._search, self._trial, self._allow_code)

    @property
    def w1_final_mean(self) -> float | None:
        """Return the mean score of further seeds in the final; ``None`` if there were none."""
        return None if self._trial.final is None else self._trial.final.get("w1_final_mean")

    @property
    def latent_dim(self) -> int:
        """Return the length of a latent."""
        return self._generator.latent_dim

    def generator(self, latents: "Tensor") -> "Tensor":
        """Generate samples [n, *sample_shape]: images in [-1, 1], vectors in the data's units.

        Args:
            latents: Standard normal latents [n, latent_dim].

        Raises:
            BadInput: if the search saved no generator, or the module of its custom network is
                missing or was not allowed.
            ValueError: if the latents have another shape.
        """
        return self._generator(latents)

    def __repr__(self) -> str:
        """Return one line, without the configuration, which fills a page."""
        final = None if self.w1_final is None else f"{self.w1_final:.4g}"
        return f"BestTrial({self.trial_id!r}, w1={self.w1:.4g}, w1_final={final})"


@dataclass(frozen=True)
class Result:
    """The results in a search's folder.

    Attributes:
        run_dir: The folder, absolute.
        best: The best trial; ``None`` if no trial has completed.
    """

    run_dir: Path
    best: BestTrial | None

    @cached_property
    def trials(self) -> "pd.DataFrame":
        """Read ``trials.csv``: one row per trial; values that do not apply to a trial are missing.

        Raises:
            BadInput: if no trial has ended yet.
        """
        import pandas as pd

        path = self.run_dir / "trials.csv"
        if not path.exists():
            raise BadInput(
                str(path), [Fault("", "does not exist yet: wait until a trial has ended")]
            )
        texts = ("trial_id", "status", "message")
        return pd.read_csv(path, dtype=dict.fromkeys(texts, "str"))

    @property
    def report(self) -> Path | None:
        """Return the path of ``report.html``, or ``None`` if it was not written."""
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
    allow_code: Collection[str] = (),
    quiet: bool = False,
) -> Result:
    """Run the search of a search space file, as ``python -m tuner.search`` does.

    Ctrl-C, or a notebook's "interrupt", stops the search within seconds and raises
    ``KeyboardInterrupt``, so that the next cells do not run with half a search. It is saved:
    ``resume=True`` resumes it, and :func:`load_search` reads its results so far.

    Args:
        space: The search space: a file, or the name of one that is shipped, such as ``gp``.
        num_trials: Replaces the file's ``search.num_trials``.
        time_budget_s: Replaces the file's ``search.time_budget_s``, in seconds.
        overrides: Replaces other values of the file, by dotted key: ``{"data.path": "faces"}``.
        runs_dir: The folder of all searches; replaces the file's ``results.runs_dir``.
        name: The name of the search and of its folder; replaces the file's ``name``.
        resume: Resume the search of that name, or start it if there is none.
        warm_start: The folder or name of an earlier search, whose best trials are run first.
        local: Run the trials one after the other in this process, without Ray.
        address: The address of a Ray cluster. Default: ``RAY_ADDRESS``, else Ray is started here.
        runtime_env: A YAML file with Ray's runtime environment for the nodes of the cluster.
        allow_code: The modules that ``space`` may import custom networks from, if it is a file of a
            search's folder. Any other file may import those that it names.
        quiet: Print nothing.

    Raises:
        BadInput: if the input cannot be run; the text lists all faults.
        Halted: if a cause outside the search stopped it; it can be resumed once that is fixed.
        KeyboardInterrupt: if it was interrupted.
    """
    import os

    from tuner import cli, driver

    if local and address is not None:
        message = "cannot be combined with address: give one of the two"
        raise BadInput("run_search", [Fault("local", message)])
    given = {"search.num_trials": num_trials, "search.time_budget_s": time_budget_s}
    changed = {key: value for key, value in given.items() if value is not None}
    request = driver.request_from_file(
        _path("space", space),
        {**(overrides or {}), **changed},
        name,
        None if runs_dir is None else str(runs_dir),
        resume=resume,
        warm_start=None if warm_start is None else str(warm_start),
        address=None if local else address or os.environ.get("RAY_ADDRESS") or None,
        is_local=local,
        allow_code=allow_code,
        runtime_env=None if runtime_env is None else _path("runtime_env", runtime_env),
    )
    console = cli.console(quiet=quiet, is_plain=local)  # a debugger cannot prompt under a screen
    with process.restored(), cli.halts_on_full_disk("call run_search again with resume=True"):
        _silence_widgets()
        search = driver.check_request(request, console)
        _run(search, resume, console)
    return load_search(search.run_dir, allow_code=search.spec.code_modules)


def _path(name: str, value: str | Path) -> Path:
    """Return the path of an argument, with ``~`` and variables replaced."""
    from trainables.config import expand  # imports pydantic, which takes a while

    try:
        return Path(expand(str(value)))
    except ValueError as error:
        raise BadInput(name, [Fault("", str(error))]) from None


def _silence_widgets() -> None:
    """Silence Ray and tqdm, which request a package for widgets in every notebook."""
    import logging
    import warnings

    silence("ray.widgets", logging.ERROR)
    warnings.filterwarnings("ignore", "IProgress not found")


def _run(search: "CheckedSearch", resume: bool, console: Any) -> None:
    from tuner import cli

    again = "call run_search again with resume=True"
    outcome = cli.run_and_report(search, resume=resume, console=console, how_to_resume=again)
    if outcome.halted is not None:
        raise Halted(f"{outcome.halted}: once that is fixed, call it again with resume=True")
    if outcome.interrupted:
        raise KeyboardInterrupt(
            f"{search.run_dir} is saved: resume it with resume=True, or read it with load_search"
        )


def load_search(run_dir: str | Path, *, allow_code: Collection[str] = ()) -> Result:
    """Read the results of a search, finished or not; nothing in its folder is changed.

    Args:
        run_dir: The search's folder.
        allow_code: The modules from which the best trial's generator may be imported, if it is a
            custom network. Importing a module runs its code.

    Raises:
        BadInput: if the folder holds no search.
    """
    from tuner import results

    folder = _path("run_dir", run_dir)
    with process.restored():
        snapshot = results.read_snapshot(folder)
    trial = snapshot.best
    best = None
    if trial is not None:
        w1_final = trial.final["w1_final"] if trial.final else None
        best = BestTrial(
            trial.trial_id,
            trial.config.applied(),
            trial.w1 or 0.0,
            w1_final,
            trial.best_rung or 0,
            snapshot,
            trial,
            allow_code,
        )
    return Result(folder.absolute(), best)
