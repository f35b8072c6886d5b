"""What MLflow does not have yet: events by trial, taken by one thread and counted for all."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

from tuner.tracking.values import Change

#: What comes within so many seconds is written together.
COLLECT_S = 2.0


@dataclass(frozen=True)
class Event:
    """Something to write. A change is written by `write` too, alone or merged with others."""

    trial_id: str | None  # None: the search itself
    write: Callable[[], None]  # may be called again after a failure
    change: Change | None = None
    is_file: bool = False
    num_writes: int = 1  # that it counts as


@final
class Backlog:
    """Events in order within a trial; between trials the one that has waited longest is first."""

    def __init__(self, write: Callable[[str | None, Change], None]) -> None:
        """How a change is written."""
        self._write = write
        self._waiting: dict[str | None, list[Event]] = {}
        self._last: Sequence[Event] = ()
        self._is_closed = False
        self._changed = threading.Condition()
        self._pending: Counter[str | None] = Counter()  # with what is being written just now
        self._left_out: Counter[str | None] = Counter()

    def __len__(self) -> int:
        """Writes that are still to be done."""
        with self._changed:
            return self._pending.total()

    def expect(self, trial_id: str | None) -> None:
        """Count a write that comes from elsewhere."""
        with self._changed:
            self._pending[trial_id] += 1

    def put(self, event: Event) -> None:
        """Add an event; nothing is added once it is closed."""
        with self._changed:
            if not self._is_closed:
                self._waiting.setdefault(event.trial_id, []).append(event)
                self._pending[event.trial_id] += event.num_writes
                self._changed.notify()

    def put_change(self, trial_id: str | None, change: Change) -> None:
        """Add a change."""
        self.put(Event(trial_id, partial(self._write, trial_id, change), change))

    def close(self, last: Sequence[Event]) -> None:
        """Add what comes after all the rest."""
        with self._changed:
            self._last, self._is_closed = last, True
            for event in last:
                self._pending[event.trial_id] += event.num_writes
            self._changed.notify()

    def taken(self) -> Iterator[Event]:
        """Events in the order in which to write them; waits for more until it is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                # A request costs the store far more than a report in it.
                self._changed.wait_for(lambda: self._is_closed, COLLECT_S)
                if not self._waiting:
                    break
                waited, self._waiting = self._waiting, {}
            for events in waited.values():
                yield from self._merged(events)
        yield from self._last

    def done(self, event: Event) -> None:
        """An event that was taken is written, or left out."""
        with self._changed:
            self._pending[event.trial_id] -= event.num_writes
            self._pending = +self._pending

    def leave_out(self, trial_id: str | None, num_writes: int) -> None:
        """Count what is not going to be written."""
        with self._changed:
            self._left_out[trial_id] += num_writes

    def missing(self) -> Counter[str | None]:
        """How many writes are to be done, or were left out, by trial."""
        with self._changed:
            return self._pending + self._left_out

    def _merged(self, events: Sequence[Event]) -> Iterator[Event]:
        """A trial's changes as one, ahead of the files between them, never ahead of another."""
        changes: list[Change] = []
        files: list[Event] = []
        for event in events:
            if event.change is not None:
                changes.append(event.change)
            elif event.is_file:
                files.append(event)
            else:
                yield from (*self._as_one(event.trial_id, changes), *files, event)
                changes, files = [], []
        yield from (*self._as_one(events[0].trial_id, changes), *files)

    def _as_one(self, trial_id: str | None, changes: Sequence[Change]) -> list[Event]:
        if not changes:
            return []
        write = partial(self._write, trial_id, Change.merged(changes))
        return [Event(trial_id, write, num_writes=len(changes))]
