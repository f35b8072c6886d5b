"""Write the trials of a search as runs of Weights & Biases, on its servers or in files."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

from tuner.results import PICTURES, Report, picture_step
from tuner.space import SearchSpec
from tuner.study import Trial
from tuner.tracking.naming import Facts
from tuner.tracking.values import STEP, result_of, values_of


@final
class WeightsAndBiases:
    """Runs of Weights & Biases, grouped by search. A trial is written once it has ended."""

    name = "Weights & Biases"

    def __init__(
        self, run_dir: Path, spec: SearchSpec, search_id: str, facts: Callable[[Trial], Facts]
    ) -> None:
        """Import and write nothing yet.

        Args:
            run_dir: The search's folder.
            spec: The search.
            search_id: Tells it from an earlier search of the same name.
            facts: Names a trial, and gives the hyperparameters that tell it from others.
        """
        self.folder = run_dir / "wandb"
        self._samples = run_dir / "samples"
        self._spec, self._search_id, self._facts = spec, search_id, facts

    @property
    def command(self) -> str:
        """Return the address of the project, or the command that sends the files to it."""
        tracking = self._spec.tracking
        if tracking.wandb == "online":
            return f"project {tracking.wandb_project} at https://wandb.ai"
        runs = f"{shlex.quote(str(self.folder))}/offline-run-*"
        return f"{shlex.quote(sys.executable)} -m wandb sync {runs}"

    def open(self) -> None:
        """Import the package; check that it may write, as it would ask at the terminal.

        Raises:
            RuntimeError: if there is no key of an account.
        """
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers
        import wandb

        self.folder.mkdir(exist_ok=True)
        if self._spec.tracking.wandb == "online" and not wandb.login(prompt=False):
            raise RuntimeError("no API key: set WANDB_API_KEY, or run: wandb login")

    def write(self, trial: Trial, reports: Sequence[Report], *, is_running: bool) -> None:
        """Write a trial that does not run: with its pictures, and the scores that it ended with."""
        if is_running:
            return
        import wandb

        is_offline = self._spec.tracking.wandb == "offline"
        run_id = f"{self._search_id}-{trial.trial_id}"
        if is_offline:  # else two files would be of one run
            for earlier in self.folder.glob(f"offline-run-*-{run_id}"):
                shutil.rmtree(earlier)
        facts = self._facts(trial)
        run = wandb.init(
            project=self._spec.tracking.wandb_project,
            group=self._spec.name,
            id=run_id,
            name=facts.name,
            mode="offline" if is_offline else "online",
            dir=str(self.folder.parent),
            config={**facts.params, **facts.tags},
            resume=None if is_offline else "allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_stats=True,
            ),
        )
        try:
            run.define_metric("w1", summary="min")
            self._log(run, trial, reports, wandb.Image)
            run.summary.update({**result_of(trial), "status": trial.status or "interrupted"})
        finally:
            run.finish(exit_code=int(trial.status in ("failed", "diverged")))

    def _log(
        self, run: Any, trial: Trial, reports: Sequence[Report], image: Callable[[str], Any]
    ) -> None:
        pictures = {
            picture_step(path): path for path in (self._samples / trial.trial_id).glob(PICTURES)
        }
        for report in reports:
            step = int(report[STEP])
            if step < run.step:  # its server has it of an earlier session
                continue
            picture = {"samples": image(str(pictures[step]))} if step in pictures else {}
            run.log({**values_of(report), **picture}, step=step)

    def close(self) -> None:
        """Leave nothing open: each run is closed once it is written."""
