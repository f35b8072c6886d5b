"""Format scores, ties, numbers of trials and times as text."""

import math
import statistics
from collections.abc import Iterable

from tuner.results.ranking import half_width, w1_final
from tuner.results.ties import are_paired, mean_error, tied_with
from tuner.study import Repeats, Trial

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
    own = f"w1 {w1_final(trial):.4g} +- {error:.2g} (95%) by the final, {at_rung}"
    return (
        own if trial.repeats is None else f"{repeats_text(trial.repeats)}; its own training {own}"
    )


def repeats_text(repeats: Repeats) -> str:
    """Format how a configuration scored in the final with further seeds."""
    scores, num = repeats.scores, len(repeats.w1)
    num_diverged = num - len(scores)
    if not scores:
        return f"all of {num} further seeds diverged"
    error = mean_error(scores).half_width
    interval = f" +- {error:.2g} (95%)" if math.isfinite(error) else ""
    mean = "mean w1" if len(scores) > 1 else "w1"
    seeds = f"{len(scores)} further seed{'s' * (len(scores) > 1)}"
    diverged = f", {num_diverged} diverged" if num_diverged else ""
    return f"{mean} {statistics.fmean(scores):.4g}{interval} of {seeds} by the final{diverged}"


def decisive_w1(trial: Trial) -> float:
    """Return the score that places a trial of the final: of further seeds, else its own."""
    mean = None if trial.final is None else trial.final.get("w1_final_mean")
    return w1_final(trial) if mean is None else mean


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
    tied = [f"{t.trial_id} ({decisive_w1(t):.4g})" for t in ties]
    if not tied:
        return None
    text = f"tied within the error with trial{'s' * (len(tied) > 1)} {', '.join(tied)}"
    if best.repeats is not None:
        return f"{text}, over their further seeds"
    return text if are_paired([best, *ties]) else f"{text}{_UNPAIRED}"
