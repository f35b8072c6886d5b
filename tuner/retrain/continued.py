"""Continue a trial in a search of its own, from the last checkpoint of its training.

What a search keeps of a trial is copied into the new search, as what an earlier session of that
search would have left: the checkpoint with both networks, their optimizers and the random state,
the reports, the scores, and the generator of the best rung. The new search then resumes the trial
as any interrupted one.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.checkpoint import GENERATOR, STATE, Identity, damage, load_whole
from tuner.errors import BadInput, Fault
from tuner.results import PICTURES
from tuner.retrain.origin import Origin
from tuner.storage import Folder, fetch_file, join, write_atomically
from tuner.study import Study, Trial

#: The files of a checkpoint at a rung.
_FILES = (STATE, GENERATOR, "samples.png")
#: The folder of the copied checkpoints, among those of the new search's sessions.
_SESSION = "continued"
_WAY_OUT = "leave --continue out, to train it again from the start"


def check_continued(origin: Origin, generator_steps: int | None) -> None:
    """Check that a trial can be continued, to so many generator steps in all.

    Args:
        origin: The trial.
        generator_steps: As requested; ``None`` for the default.

    Raises:
        BadInput: if it cannot.
    """
    trial = _trial(origin)
    if generator_steps is not None and generator_steps <= trial.generator_steps:
        message = f"must be above {trial.generator_steps}, where trial {trial.trial_id} ended, "
        message += f"got {generator_steps}: give the steps in all, or leave --continue out"
        raise BadInput("--generator-steps", [Fault("", message)])
    if trial.status is None and origin.search is not None and origin.search.is_running:
        message = f"trial {trial.trial_id} is still running: wait until it has ended"
        raise BadInput("--continue", [Fault("", message)])
    with _last_checkpoint(origin, trial):
        pass


def continue_trial(origin: Origin, study: Study, run_dir: Path, location: str) -> None:
    """Have a new search begin where a trial ended; do nothing if it has begun already.

    The checkpoint is recorded last: after a kill before that, the next call starts over.

    Args:
        origin: The trial.
        study: The study of the new search, of one trial.
        run_dir: The folder of the new search.
        location: The folder, or URI, of its checkpoints.

    Raises:
        BadInput: if the trial has no whole checkpoint.
        OSError: if its files cannot be copied.
    """
    begun = study.trials()
    if begun and begun[0].checkpoints:
        return
    new, trial = begun[0] if begun else study.ask(), _trial(origin)
    if new is None:
        raise RuntimeError("the study has no trial left")
    identity = Identity(new.name_in(study.name), new.config.model_dump(mode="json"))
    folder = join(location, "ray", _SESSION, identity.name)
    rungs: dict[int, str] = {}
    best = trial.best_rung
    with _last_checkpoint(origin, trial) as last, tempfile.TemporaryDirectory() as scratch:
        metrics = load_whole(last / STATE, "meta")["metrics"]
        steps = int(metrics["generator_steps"])
        if best is not None and best < steps and best in trial.generators:
            kept = Path(scratch)
            for name in (GENERATOR, "samples.png"):
                fetch_file(trial.generators[best], name, kept / name)
            rungs[best] = _copy(kept, join(folder, "checkpoint_000000"), identity)
        copied = rungs[steps] = _copy(last, join(folder, "checkpoint_000001"), identity)
    reports = {} if origin.search is None else origin.search.reports.get(trial.number, {})
    earlier = [report for at, report in sorted(reports.items()) if at <= steps]
    lines = (json.dumps({"trial": new.number, **report}) + "\n" for report in earlier)
    write_atomically(run_dir / "metrics.jsonl", "".join(lines))
    if origin.run_dir is not None:
        for picture in (origin.run_dir / "samples" / trial.trial_id).glob(PICTURES):
            fetch_file(str(picture.parent), picture.name, _picture(run_dir, new, picture.name))
    for at, score in sorted(trial.scores.items()):
        if at <= steps:
            study.score(new.number, at, score)
    scores = {at: trial.scores[at] for at in sorted(rungs) if at in trial.scores}
    for at, score in scores.items():
        if at < steps:
            study.save(new.number, rungs[at], (at, score))
    study.save(new.number, copied, (steps, scores[steps]) if steps in scores else None)


def _trial(origin: Origin) -> Trial:
    if origin.search is None or origin.trial_id is None:
        message = f"needs a search's folder: {origin.source} alone has no checkpoint"
        raise BadInput("--continue", [Fault("", message)])
    return origin.search.trial(origin.trial_id)


@contextmanager
def _last_checkpoint(origin: Origin, trial: Trial) -> Iterator[Path]:
    """Give a copy of the last checkpoint of a trial that is whole, checked to be of this trial."""
    identity = Identity(trial.name_in(origin.name), trial.config.model_dump(mode="json"))
    faults = []
    for location in trial.checkpoints:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                names = [name for name in Folder(location).sizes() if name in _FILES]
                for name in names:
                    fetch_file(location, name, Path(scratch, name))
            except OSError as error:
                faults.append(str(error))
                continue
            fault = damage(Path(scratch), identity)
            if fault is None:
                yield Path(scratch)
                return
            faults.append(f"{location}: {fault}")
    reason = "; ".join(faults) or "it has come to none"
    message = f"trial {trial.trial_id} has no whole checkpoint to continue from ({reason}): "
    raise BadInput("--continue", [Fault("", f"{message}{_WAY_OUT}")])


def _copy(source: Path, folder: str, identity: Identity) -> str:
    """Copy the files of a checkpoint, as those of another trial; return where."""
    import torch

    for name in (name for name in _FILES if (source / name).exists()):
        path = source / name
        if name != "samples.png":
            saved = load_whole(path, "cpu")
            # A generator keeps the trial's name alone.
            kept = identity if name == STATE else Identity(identity.name)
            path = source / f"{name}.new"
            torch.save(saved | kept.kept(), path)
        with path.open("rb") as file:
            Folder(folder).write(name, file, path.stat().st_size)
    return folder


def _picture(run_dir: Path, trial: Trial, name: str) -> Path:
    return run_dir / "samples" / trial.trial_id / name
