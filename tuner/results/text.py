"""Format scores, ties, numbers of trials and times as text."""

from collections.abc import Iterable

from tuner.results.ranking import half_width, w1_final
from tuner.results.ties import are_paired, tied_with
from tuner.study import Trial

#: Said of ties among scores of which an earlier version kept no parts.
_UNPAIRED = ", as if their errors were independent: an earlier version scored them"


def clock(seconds: float) -> str:
    """Format seconds as h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def trials_text(num: int) -> str:
    """Format a number of trials, such as ``1 trial`` or ``2 trials``."""
    return f"{num} trial{'s' * (num != 1)}"


def score_text(trial: Trial) -> str:
    """Format the scores of a completed trial: of the final with its 95% interval, and of a rung."""
    at_rung = f"{trial.config.objective.metric} {trial.score:.4g} at {rung_text(trial)}"
    if trial.final is None:
        return at_rung
    error = half_width(trial.final["w1_final_stderr"])
    return f"w1 {w1_final(trial):.4g} +- {error:.2g} (95%) by the final, {at_rung}"


def rung_text(trial: Trial) -> str:
    """Name the best rung of a trial: ``its last rung``, or an earlier one by its step."""
    if trial.best_rung is None or trial.best_rung == trial.last_rung:
        return "its last rung"
    return f"its best rung, generator step {trial.best_rung}"


def score_and_step_text(trial: Trial) -> str:
    """Format the scores of a completed trial, with the generator step of its best rung."""
    is_last = trial.best_rung == trial.last_rung
    step = f", generator step {trial.best_rung}" if is_last else ""  # else it has it already
    return f"{score_text(trial)}{step}"


def ties_text(best: Trial, trials: Iterable[Trial]) -> str | None:
    """Format the list of trials that are tied with the best; return ``None`` if there are none."""
    ties = tied_with(best, trials)
    tied = [f"{t.trial_id} ({w1_final(t):.4g})" for t in ties]
    if not tied:
        return None
    text = f"tied within the error with trial{'s' * (len(tied) > 1)} {', '.join(tied)}"
    return text if are_paired([best, *ties]) else f"{text}{_UNPAIRED}"
