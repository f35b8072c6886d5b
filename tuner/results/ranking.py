"""What a search leaves for people: ``trials.csv``, ``best.yaml`` and ``best/``."""

import bisect
import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trainables.checkpoint import load_whole
from trainables.config.trial import NetworkConfig, TrainingConfig
from tuner.space.domains import flat
from tuner.storage.folder import fetch
from tuner.study.study import Trial

COLUMNS = (
    "trial_id",
    "status",
    "generator_steps",
    "w1",
    "w1_stderr",
    "w1_final",
    "w1_final_stderr",
    "critic_estimate",
    "training_seconds",
    "scoring_seconds",
    "final_scoring_seconds",
)
HYPERPARAMETERS = tuple(
    field
    for field in (*TrainingConfig.model_fields, *NetworkConfig.model_fields)
    if not field.endswith("_args")  # a column for each of them
)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader, or a crash, finds the old one or the new one."""
    scratch = path.with_name(f".{path.name}.tmp")
    with scratch.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def hyperparameters(trial: Trial) -> dict[str, Any]:
    """The values that apply to a trial, by the names that a search space gives them."""
    applied = trial.config.applied()
    both = {**applied["training"], **applied["networks"]}
    return {**dict(flat(both.items())), "seed": trial.config.seed}


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Write one row a trial, by number; a trial that has not ended is ``running``.

    A hyperparameter has a column where it applies to any of the trials.
    """
    out = io.StringIO()
    given = [hyperparameters(trial) for trial in trials]
    there = {name for values in given for name in values}
    known = [name for name in HYPERPARAMETERS if name in there]
    # Of a network of one's own, which takes what its author likes.
    arguments = sorted(name for name in there if "." in name)
    names = (*COLUMNS, *known, *arguments, "seed", "message")
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    for trial, values in zip(trials, given, strict=True):
        reported = {**trial.metrics, **(trial.final or {})}
        row = {name: reported.get(name, "") for name in COLUMNS}
        row |= {"trial_id": trial.trial_id, "status": trial.status or "running"}
        row |= {"generator_steps": trial.generator_steps, "message": trial.message or ""}
        writer.writerow(row | values)
    write_atomically(path, out.getvalue())


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """The completed trials by their score at the last rung, the lowest first."""
    scored = [(t.score, t.number, t) for t in trials if t.status == "completed"]
    return [trial for *_, trial in sorted(s for s in scored if s[0] is not None)]


def best(trials: Iterable[Trial]) -> Trial | None:
    """Of those that were in the final, the lowest ``w1_final``; else the best by its score.

    Of equal ones the one of the better score, then the first; ``None`` where none has completed.
    """
    completed = ranked(trials)
    in_final = [trial for trial in completed if trial.final is not None]
    return min(in_final or completed[:1], key=_w1_final, default=None)


class Standing:
    """How the trials stand, kept as each changes: no answer looks at all of them.

    What :func:`ranked` and :func:`best` find of all trials anew, this knows at any time.
    """

    def __init__(self, trials: Mapping[int, Trial]) -> None:
        """Look at all trials once; of one that changes, :meth:`update` is to be told."""
        self._trials = trials
        self._ranked: list[tuple[float, int]] = []
        self._in_final: set[int] = set()
        self._counted: set[int] = set()
        self._at_rungs: dict[int, set[int]] = {}
        self._best_at: dict[int, float] = {}
        #: Trials that ended, by status.
        self.counts: Counter[str] = Counter()
        for number in trials:
            self.update(number)

    def update(self, number: int) -> None:
        """Take note of how a trial stands: what it has scored, and how it ended, stays."""
        trial = self._trials[number]
        for steps, score in trial.scores.items():
            self._at_rungs.setdefault(steps, set()).add(number)
            self._best_at[steps] = min(score, self._best_at.get(steps, math.inf))
        if trial.final is not None:
            self._in_final.add(number)
        if trial.status is None or number in self._counted:
            return
        self._counted.add(number)
        self.counts[trial.status] += 1
        if trial.status == "completed" and trial.score is not None:
            bisect.insort(self._ranked, (trial.score, number))

    @property
    def best(self) -> Trial | None:
        """What :func:`best` says of all trials."""
        first = [number for _, number in self._ranked[:1]]
        return best(self._trials[number] for number in [*first, *self._in_final])

    def leading(self, num: int) -> list[Trial]:
        """The first so many of :func:`ranked`."""
        return [self._trials[number] for _, number in self._ranked[:num]]

    def at_rung(self, steps: int) -> tuple[int, float | None]:
        """How many trials were scored at a rung, and the lowest score."""
        return len(self._at_rungs.get(steps, ())), self._best_at.get(steps)


def tied_with(best: Trial, trials: Iterable[Trial]) -> list[Trial]:
    """Trials that the final cannot tell from the best: not by more than chance, at 95%."""
    if best.final is None:
        return []
    others = [t for t in ranked(trials) if t.final is not None and t.number != best.number]
    return [
        t for t in others if _w1_final(t) - _w1_final(best) <= half_width(_stderr_between(t, best))
    ]


def half_width(stderr: float) -> float:
    """Half of the interval that holds 95% of a normal distribution."""
    return 1.96 * stderr


def trials_text(num: int) -> str:
    """So many trials, in words."""
    return f"{num} trial{'s' * (num != 1)}"


def score_text(trial: Trial) -> str:
    """What the last rung said of a completed trial, and the final, with its 95% interval."""
    at_rung = f"{trial.config.objective.metric} {trial.score:.4g} at its last rung"
    if trial.final is None:
        return at_rung
    error = half_width(trial.final["w1_final_stderr"])
    return f"w1 {_w1_final(trial):.4g} +- {error:.2g} (95%) by the final, {at_rung}"


def ties_text(best: Trial, trials: Iterable[Trial]) -> str | None:
    """Which trials are as good as the best, for all that the final can tell."""
    tied = [f"{t.trial_id} ({_w1_final(t):.4g})" for t in tied_with(best, trials)]
    if not tied:
        return None
    return f"tied within the error with trial{'s' * (len(tied) > 1)} {', '.join(tied)}"


def _w1_final(trial: Trial) -> float:
    return math.inf if trial.final is None else trial.final["w1_final"]


def _stderr_between(one: Trial, other: Trial) -> float:
    return math.hypot(*(t.final["w1_final_stderr"] for t in (one, other) if t.final))


def write_best(run_dir: Path, trial: Trial, trials: Iterable[Trial] = ()) -> None:
    """Write ``best/`` from the trial's last checkpoint, then ``best.yaml``.

    Args:
        run_dir: The search's folder.
        trial: The best one.
        trials: All of them, for those that it is tied with.

    Raises:
        FileNotFoundError: where the checkpoint is gone, and ``best/`` is not this trial's.
        DamagedCheckpointError: where it is not whole.
    """
    text = yaml.safe_dump(trial.config.applied(), sort_keys=False)
    title = f"# trial {trial.trial_id}: {score_text(trial)}, generator step {trial.generator_steps}"
    if (ties := ties_text(trial, trials)) is not None:
        title += f"\n# {ties}"
    path, folder = run_dir / "best.yaml", run_dir / "best"
    if path.exists() and path.read_text(encoding="utf-8") == f"{title}\n{text}":
        return  # written last, so the rest is there
    if trial.checkpoint is None:
        raise FileNotFoundError(f"trial {trial.trial_id} left no checkpoint")
    folder.mkdir(exist_ok=True)
    fetched = {name: folder / f".{name}.new" for name in ("generator.pt", "samples.png")}
    try:
        for name, scratch in fetched.items():
            fetch(trial.checkpoint, name, scratch)
        load_whole(fetched["generator.pt"], "cpu")
        for name, scratch in fetched.items():
            scratch.replace(folder / name)
    finally:
        for scratch in fetched.values():
            scratch.unlink(missing_ok=True)
    write_atomically(path, f"{title}\n{text}")
