"""Sentences that the lines and the screen share."""

from typing import TYPE_CHECKING

from tuner.results import repeats_text, score_text, trials_text

if TYPE_CHECKING:
    from tuner.record import Record
    from tuner.study import Trial

#: Without a terminal, a line is printed so often: no silence is longer than 10 s, though a busy
#: machine looks at the clock late.
LINE_EVERY_S = 8.0

#: What Ctrl-C does, once it was pressed.
STOPPING = "stopping: trials are resumed from their checkpoints; Ctrl-C again ends it at once"


def remaining_s(record: "Record") -> float | None:
    """Estimate the seconds that the search will still take, from what it has used so far."""
    guesses = []
    if (budget_s := record.spec.search.time_budget_s) is not None:
        guesses.append(max(0.0, budget_s - record.elapsed_s))
    for key, share in record.spent.shares_of(record.spec.search.budgets).items():
        if key != "time_budget_s" and share > 0:
            guesses.append(max(0.0, record.elapsed_s * (1 / share - 1)))
    # Most of those that wait are not promoted any more.
    ended = num_ended(record) + record.counts()["waiting"]
    if record.spec.num_trials is not None and ended:
        guesses.append(record.elapsed_s * (record.spec.num_trials - ended) / ended)
    return min(guesses, default=None)


def num_ended(record: "Record") -> int:
    """Count the trials that ended, with any status."""
    counts = record.counts()
    return counts.total() - counts["running"] - counts["waiting"]


def steps_per_s(record: "Record") -> float:
    """Return the generator steps per second of all running trials."""
    return sum(m.get("generator_steps_per_s", 0.0) for m in list(record.running.values()))


def best_text(best: "Trial") -> str:
    """Describe the best score so far, its trial, and its score in the final."""
    again = f", w1 {best.final['w1_final']:.4g} by the final" if best.final else ""
    again += f", {repeats_text(best.repeats)}" if best.repeats else ""
    return f"{best.score:.4g}, trial {best.trial_id}{_earlier_rung(best)}{again}"


def ending_text(trial: "Trial", metric: str) -> str:
    """Describe how a trial ended, or that it waits."""
    score = "" if trial.last_score is None else f", {metric} {trial.last_score:.4g}"
    if earlier := _earlier_rung(trial):
        score += f" (best: {trial.score:.4g}{earlier})"
    reason = f" ({trial.message})" if trial.message else ""
    at = f"at generator step {trial.waiting_at or trial.generator_steps}"
    status = "waits" if trial.waiting_at is not None else trial.status
    return f"trial {trial.trial_id} {status} {at}{score}{reason}"


def _earlier_rung(trial: "Trial") -> str:
    """Name the best rung of a trial where it is not the last: `` at step 250``."""
    is_last = trial.best_rung == trial.last_rung
    return "" if is_last else f" at step {trial.best_rung:,}"


def final_text(trial: "Trial", failure: str | None = None) -> str:
    """Say how the final scored a trial, or by which ``failure`` it could not."""
    if failure is not None:
        return f"trial {trial.trial_id} could not be scored again ({failure}): it keeps its score"
    return f"trial {trial.trial_id} in the final: {score_text(trial)}"


def in_final_text(record: "Record") -> str:
    """Describe the progress of the final."""
    if (repeats := record.repeats) is not None:
        return _repeats_text(repeats)
    finalists = record.finalists
    done = sum(t.final is not None or t.number in record.final_faults for t in finalists)
    return f"{done} of the best {len(finalists)} scored again by stronger critics"


def _repeats_text(repeats: "Record") -> str:
    """Describe the progress of the trainings with further seeds."""
    num_scored = sum(trial.final is not None for trial in repeats.by_number())
    ended, num_trials = num_ended(repeats), repeats.spec.num_trials
    text = f"{ended} of {num_trials} trainings with further seeds ended"
    if ended == num_trials:
        return f"{text}, {num_scored} scored"
    return f"{text}; speed {steps_per_s(repeats):.0f} generator steps/s"


def ending_line(record: "Record", trial: "Trial") -> str:
    """Describe, in one line, a trial that ended or waits, and the progress of the search."""
    metric, best = record.spec.objective.metric, record.best_so_far
    so_far = (
        f"; best {metric} {best.score:.4g} (trial {best.trial_id}{_earlier_rung(best)})"
        if best
        else ""
    )
    num_trials, ended = record.spec.num_trials, num_ended(record)
    ended_text = f"{ended}/{num_trials} trials" if num_trials else trials_text(ended)
    return f"{ending_text(trial, metric)}; {ended_text} ended{so_far}"
