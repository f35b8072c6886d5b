"""What happens in a search, written down once and told to all who keep a part of it.

The study is the durable truth of the trials, ``metrics.jsonl`` that of their reports; MLflow
follows both. Nothing here knows Ray.
"""

import errno
import json
import os
import re
import time
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tuner import results, tracking
from tuner.record.listener import Follower
from tuner.results import (
    as_of_now,
    hyperparameters,
    latest,
    mend_reports,
    picture_name,
    read_reports,
    write_trials,
)
from tuner.space import SearchSpec
from tuner.storage import fetch_file, remove_folder
from tuner.study import Status, Study, Trial
from tuner.tracking import Tracker

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
        self._leaderboard = results.Leaderboard(self.trials)
        self._waiting = deque(t for t in self.trials.values() if t.status is None)
        mend_reports(run_dir / "metrics.jsonl")
        reports = read_reports(run_dir / "metrics.jsonl")
        self._last_report: dict[int, Mapping[str, float]] = {}
        self._last_rung: dict[int, Mapping[str, float]] = {}
        for number, steps in reports.items():
            self._last_report[number], self._last_rung[number] = latest(steps)
        # In a thread: an object store may take its time, and may fail.
        self._removals = ThreadPoolExecutor(1, thread_name_prefix="removals")
        self._metrics_file = (run_dir / "metrics.jsonl").open("a", encoding="utf-8")
        self.followers: list[Follower] = []
        self.halted: str | None = None
        self._is_writable = True
        self._last_failure: str | None = None
        self._equal_failures = 0
        self.running: dict[int, Mapping[str, float]] = {}
        self.in_final = False
        self.final_faults: dict[int, str] = {}
        self._floor = study.floor
        self._elapsed_before_s = study.elapsed_s
        self._started = time.monotonic()
        self._table_due = 0.0
        trials = self.by_number()
        tracker.start([tracking.history_of(run_dir, t, reports.get(t.number, {})) for t in trials])
        for count, told in tracking.bests(trials, spec.objective.metric):
            tracker.search_progress(count, told)

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
    def floor_w1(self) -> float | None:
        """The ``w1`` of real samples, once it was measured."""
        return None if self._floor is None else self._floor["w1_floor"]

    @property
    def best_so_far(self) -> Trial | None:
        """The completed trial that the final chose, or that the last rung put first."""
        return self._leaderboard.best

    @property
    def finalists(self) -> list[Trial]:
        """The best completed trials, as the last rung has them: they are scored again."""
        return self._leaderboard.leading(self.spec.objective.final_trials)

    def next_trial(self) -> Trial | None:
        """A trial to start: one that was interrupted, else a new one; ``None`` for no more."""
        if self.is_over_budget:
            return None
        trial = self._waiting.popleft() if self._waiting else self._study.ask()
        if trial is not None:
            self.trials[trial.number] = trial
            self.running[trial.number] = {}
            self._tracker.trial_started(trial.trial_id, hyperparameters(trial))
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
            if score is not None:  # the journal, which is written through, will refer to it
                os.fsync(self._metrics_file.fileno())
            self._tracker.trial_reported(self.trials[number].trial_id, metrics)
        if goes_on and score is not None:
            self._study.score(number, steps, score)
            self._refresh(number)
        self.moment_passed()

    def moment_passed(self) -> None:
        """Let those who follow look again: a long wait must not look dead."""
        for follower in self.followers:
            follower.reported()

    def note(self, text: str) -> None:
        """Tell of something that went wrong, and goes on."""
        for follower in self.followers:
            follower.noted(text)

    def halt(self, why: str) -> None:
        """Have the search stop where it is, to be resumed once the cause is mended."""
        if self.halted is None:
            self.halted = why

    def cannot_write(self, error: OSError) -> None:
        """Halt, and write nothing more to the search's own files.

        The journal may have half of a line, after which nothing may stand.
        """
        self._is_writable = False
        self.halt(f"cannot write into {self.run_dir}: {error.strerror or error}")

    def checkpointed(self, number: int, folder: str) -> None:
        """A trial saved itself, whole; at a rung with a picture, which outlives the checkpoint.

        Args:
            number: The trial.
            folder: A path, or a URI.
        """
        if "w1" in self.running[number]:
            self._keep_picture(number, folder)
        for dropped in self._study.save(number, folder):
            self._removals.submit(self._remove, dropped)
        self._refresh(number)

    def remove_superseded(self) -> None:
        """Delete the checkpoints that an earlier session did not come to delete.

        To be called before a trial starts: a checkpoint that is not recorded yet counts as one.
        """
        try:
            superseded = self._study.superseded_checkpoints() if self.trials else []
        except OSError as error:
            self.note(f"checkpoints that are needed no more may be left: {error}")
            return
        for folder in superseded:
            self._removals.submit(self._remove, folder)

    def _remove(self, folder: str) -> None:
        try:
            remove_folder(folder)
        except OSError as error:
            self.note(f"a checkpoint that is needed no more is left: {error}")

    def _keep_picture(self, number: int, folder: str) -> None:
        kept = self._picture(number, int(self.running[number]["generator_steps"]))
        try:
            fetch_file(folder, "samples.png", kept)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.note(f"trial {number:05d} goes on without a picture of its samples: {error}")
            return
        self._tracker.trial_reported(
            self.trials[number].trial_id, self.running[number], picture=kept
        )

    def ended(self, number: int, message: str | None = None, *, failed: bool = False) -> None:
        """A trial ended by itself, by ASHA, by the budget, or by failing too often."""
        metrics = self.running.pop(number, {}) or self._last_report.get(number, {})
        status = "failed" if failed else _status(metrics, self.spec.asha.max_generator_steps)
        score = None if failed else self.spec.objective.score_of(metrics)
        self._study.end(number, status, metrics, score, message)
        self._refresh(number)
        self._tracker.trial_ended(self.trials[number].trial_id, status, message)
        best = self.best_so_far
        ended_trials = self._leaderboard.counts.total()
        if best is not None and best.score is not None:
            name = f"best_{self.spec.objective.metric}"
            self._tracker.search_progress(ended_trials, {name: best.score})
        self._watch_failures(message if failed else None)
        for follower in self.followers:
            follower.ended(self.trials[number])
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
        for follower in self.followers if missing else ():
            follower.final_starts(missing)
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
        self._say_in_final(number)

    def final_failed(self, number: int, why: str) -> None:
        """The final could not score a trial: it keeps its score, and a resume tries it again."""
        self.final_faults[number] = why
        self._say_in_final(number)

    def write_table(self) -> None:
        """Write ``trials.csv`` as things stand."""
        started = time.monotonic()
        write_trials(self.run_dir / "trials.csv", [self._as_of_now(t) for t in self.by_number()])
        now = time.monotonic()
        self._table_due = now + max(_TABLE_EVERY_S, (now - started) / _TABLE_SHARE)

    def close(self) -> None:
        """Write the last table and the time used, and tell MLflow which trial is the best."""
        tracking.tell_best(self._tracker, self.spec, self.run_dir, self.by_number())
        if self._is_writable:
            self._study.set_elapsed(self.elapsed_s)
            self.write_table()
        self._removals.shutdown(wait=False, cancel_futures=True)
        self._metrics_file.close()

    def _say_in_final(self, number: int) -> None:
        for follower in self.followers:
            follower.in_final(self.trials[number])

    def _watch_failures(self, message: str | None) -> None:
        """Halt once trial after trial fails with one error: the next thousand would, too."""
        # Numbers in it may be of the trial: a step, an address, a process.
        kind = None if message is None else re.sub(r"\d+", "#", message)
        if kind is None or kind != self._last_failure:
            self._last_failure, self._equal_failures = kind, 0
        if kind is None:
            return
        self._equal_failures += 1
        if self._equal_failures >= self.spec.resources.max_equal_failures:
            self.halt(f"the last {self._equal_failures} trials failed alike: {message}")

    def counts(self) -> Counter[str]:
        """Trials by status; ``running`` for those under way."""
        return Counter(running=len(self.running), **self._leaderboard.counts)

    def at_rung(self, steps: int) -> tuple[int, float | None]:
        """How many trials were scored at a rung, and the lowest score."""
        return self._leaderboard.at_rung(steps)

    def by_number(self) -> list[Trial]:
        """All trials, in the order in which they were proposed."""
        return [self.trials[number] for number in sorted(self.trials)]

    def _refresh(self, number: int) -> None:
        self.trials[number] = self._study.trial(number)
        self._leaderboard.update(number)

    def _as_of_now(self, trial: Trial) -> Trial:
        reports = self._last_report.get(trial.number, {}), self._last_rung.get(trial.number, {})
        return as_of_now(trial, *reports)

    def _picture(self, number: int, steps: int) -> Path:
        return self.run_dir / "samples" / f"{number:05d}" / picture_name(steps)


def _status(metrics: Mapping[str, float], max_generator_steps: int) -> Status:
    if metrics.get("diverged"):
        return "diverged"
    done = "w1" in metrics and metrics["generator_steps"] >= max_generator_steps
    return "completed" if done else "stopped"
