"""Write the best trial's configuration and generator to best.yaml and best/."""

from collections.abc import Iterable
from pathlib import Path

from trainables.checkpoint import Identity, load_whole
from tuner.results.provenance import provenance_text, read_sessions
from tuner.results.text import score_and_step_text, ties_text
from tuner.space import dump_yaml
from tuner.storage import fetch_file, write_atomically
from tuner.study import Trial


def write_best(
    run_dir: Path, trial: Trial, trials: Iterable[Trial] = (), search: str | None = None
) -> None:
    """Write ``best/`` from the trial's best rung, then ``best.yaml``, with the search's provenance.

    Args:
        run_dir: The search's folder.
        trial: The best trial.
        trials: All trials, of which those tied with the best are listed.
        search: The search's name, to check that the checkpoint is of this trial.

    Raises:
        FileNotFoundError: if the checkpoint is gone and ``best/`` is of another trial.
        DamagedCheckpointError: if the checkpoint is incomplete, corrupt, or of another trial.
    """
    text = dump_yaml(trial.config.applied())
    title = f"# trial {trial.trial_id}: {score_and_step_text(trial)}"
    if (ties := ties_text(trial, trials)) is not None:
        title += f"\n# {ties}"
    origin = provenance_text(read_sessions(run_dir))
    content = f"{title}\n# {origin}\n{text}" if origin else f"{title}\n{text}"
    path, folder = run_dir / "best.yaml", run_dir / "best"
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    if written.startswith(f"{title}\n") and written.endswith(f"\n{text}"):
        # It is written last, so that best/ is complete: no more than the session is another.
        if written != content:
            write_atomically(path, content)
        return
    if trial.best_generator is None:
        raise FileNotFoundError(f"trial {trial.trial_id} has no checkpoint")
    folder.mkdir(exist_ok=True)
    fetched = {name: folder / f".{name}.new" for name in ("generator.pt", "samples.png")}
    try:
        for name, scratch in fetched.items():
            fetch_file(trial.best_generator, name, scratch)
        identity = None if search is None else Identity(trial.name_in(search))
        load_whole(fetched["generator.pt"], "cpu", identity)
        for name, scratch in fetched.items():
            scratch.replace(folder / name)
    finally:
        for scratch in fetched.values():
            scratch.unlink(missing_ok=True)
    write_atomically(path, content)
