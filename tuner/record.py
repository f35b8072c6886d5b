"""What happens in a search, written down once and told to all who keep a part of it.

The study is the durable truth of the trials, ``metrics.jsonl`` that of their reports; MLflow
follows both. Nothing here knows Ray.
"""

import json
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tuner import results
from tuner.history import TrialHistory, now_ms, picture_name, reported_ms
from tuner.spec import SearchSpec
from tuner.study import Status, Study, Trial
from tuner.tracking import Tracker

#: What ``trials.csv`` has of a trial's last rung, however many reports came after it.
AT_RUNGS = ("w1", "w1_stderr")
#: ``trials.csv`` is written anew at most so often,
_TABLE_EVERY_S = 5.0
#: and, as it grows with the trials, so that it takes at most this share of the time.
_TABLE_SHARE = 0.02


class Record:
    """The bookkeeping of one search, over all of its sittings."""

    def __init__(self, run_dir: Path, spec: SearchSpec, study: Study, tracker: Tracker) -> None:
        """Read back what an earlier sitting wrote."""
        self.spec = spec
        self.run_dir = run_dir
        self._study = study
        self._tracker = tracker
        self.trials: dict[int, Trial] = {t.number: t for t in study.trials()}
        self._standing = results.Standing(self.trials)
        self._waiting = deque(t for t in self.trials.values() if t.status is None)
        reports = _read_reports(run_dir / "metrics.jsonl")
        self._last_report = {number: steps[max(steps)] for number, steps in reports.items()}
        self._last_rung = {
            number: steps[rungs[-1]]
            for number, steps in reports.items()
            if (rungs := [at for at in sorted(steps) if "w1" in steps[at]])
        }
        self._metrics_file = (run_dir / "metrics.jsonl").open("a", encoding="utf-8")
        self.on_report: Callable[[], None] = lambda: None
        self.on_end: Callable[[Trial], None] = lambda trial: None
        self.on_final_start: Callable[[Sequence[Trial]], None] = lambda trials: None
        self.on_final: Callable[[Trial], None] = lambda trial: None
        self.running: dict[int, Mapping[str, float]] = {}
        self.in_final = False
        self.final_faults: dict[int, str] = {}
        self._floor = study.floor
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
        """The completed trial that the final chose, or that the last rung put first."""
        return self._standing.best

    @property
    def finalists(self) -> list[Trial]:
        """The best completed trials, as the last rung has them: they are scored again."""
        return self._standing.leading(self.spec.objective.final_trials)

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
        score = self.spec.objective.score_of(metrics)
        if score is not None and self._floor is not None:
            metrics["w1_floor"] = self._floor["w1_floor"]
        self.running[number] = metrics
        steps = int(metrics["generator_steps"])
        if steps > self._last_report.get(number, {}).get("generator_steps", 0):
            self._last_report[number] = metrics
            if score is not None:
                self._last_rung[number] = metrics
            self._metrics_file.write(json.dumps({"trial": number, **metrics}) + "\n")
            self._metrics_file.flush()
            self._tracker.trial_reported(self.trials[number].trial_id, metrics)
        if goes_on and score is not None:
            self._study.score(number, steps, score)
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
        for dropped in self._study.save(number, str(folder)):
            shutil.rmtree(dropped, ignore_errors=True)
        self._refresh(number)

    def ended(self, number: int, message: str | None = None, *, failed: bool = False) -> None:
        """A trial ended by itself, by ASHA, by the budget, or by failing too often."""
        metrics = self.running.pop(number, {}) or self._last_report.get(number, {})
        status = "failed" if failed else _status(metrics, self.spec.asha.max_generator_steps)
        score = None if failed else self.spec.objective.score_of(metrics)
        self._study.end(number, status, metrics, score, message)
        self._refresh(number)
        self._tracker.trial_ended(self.trials[number].trial_id, status, message)
        best = self.best_so_far
        ended_trials = self._standing.counts.total()
        if best is not None and best.score is not None:
            name = f"best_{self.spec.objective.metric}"
            self._tracker.search_progress(ended_trials, {name: best.score})
        self.on_end(self.trials[number])
        if time.monotonic() >= self._table_due:
            self._study.set_elapsed(self.elapsed_s)
            self.write_table()

    def end_waiting(self) -> None:
        """End the interrupted trials that the time budget leaves no time to go on with."""
        while self._waiting:
            self.ended(self._waiting.popleft().number)

    def start_final(self) -> list[Trial]:
        """The finalists that no sitting has scored again yet."""
        missing = [trial for trial in self.finalists if trial.final is None]
        self.in_final = bool(missing)
        if missing:
            self.on_final_start(missing)
        return missing

    def final_scored(self, number: int, w1: float, w1_stderr: float, seconds: float) -> None:
        """The final scored a trial again; kept at once, so that no resume has to do it again."""
        final = {
            "w1_final": w1,
            "w1_final_stderr": w1_stderr,
            "final_scoring_seconds": seconds,
            "generator_steps": float(self.trials[number].generator_steps),
            "unix_time_s": time.time(),
        }
        self._study.set_final(number, final)
        self._refresh(number)
        self._tracker.trial_final(self.trials[number].trial_id, final)
        self.on_final(self.trials[number])

    def final_failed(self, number: int, why: str) -> None:
        """The final could not score a trial: it keeps its score, and a resume tries it again."""
        self.final_faults[number] = why
        self.on_final(self.trials[number])

    def write_table(self) -> None:
        """Write ``trials.csv`` as things stand."""
        started = time.monotonic()
        results.write_trials(
            self.run_dir / "trials.csv", [self._as_of_now(t) for t in self._by_number()]
        )
        now = time.monotonic()
        self._table_due = now + max(_TABLE_EVERY_S, (now - started) / _TABLE_SHARE)

    def close(self) -> None:
        """Write the last table and the time used, and tell MLflow which trial is the best."""
        if (best := self.best_so_far) is not None:
            final = best.final or {}
            metrics = {f"best_{k}": final[k] for k in ("w1_final", "w1_final_stderr") if k in final}
            self._tracker.search_best(best.trial_id, metrics, reported_ms(final, now_ms()))
        self._study.set_elapsed(self.elapsed_s)
        self.write_table()
        self._metrics_file.close()

    def counts(self) -> Counter[str]:
        """Trials by status; ``running`` for those under way."""
        return Counter(running=len(self.running), **self._standing.counts)

    def at_rung(self, steps: int) -> tuple[int, float | None]:
        """How many trials were scored at a rung, and the lowest score."""
        return self._standing.at_rung(steps)

    def _by_number(self) -> list[Trial]:
        return [self.trials[number] for number in sorted(self.trials)]

    def _refresh(self, number: int) -> None:
        self.trials[number] = self._study.trial(number)
        self._standing.update(number)

    def _as_of_now(self, trial: Trial) -> Trial:
        """A trial with its last report, and what its last rung alone reports."""
        rung = self._last_rung.get(trial.number, {})
        last = self._last_report.get(trial.number, {}) if trial.status is None else trial.metrics
        return trial.with_metrics({k: rung[k] for k in AT_RUNGS if k in rung} | dict(last))

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
            final=trial.final,
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
