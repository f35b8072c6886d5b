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
    at_rung = f"{trial.config.objective.metric} {trial.score:.4g} at its last rung"
    if trial.final is None:
        return at_rung
    error = half_width(trial.final["w1_final_stderr"])
    return f"w1 {w1_final(trial):.4g} +- {error:.2g} (95%) by the final, {at_rung}"


def ties_text(best: Trial, trials: Iterable[Trial]) -> str | None:
    """Format the list of trials that are tied with the best; return ``None`` if there are none."""
    ties = tied_with(best, trials)
    tied = [f"{t.trial_id} ({w1_final(t):.4g})" for t in ties]
    if not tied:
        return None
    text = f"tied within the error with trial{'s' * (len(tied) > 1)} {', '.join(tied)}"
    return text if are_paired([best, *ties]) else f"{text}{_UNPAIRED}"
