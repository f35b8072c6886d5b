"""What a search's folder says of its past, for those who follow it: at a resume, and afterwards."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from tuner import results
from tuner.results import hyperparameters, picture_name
from tuner.space import SearchSpec
from tuner.study import Trial
from tuner.tracking import description as notes
from tuner.tracking.history import UNIX_TIME, TrialHistory, now_ms, reported_ms
from tuner.tracking.tracker import Tracker


def history_of(
    run_dir: Path, trial: Trial, reports: Mapping[int, Mapping[str, float]]
) -> TrialHistory:
    """What is durably known of a trial, with its reports by generator step."""
    samples = run_dir / "samples" / trial.trial_id
    pictures = {steps: samples / picture_name(steps) for steps in trial.scores}
    return TrialHistory(
        trial_id=trial.trial_id,
        params=hyperparameters(trial),
        reports=[report for _, report in sorted(reports.items())],
        pictures={steps: path for steps, path in pictures.items() if path.exists()},
        status=trial.status,
        message=trial.message,
        final=trial.final,
    )


def bests(trials: Sequence[Trial], metric: str) -> Iterator[tuple[int, dict[str, float]]]:
    """The best score so far at each trial's end, as the search told it."""
    ended = [trial for trial in trials if trial.status is not None]
    best = math.inf
    for count, trial in enumerate(sorted(ended, key=lambda t: t.metrics.get(UNIX_TIME, 0)), 1):
        if trial.status == "completed" and trial.score is not None:
            best = min(best, trial.score)
        if best < math.inf:
            times = {UNIX_TIME: trial.metrics[UNIX_TIME]} if UNIX_TIME in trial.metrics else {}
            yield count, {f"best_{metric}": best, **times}


def tell_best(tracker: Tracker, spec: SearchSpec, run_dir: Path, trials: Sequence[Trial]) -> None:
    """Tell MLflow which trial is the best, and by what, if any is."""
    if (best := results.best_of(trials)) is not None:
        final = best.final or {}
        metrics = {f"best_{k}": final[k] for k in ("w1_final", "w1_final_stderr") if k in final}
        note = partial(notes.search_note, spec, run_dir, best, tuple(trials))
        tracker.search_best(best.trial_id, metrics, reported_ms(final, now_ms()), note)
