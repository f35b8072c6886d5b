"""The trials that have changed since MLflow was brought up to date: all that ever waits for it."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from tuner.study import Trial
from tuner.tracking.values import now_ms


@final
@dataclass(frozen=True)
class Changes:
    """The trials that changed, as they are now; which run; and when each changed first, in ms."""

    trials: Mapping[int, Trial]
    running: frozenset[int]
    since_ms: Mapping[int, int]


@final
class ChangedTrials:
    """Trials that the search marks as they change and one thread takes, until they are done.

    ``lacking`` are the ids of the trials of which MLflow does not have everything, and ``None`` for
    the search itself.
    """

    def __init__(self) -> None:
        self._trials: dict[int, Trial] = {}
        self._running: set[int] = set()
        self._since_ms: dict[int, int] = {}  # of those that were not taken yet
        self._is_closed = False
        self._changed = threading.Condition()  # guards all of these
        self.lacking: set[str | None] = {None}

    def mark(self, trial: Trial, *, is_running: bool | None = None) -> None:
        """Mark a trial as changed, unless it is closed; ``is_running`` where that changed, too."""
        with self._changed:
            if self._is_closed:
                return
            self._trials[trial.number] = trial
            if is_running is not None:
                (self._running.add if is_running else self._running.discard)(trial.number)
            self._mark(trial)

    def close(self) -> None:
        """Have no trial run any more, and take no further change."""
        with self._changed:
            for number in self._running:
                self._mark(self._trials[number])
            self._running.clear()
            self.lacking.add(None)
            self._is_closed = True
            self._changed.notify()

    def trials(self) -> Sequence[Trial]:
        """Give all trials that were ever marked, by number."""
        with self._changed:
            return [self._trials[number] for number in sorted(self._trials)]

    def take(self, collect_s: float) -> Changes | None:
        """Wait for changes, and so many seconds for others; ``None`` where no more can come."""
        with self._changed:
            self._changed.wait_for(lambda: self._since_ms or self._is_closed)
            self._changed.wait_for(lambda: self._is_closed, collect_s)
            since_ms, self._since_ms = self._since_ms, {}
            trials = {number: self._trials[number] for number in since_ms}
            return Changes(trials, frozenset(self._running), since_ms) if since_ms else None

    def now(self, number: int) -> tuple[Trial | None, bool]:
        """Give a trial as it is now, if there is one of this number, and whether it runs."""
        with self._changed:
            return self._trials.get(number), number in self._running

    def done(self, trial: Trial | None) -> None:
        """Note that MLflow has all of a trial, or of the search, but for changes since then."""
        with self._changed:
            if trial is not None and trial.number not in self._since_ms:
                self.lacking.discard(trial.trial_id)
            elif trial is None and not self._since_ms and not self._is_closed:
                self.lacking.discard(None)

    def all_done(self) -> None:
        """Note that MLflow has the last of the search, too, once it is closed."""
        with self._changed:
            self.lacking.discard(None)

    def _mark(self, trial: Trial) -> None:
        if trial.number not in self._since_ms:
            self._since_ms[trial.number] = now_ms()
            self.lacking |= {trial.trial_id, None}
            self._changed.notify()
