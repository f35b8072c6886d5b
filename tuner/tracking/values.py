"""The metrics, params and tags of a run, as MLflow takes them.

Metrics that a person compares come first and stand alone; what explains them has the name of its
group as a prefix. A score is logged under its rung's name too: ``w1`` draws the curve,
``w1_at_000600`` compares all trials at a like budget.

NaN and infinities are both logged as NaN: MLflow would store an infinity as 1.8e308, and leaving
it out would let a diverged trial rank by its last finite value.
"""

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from trainables.metrics import CUSTOM_PREFIX
from tuner.results import Report
from tuner.study import Trial

STEP = "generator_steps"  # every report has it
UNIX_TIME = "unix_time_s"  # when the report was made
TRIALS_FINISHED = "trials_finished"  # the step of the parent's metrics

SEARCH_TAG, TRIAL_TAG = "tuner.search_id", "tuner.trial_id"
BEST_TAG = "best_trial"  # the parent's
RUNG_TAG = "best_rung"  # the generator step of the generator that stands for a trial
NOTE_TAG = "mlflow.note.content"  # what MLflow shows as a run's description
INCOMPLETE_TAG = "tuner.incomplete"  # something of this trial could not be written: look again

# MLflow takes 1,000 things in a request, of which 100 params; tags need some room next to them.
MAX_METRICS_PER_REQUEST, MAX_PARAMS_PER_REQUEST = 890, 100
MAX_PARAM_CHARS, MAX_TAG_CHARS = 6_000, 5_000  # MLflow's own limits

RUN_STATUS = {
    "completed": "FINISHED",
    "stopped": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
}
WAITING = "SCHEDULED"  # of the trial of a run that may be resumed, once it is promoted
OUTCOME_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}

#: The groups of a trial's metrics that are not the first to look at.
#: By name they sort after `w1` and its rungs: what is first is what MLflow compares runs by. The
#: names have no "/": MLflow shows the charts of metrics with such a prefix before all others.
_GROUPS = {
    "while_training": (
        STEP, "critic_estimate", "critic_loss", "generator_loss", "critic_gradient_norm",
        "critic_lipschitz", "generator_steps_per_s", "training_seconds", "training_cpu_seconds",
        "feature_distance", "inconsistency", "critic_historical_distance",
        "generator_historical_distance",
        "pulling_away", "balance", "convergence_measure", "sliced_w1",
    ),
    "while_scoring": (
        "w1_train", "w1_floor", "independent_critic_lipschitz", "scoring_seconds",
        "scoring_cpu_seconds", "rung_scoring_seconds", "final_scoring_seconds",
        "final_scoring_cpu_seconds", "final_seeds", "final_seeds_diverged", "final_seeds_seconds",
        "final_seeds_cpu_seconds",
    ),
    "without_ranking": (
        "w1_final_train", "w1_pixels", "w1_pixels_stderr", "copy_ratio", "copy_ratio_low",
        "copy_ratio_high",
    ),
}  # fmt: skip
_GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names}
#: Its tag says it, and it is 0 everywhere else.
_NOT_LOGGED = {"diverged"}


@dataclass
class Run:
    """The contents of a run, as far as MLflow is known to have them."""

    run_id: str
    marker: str
    state: str = "RUNNING"  # MLflow's; ours is the tag `status`
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)  # the last of each
    files: dict[str, int | None] | None = None  # bytes by name; None: not listed yet
    is_described: bool = False  # its params and tags were compared in this session

    @property
    def last_step(self) -> float:
        """Return the generator step of the last report that it has."""
        name = metric_name(self.marker)
        names = (name, name.replace(".", "/"), self.marker)  # the latter in earlier databases
        return max(self.metrics.get(name, -math.inf) for name in names)

    @property
    def is_complete(self) -> bool:
        """Tell whether nothing of it was left out."""
        return self.tags.get(INCOMPLETE_TAG) != "true"


def new_metrics(run: Run, reports: Sequence[Report], time_ms: int) -> list[list[Any]]:
    """Give the metrics of the reports that are newer than those of the run, a list a request.

    A report that has no time gets ``time_ms``, in ms since 1970.
    """
    batches: list[list[Any]] = [[]]
    newest = run.last_step
    for report in sorted(reports, key=lambda report: report[run.marker]):
        if report[run.marker] <= newest:
            continue
        newest = report[run.marker]
        metrics = metrics_of(report, run.marker, reported_ms(report, time_ms))
        if batches[-1] and len(batches[-1]) + len(metrics) > MAX_METRICS_PER_REQUEST:
            batches.append([])
        batches[-1] += metrics
    return batches


def ending_tags(
    run: Run, status: str, message: str | None, best_rung: int | None = None
) -> dict[str, str]:
    """Give the tags for how a run ended, and for the best rung of its trial."""
    # An empty message takes the place of an earlier ending's.
    shown = message if message or not run.tags.get("message") else ""
    return texts({"status": status, "message": shown, RUNG_TAG: best_rung}, MAX_TAG_CHARS)


def status_of(trial: Trial, is_running: bool) -> tuple[str, str]:
    """Give the status of a trial, our word for it and MLflow's."""
    if trial.status is not None:
        return trial.status, RUN_STATUS[trial.status]
    if is_running:
        return "running", "RUNNING"
    return ("interrupted", "KILLED") if trial.waiting_at is None else ("waiting", WAITING)


def now_ms() -> int:
    """Return the milliseconds since 1970."""
    return int(time.time() * 1_000)


def reported_ms(report: Report, default_ms: int) -> int:
    """Return the milliseconds from 1970 to a report, if it has its time."""
    return int(report[UNIX_TIME] * 1_000) if UNIX_TIME in report else default_ms


def ended_ms(trial: Trial, default_ms: int) -> int:
    """Return the milliseconds from 1970 to the end of a trial, if it has ended."""
    if trial.ended_unix_time_s is None:
        return reported_ms(trial.metrics, default_ms)
    return int(trial.ended_unix_time_s * 1_000)


def metrics_of(report: Mapping[str, float], marker: str, time_ms: int) -> list[Any]:
    """Convert a report into metrics, the one that it is counted by as the last."""
    from mlflow.entities import Metric

    step = int(report[marker])
    found = {
        metric_name(name): float(value)
        for name, value in report.items()
        if name not in (marker, UNIX_TIME, *_NOT_LOGGED) and isinstance(value, Real)
    }
    if "w1" in found and marker == STEP:
        found[rung_metric(step)] = found["w1"]
    found[metric_name(marker)] = step
    return [
        Metric(name, value if math.isfinite(value) else math.nan, time_ms, step)
        for name, value in found.items()
    ]


def metric_name(name: str) -> str:
    """Return MLflow's name of a metric: after that of its group, if it has one.

    None has a slash: MLflow shows the charts of those with one first, before those of ``w1``.
    """
    if name.startswith(CUSTOM_PREFIX):
        return key_of(f"without_ranking.{name.replace('/', '.')}")
    group = _GROUP_OF.get(name)
    return key_of(name if group is None else f"{group}.{name}")


def values_of(report: Report) -> dict[str, float]:
    """Name the metrics of a report as boards group them: by what stands before a slash."""
    return {
        metric_name(name).replace(".", "/", 1): float(value)
        for name, value in report.items()
        if name not in (STEP, UNIX_TIME, *_NOT_LOGGED)
    }


def result_of(trial: Trial) -> dict[str, float]:
    """Return the scores that a trial ended with: of its best rung, and in the final."""
    best = {} if trial.w1 is None else {"best_w1": trial.w1}
    return {**best, **values_of(trial.final or {})}


def rung_metric(steps: int) -> str:
    """Return the metric of the score at a rung, which sorts as the steps do."""
    return f"w1_at_{steps:06d}"


def texts(values: Mapping[str, object], max_chars: int) -> dict[str, str]:
    """Convert params or tags for MLflow, without those that are ``None``."""
    return {key_of(k): str(v)[:max_chars] for k, v in values.items() if v is not None}


def key_of(name: str) -> str:
    """Convert a name for MLflow."""
    return re.sub(r"[^\w.\- :/]", "_", name)[:250]  # all that MLflow allows


def marker_of(trial_id: str | None) -> str:
    """Return the metric by which a run's reports are counted."""
    return TRIALS_FINISHED if trial_id is None else STEP
