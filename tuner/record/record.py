"""The event log of a search: write every event down, then notify the listeners.

The study is the durable truth of the trials, ``metrics.jsonl`` that of their reports. Nothing here
knows Ray or MLflow.
"""

import contextlib
import errno
import json
import os
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVarTuple

from trainables.checkpoint import STATE
from tuner import results
from tuner.record.listener import Listener
from tuner.results import (
    Spent,
    as_of_now,
    drop_partial_report,
    latest,
    picture_name,
    read_reports,
    trial_seconds,
    write_comparison,
    write_trials,
)
from tuner.space import SearchSpec, spared_trials
from tuner.storage import Folder, fetch_file, remove_folder
from tuner.study import FinalScore, Repeats, Status, Study, Superseded, Trial

Details = TypeVarTuple("Details")
#: Chooses which of these waiting trials is promoted, or none; and whether one has to be.
Promote = Callable[[Collection[int], bool], int | None]

#: ``trials.csv`` is written again at most so often,
_TABLE_EVERY_S = 5.0
#: and, as it grows with the trials, so that it takes at most this share of the time.
_TABLE_SHARE = 0.02


class Record:
    """The bookkeeping of one search, over all of its sessions."""

    def __init__(
        self,
        run_dir: Path,
        spec: SearchSpec,
        study: Study,
        spared: Collection[int] | None = None,
    ) -> None:
        """Read back what an earlier session wrote.

        Args:
            run_dir: The folder of its files.
            spec: The search.
            study: Its trials.
            spared: The numbers of the trials that ASHA does not stop; ``None`` for those that the
                search spares.
        """
        self.spec = spec
        self.run_dir = run_dir
        self._study = study
        self.trials: dict[int, Trial] = {t.number: t for t in study.trials()}
        self._leaderboard = results.Leaderboard(self.trials)
        not_ended = [t for t in self.trials.values() if t.status is None]
        self._interrupted = deque(t for t in not_ended if t.waiting_at is None)
        self._waiting = {t.number for t in not_ended if t.waiting_at is not None}
        drop_partial_report(run_dir / "metrics.jsonl")
        reports = read_reports(run_dir / "metrics.jsonl")
        self._last_report: dict[int, Mapping[str, float]] = {}
        self._last_rung: dict[int, Mapping[str, float]] = {}
        for number, steps in reports.items():
            self._last_report[number], self._last_rung[number] = latest(steps)
        self._steps = sum(int(r.get("generator_steps", 0)) for r in self._last_report.values())
        self._trial_s = sum(map(trial_seconds, self._last_report.values()))
        # In a thread: an object store may take its time, and may fail.
        self._removals = ThreadPoolExecutor(1, thread_name_prefix="removals")
        self._metrics_file = (run_dir / "metrics.jsonl").open("a", encoding="utf-8")
        self.listeners: list[Listener] = []
        self.halted: str | None = None
        self._is_writable = True
        self._last_failure: str | None = None
        self._equal_failures = 0
        self.running: dict[int, Mapping[str, float]] = {}
        self.spared = spared_trials(spec) if spared is None else spared
        self.in_final = False
        self.repeats: Record | None = None
        self.final_faults: dict[int, str] = {}
        self._floor = study.floor
        self._final_floor = study.final_floor
        self._elapsed_before_s = study.elapsed_s
        self._started = time.monotonic()
        self._table_due = 0.0

    def notify(self, event: Callable[[Listener, *Details], None], *details: *Details) -> None:
        """Notify the listeners of an event, given as the method of :class:`Listener` for it."""
        for listener in self.listeners:
            getattr(listener, event.__name__)(*details)

    def start(self) -> None:
        """Notify the listeners of the trials of earlier sessions."""
        self.notify(Listener.search_started, self.by_number())

    @property
    def elapsed_s(self) -> float:
        """Return the seconds of all sessions."""
        return self._elapsed_before_s + time.monotonic() - self._started

    @property
    def spent(self) -> Spent:
        """Return what the search has used."""
        gpus = self.spec.resources.counted_gpus
        return Spent(self.elapsed_s, self._steps, self._trial_s, gpus)

    @property
    def is_over_budget(self) -> bool:
        """Tell whether the search has used one of its budgets up."""
        return self.spent.exceeds(self.spec.search.budgets)

    @property
    def floor_w1(self) -> float | None:
        """Return the ``w1`` of real samples, once it was measured."""
        return None if self._floor is None else self._floor["w1_floor"]

    @property
    def best_so_far(self) -> Trial | None:
        """Return the completed trial that the final chose, or that the rungs put first."""
        return self._leaderboard.best

    @property
    def finalists(self) -> list[Trial]:
        """Return the best completed trials by their best rungs, which are scored again."""
        return self._leaderboard.leading(self.spec.objective.final_trials)

    def next_trial(self, promote: Promote = lambda waiting, is_last: None) -> Trial | None:
        """Choose a trial to start: an interrupted one, else a promoted one, else a new one.

        Args:
            promote: Promotes one of the trials that wait.

        Returns:
            The trial; ``None`` if there is none now, or ever unless :attr:`may_promote`.
        """
        if self.is_over_budget:
            return None
        trial = self._interrupted.popleft() if self._interrupted else self._promoted(promote)
        if trial is None:
            trial = self._study.ask()
        if trial is None and not self.running and not self._has_winner():
            trial = self._promoted(promote, is_last=True)
        if trial is not None:
            self.trials[trial.number] = trial
            self.running[trial.number] = {}
            self.notify(Listener.trial_started, trial)
        return trial

    def _promoted(self, promote: Promote, *, is_last: bool = False) -> Trial | None:
        if not self._waiting or (number := promote(self._waiting, is_last)) is None:
            return None
        # Recorded before it starts: after a kill it counts as an interrupted one.
        self._study.promote(number)
        self._waiting.discard(number)
        return self._study.trial(number)

    def _has_winner(self) -> bool:
        """Return whether a trial has completed by its scores, not as one that is spared."""
        ended = (t.number for t in self.trials.values() if t.status == "completed")
        return any(number not in self.spared for number in ended)

    @property
    def may_promote(self) -> bool:
        """Tell whether a report of a trial that runs may have another one promoted."""
        return self.spec.asha.promotes and bool(self.running) and self.halted is None

    def reported(
        self, number: int, metrics: Mapping[str, float], *, continues: bool, waits: bool = False
    ) -> None:
        """Record a report of a trial.

        Args:
            number: The trial.
            metrics: Its report, with ``generator_steps``.
            continues: Whether the trial trains on; only then does a rung's score count as passed.
            waits: Whether the trial waits at this rung, to be promoted.
        """
        metrics = {**metrics, "unix_time_s": time.time()}
        score = self.spec.objective.score_of(metrics)
        if score is not None and self._floor is not None:
            metrics["w1_floor"] = self._floor["w1_floor"]
        self.running[number] = metrics
        steps = int(metrics["generator_steps"])
        last = self._last_report.get(number, {})
        is_new = steps > last.get("generator_steps", 0)
        if is_new:
            self._steps += steps - int(last.get("generator_steps", 0))
            self._trial_s += trial_seconds(metrics) - trial_seconds(last)
            self._last_report[number] = metrics
            if score is not None:
                self._last_rung[number] = metrics
            self._metrics_file.write(json.dumps({"trial": number, **metrics}) + "\n")
            self._metrics_file.flush()
            if score is not None:  # the journal, which is written through, will refer to it
                os.fsync(self._metrics_file.fileno())
        if waits and score is not None:
            self._study.wait(number, steps, score)
            self._refresh(number)
        elif continues and score is not None:
            if self.trials[number].waiting_at is not None:  # it reports the rung again
                self._study.promote(number)
            self._study.score(number, steps, score)
            self._refresh(number)
        if is_new:
            self.notify(Listener.trial_reported, self.trials[number], metrics)
        else:
            self.tick()

    def tick(self) -> None:
        """Have the displays refresh while nothing happens: a long wait must not look dead."""
        self.notify(Listener.tick)

    def note(self, text: str) -> None:
        """Notify the listeners of a failure that does not end the search."""
        self.notify(Listener.noted, text)

    def halt(self, reason: str) -> None:
        """Have the search stop where it is, to be resumed once the cause is fixed."""
        if self.halted is None:
            self.halted = reason

    def cannot_write(self, error: OSError) -> None:
        """Halt, and write nothing more to the search's own files.

        The journal may have half of a line, after which nothing may stand.
        """
        self._is_writable = False
        self.halt(f"cannot write into {self.run_dir}: {error.strerror or error}")

    def checkpointed(self, number: int, folder: str) -> None:
        """Record a whole checkpoint of a trial; keep the picture of one at a rung.

        Args:
            number: The trial.
            folder: A path, or a URI.
        """
        metrics = self.running[number]
        score = self.spec.objective.score_of(metrics)
        if score is not None:
            self._keep_picture(number, folder)
        rung = None if score is None else (int(metrics["generator_steps"]), score)
        self._remove_in_background(self._study.save(number, folder, rung))
        self._refresh(number)

    def remove_superseded(self) -> None:
        """Delete the checkpoints that an earlier session did not come to delete.

        To be called before a trial starts: a checkpoint that is not recorded yet counts as one.
        """
        try:
            superseded = self._study.superseded_checkpoints() if self.trials else Superseded()
        except OSError as error:
            self.note(f"checkpoints that are needed no more may be left: {error}")
            return
        self._remove_in_background(superseded)

    def _remove_in_background(self, superseded: Superseded) -> None:
        for folder in superseded.checkpoints:
            self._removals.submit(self._remove, remove_folder, folder)
        for folder in superseded.states:
            self._removals.submit(self._remove, _remove_state, folder)

    def _remove(self, remove: Callable[[str], None], folder: str) -> None:
        try:
            remove(folder)
        except OSError as error:
            self.note(f"a checkpoint that is no longer needed is left: {error}")

    def _keep_picture(self, number: int, folder: str) -> None:
        steps = int(self.running[number]["generator_steps"])
        kept = self._picture(number, steps)
        try:
            fetch_file(folder, "samples.png", kept)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.note(f"trial {number:05d} continues without a picture of its samples: {error}")
            return
        self.notify(Listener.picture_saved, self.trials[number], steps, kept)

    def left(self, number: int) -> None:
        """Record that a trial's worker is free again: the trial waits at its rung, or has ended."""
        if self.trials[number].waiting_at is None:
            self.ended(number)
            return
        self.running.pop(number, None)
        self._waiting.add(number)
        self.notify(Listener.trial_waits, self.trials[number])
        self._update_table()

    def ended(self, number: int, message: str | None = None, *, failed: bool = False) -> None:
        """Record that a trial ended: by itself, by ASHA, by the budget, or by failing too often."""
        metrics = self.running.pop(number, {}) or self._last_report.get(number, {})
        status = "failed" if failed else _status(metrics, self.spec.asha.max_generator_steps)
        score = None if failed else self.spec.objective.score_of(metrics)
        self._study.end(number, status, metrics, score, message)
        self._refresh(number)
        self._watch_failures(message if failed else None)
        self.notify(Listener.trial_ended, self.trials[number])
        self._update_table()

    def _update_table(self) -> None:
        if time.monotonic() >= self._table_due:
            self._study.set_elapsed(self.elapsed_s)
            self.write_table()

    def end_waiting(self) -> None:
        """End the trials that wait to be promoted, and those that the budget leaves interrupted."""
        for number in sorted([*self._waiting, *(trial.number for trial in self._interrupted)]):
            self.ended(number)
        self._waiting.clear()
        self._interrupted.clear()

    def start_final(self) -> list[Trial]:
        """Give the finalists that no session has scored again yet."""
        missing = [trial for trial in self.finalists if trial.final is None]
        self.in_final = bool(missing)
        if missing:
            self.notify(Listener.final_started, missing)
        return missing

    @property
    def final_floor(self) -> FinalScore | None:
        """Return the score of real samples by the final's critics, once it was measured."""
        return self._final_floor

    def final_floor_scored(self, score: FinalScore) -> None:
        """Record the score of real samples by the final's critics."""
        self._study.set_final_floor(score)
        self._final_floor = score
        self.tick()

    def final_scored(self, number: int, score: FinalScore) -> None:
        """Record a score of the final, at once, so that no resume has to repeat it."""
        trial = self.trials[number]
        final = {
            "w1_final": score.w1,
            "w1_final_stderr": score.w1_stderr,
            **({} if score.w1_train is None else {"w1_final_train": score.w1_train}),
            **score.diagnosis,
            "final_scoring_seconds": score.seconds,
            "final_scoring_cpu_seconds": score.cpu_seconds,
            "generator_steps": float(trial.best_rung or trial.generator_steps),
            "unix_time_s": time.time(),
        }
        if score.comparison is not None:
            write_comparison(self.run_dir, trial, score.comparison)
        self._study.set_final(number, final, score.readings)
        for fault in score.faults:
            self.note(f"trial {number:05d}: {fault}")
        self._refresh(number)
        self.notify(Listener.final_scored, self.trials[number])

    def start_repeats(self, repeats: "Record") -> None:
        """Have the displays show the search that trains the finalists with further seeds."""
        self.in_final, self.repeats = True, repeats

    def repeats_scored(self, repeats: Mapping[int, Repeats]) -> None:
        """Record how the configurations of finalists scored with further seeds, by trial."""
        self._study.set_repeats(repeats)
        for number in repeats:
            self._refresh(number)
        for number in repeats:
            self.notify(Listener.final_scored, self.trials[number])

    def final_failed(self, number: int, reason: str) -> None:
        """Record that the final could not score a trial, which keeps its score until a resume."""
        self.final_faults[number] = reason
        self.notify(Listener.final_failed, self.trials[number], reason)

    def write_table(self) -> None:
        """Write ``trials.csv`` as of now."""
        started = time.monotonic()
        write_trials(self.run_dir / "trials.csv", [self._as_of_now(t) for t in self.by_number()])
        now = time.monotonic()
        self._table_due = now + max(_TABLE_EVERY_S, (now - started) / _TABLE_SHARE)

    def close(self) -> None:
        """Write the last table and the time used, and notify the listeners of the end."""
        if self._is_writable:
            self._study.set_elapsed(self.elapsed_s)
            self.write_table()
        self._removals.shutdown(wait=False, cancel_futures=True)
        self._metrics_file.close()
        self.notify(Listener.search_ended)

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
        """Count the trials by status, those under way as ``running`` or ``waiting``."""
        running = list(self.running)  # the displays count in threads of their own
        # Of those that wait, the worker of the last may not be free yet.
        leaving = sum(self.trials[number].waiting_at is not None for number in running)
        under_way = {"running": len(running) - leaving}
        if waiting := len(self._waiting) + leaving:
            under_way["waiting"] = waiting
        return Counter(**under_way, **self._leaderboard.counts)

    def at_rung(self, steps: int) -> tuple[int, float | None]:
        """Count the trials scored at a rung, and find the lowest score."""
        return self._leaderboard.at_rung(steps)

    def by_number(self) -> list[Trial]:
        """Return all trials, in the order in which they were proposed."""
        return [self.trials[number] for number in sorted(self.trials)]

    def _refresh(self, number: int) -> None:
        self.trials[number] = self._study.trial(number)
        self._leaderboard.update(number)

    def _as_of_now(self, trial: Trial) -> Trial:
        reports = self._last_report.get(trial.number, {}), self._last_rung.get(trial.number, {})
        return as_of_now(trial, *reports)

    def _picture(self, number: int, steps: int) -> Path:
        return self.run_dir / "samples" / f"{number:05d}" / picture_name(steps)


def _remove_state(folder: str) -> None:
    """Delete the training state of a checkpoint, whose generator is kept."""
    with contextlib.suppress(FileNotFoundError):
        Folder(folder).delete(STATE)


def _status(metrics: Mapping[str, float], max_generator_steps: int) -> Status:
    if metrics.get("diverged"):
        return "diverged"
    done = "w1" in metrics and metrics["generator_steps"] >= max_generator_steps
    return "completed" if done else "stopped"
