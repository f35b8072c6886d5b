"""What happens in a search, written down once and told to all who keep a part of it.

The study is the durable truth of the trials, ``metrics.jsonl`` that of their reports; MLflow
follows both. Nothing here knows Ray.
"""

import json
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path

from tuner import results
from tuner.mlflow_runs import TrialHistory, picture_name
from tuner.spec import SearchSpec
from tuner.study import Status, Study, Trial
from tuner.tracking import Tracker

#: ``trials.csv`` is written anew at most so often: it grows with the trials.
_TABLE_EVERY_S = 5.0


class Record:
    """The bookkeeping of one search, over all of its sittings."""

    def __init__(self, run_dir: Path, spec: SearchSpec, study: Study, tracker: Tracker) -> None:
        """Read back what an earlier sitting wrote."""
        self.spec = spec
        self.run_dir = run_dir
        self._study = study
        self._tracker = tracker
        self.trials: dict[int, Trial] = {t.number: t for t in study.trials()}
        self._waiting = deque(t for t in self.trials.values() if t.status is None)
        reports = _read_reports(run_dir / "metrics.jsonl")
        self._last_report = {number: steps[max(steps)] for number, steps in reports.items()}
        self._metrics_file = (run_dir / "metrics.jsonl").open("a", encoding="utf-8")
        self.on_report: Callable[[], None] = lambda: None
        self.on_end: Callable[[Trial], None] = lambda trial: None
        self.running: dict[int, Mapping[str, float]] = {}
        self._elapsed_before_s = study.elapsed_s
        self._started = time.monotonic()
        self._table_due = 0.0
        tracker.start([self._history(t, reports.get(t.number, {})) for t in self.trials.values()])

    @property
    def elapsed_s(self) -> float:
        """Seconds of all sittings."""
        return self._elapsed_before_s + time.monotonic() - self._started

    @property
    def is_over_budget(self) -> bool:
        """Whether the search has used its time up."""
        budget_s = self.spec.search.time_budget_s
        return budget_s is not None and self.elapsed_s >= budget_s

    @property
    def best_so_far(self) -> Trial | None:
        """The completed trial of the lowest ``w1``."""
        return results.best(self.trials.values())

    def next_trial(self) -> Trial | None:
        """A trial to start: one that was interrupted, else a new one; ``None`` for no more."""
        if self.is_over_budget:
            return None
        trial = self._waiting.popleft() if self._waiting else self._study.ask()
        if trial is not None:
            self.trials[trial.number] = trial
            self.running[trial.number] = {}
            self._tracker.trial_started(trial.trial_id, results.hyperparameters(trial))
        return trial

    def reported(self, number: int, metrics: Mapping[str, float], *, goes_on: bool) -> None:
        """A trial reported; a score counts as passed only once the trial may go on."""
        metrics = {**metrics, "unix_time_s": time.time()}
        self.running[number] = metrics
        steps = int(metrics["generator_steps"])
        if steps > self._last_report.get(number, {}).get("generator_steps", 0):
            self._last_report[number] = metrics
            self._metrics_file.write(json.dumps({"trial": number, **metrics}) + "\n")
            self._metrics_file.flush()
            self._tracker.trial_reported(self.trials[number].trial_id, metrics)
        if goes_on and "w1" in metrics:
            self._study.score(number, steps, metrics["w1"])
            self._refresh(number)
        self.on_report()

    def checkpointed(self, number: int, folder: Path) -> None:
        """A trial saved itself, whole; at a rung with a picture, which outlives the checkpoint."""
        picture = folder / "samples.png"
        if picture.exists():
            kept = self._picture(number, int(self.running[number]["generator_steps"]))
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, kept)
            self._tracker.trial_reported(
                self.trials[number].trial_id, self.running[number], picture=kept
            )
        self._study.save(number, str(folder))
        self._refresh(number)

    def ended(self, number: int, message: str | None = None, *, failed: bool = False) -> None:
        """A trial ended by itself, by ASHA, by the budget, or by failing too often."""
        metrics = self.running.pop(number, {}) or self._last_report.get(number, {})
        status = "failed" if failed else _status(metrics, self.spec.asha.max_generator_steps)
        w1 = None if failed else metrics.get("w1")
        self._study.end(number, status, metrics, w1, message)
        self._study.set_elapsed(self.elapsed_s)
        self._refresh(number)
        self._tracker.trial_ended(self.trials[number].trial_id, status, message)
        best = self.best_so_far
        ended_trials = sum(1 for t in self.trials.values() if t.status is not None)
        if best is not None and best.w1 is not None:
            self._tracker.search_progress(ended_trials, {"best_w1": best.w1})
        self.on_end(self.trials[number])
        if time.monotonic() >= self._table_due:
            self.write_table()

    def end_waiting(self) -> None:
        """End the interrupted trials that the time budget leaves no time to go on with."""
        while self._waiting:
            self.ended(self._waiting.popleft().number)

    def write_table(self) -> None:
        """Write ``trials.csv`` as things stand."""
        results.write_trials(
            self.run_dir / "trials.csv", [self._as_of_now(t) for t in self._by_number()]
        )
        self._table_due = time.monotonic() + _TABLE_EVERY_S

    def close(self) -> None:
        """Write the last table and the time used."""
        self._study.set_elapsed(self.elapsed_s)
        self.write_table()
        self._metrics_file.close()

    def counts(self) -> Counter[str]:
        """Trials by status; ``running`` for those under way."""
        ended = Counter(t.status for t in self.trials.values() if t.status is not None)
        return Counter(running=len(self.running), **ended)

    def _by_number(self) -> list[Trial]:
        return [self.trials[number] for number in sorted(self.trials)]

    def _refresh(self, number: int) -> None:
        self.trials[number] = self._study.trial(number)

    def _as_of_now(self, trial: Trial) -> Trial:
        """A trial under way with its last report, which the study does not keep."""
        if trial.status is not None:
            return trial
        return trial.with_metrics(self._last_report.get(trial.number, {}))

    def _picture(self, number: int, steps: int) -> Path:
        return self.run_dir / "samples" / f"{number:05d}" / picture_name(steps)

    def _history(self, trial: Trial, reports: Mapping[int, Mapping[str, float]]) -> TrialHistory:
        pictures = {steps: self._picture(trial.number, steps) for steps in trial.scores}
        return TrialHistory(
            trial_id=trial.trial_id,
            params=results.hyperparameters(trial),
            reports=[report for _, report in sorted(reports.items())],
            pictures={steps: path for steps, path in pictures.items() if path.exists()},
            status=trial.status,
            message=trial.message,
        )


def _status(metrics: Mapping[str, float], max_generator_steps: int) -> Status:
    if metrics.get("diverged"):
        return "diverged"
    done = "w1" in metrics and metrics["generator_steps"] >= max_generator_steps
    return "completed" if done else "stopped"


def _read_reports(path: Path) -> dict[int, dict[int, Mapping[str, float]]]:
    """All reports by trial and generator step; a last line that a crash cut short is dropped."""
    reports: dict[int, dict[int, Mapping[str, float]]] = {}
    if not path.exists():
        return reports
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    for line in whole.splitlines():
        report = json.loads(line)
        reports.setdefault(report.pop("trial"), {})[int(report["generator_steps"])] = report
    return reports
