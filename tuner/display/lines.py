"""A search as it runs: one screen on a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from tuner.display.progress import in_background
from tuner.display.screen import Screen
from tuner.display.text import (
    LINE_EVERY_S,
    STOPPING,
    best_text,
    ending_line,
    final_text,
    in_final_text,
    steps_per_s,
)
from tuner.printable import printable
from tuner.record import Listener
from tuner.results import clock
from tuner.study import STATUSES

if TYPE_CHECKING:
    from tuner.record import Record
    from tuner.study import Trial

#: On a terminal the screen is drawn so often a second.
_REFRESH_PER_S = 2
#: Without one it is checked so often whether a line is due.
_LOOK_EVERY_S = 0.2


class Display:
    """Display of a record while a search runs."""

    def __init__(
        self,
        console: Console,
        addresses: dict[str, str],
        interrupted: threading.Event | None = None,
    ) -> None:
        """Show nothing yet.

        Args:
            console: Where to show it.
            addresses: Where else a person can watch the search, by name.
            interrupted: Is set once the search stops. Without it lines come with events alone, so
                that none is printed over the prompt of a debugger.
        """
        self._console = console
        self._addresses = addresses
        self._interrupted = interrupted

    @contextmanager
    def showing(self, record: "Record") -> Iterator[None]:
        """Show the record until the block ends."""
        if not self._console.is_terminal:
            for name, address in self._addresses.items():
                self._console.print(f"{name}: {address}")
            lines, interrupted = _Lines(record, self._console), self._interrupted
            record.listeners.append(lines)
            if interrupted is None:
                yield
                return
            with in_background(lambda is_over: lines.tick_until(is_over, interrupted)):
                yield
            return
        screen = Screen(record, self._addresses, self._console, self._interrupted)
        record.listeners.append(screen)
        with Live(screen, console=self._console, refresh_per_second=_REFRESH_PER_S):
            try:
                yield
            finally:
                screen.is_over = True  # the last frame stays, and nothing is behind its addresses


def _progress_line(record: "Record") -> str:
    """Describe the progress of the search in one line."""
    if record.in_final:
        return f"the final: {in_final_text(record)}"
    counts, best = record.counts(), record.best_so_far
    total = f" of {record.spec.num_trials}" if record.spec.num_trials else ""
    shown = [status for status in STATUSES if status != "waiting" or counts[status]]
    by_status = ", ".join(f"{counts[status]} {status}" for status in shown)
    return (
        f"trials {counts.total()}{total}: {by_status}; best {record.spec.objective.metric} "
        f"{best_text(best) if best else 'no trial completed yet'}; "
        f"speed {steps_per_s(record):.0f} generator steps/s over all trials"
    )


class _Lines(Listener):
    """Lines: one for every trial that ends or begins to wait, and one now and then in between."""

    def __init__(self, record: "Record", console: Console) -> None:
        self._record = record
        self._console = console
        self._printed_s = time.monotonic()

    def tick_until(self, is_over: threading.Event, interrupted: threading.Event) -> None:
        """Print a line now and then, whatever happens, and one at once when it is interrupted."""
        is_stopping = False
        while not is_over.wait(_LOOK_EVERY_S):
            if interrupted.is_set() and not is_stopping:
                is_stopping = True
                self._print(STOPPING)
            self.tick()

    def trial_waits(self, trial: "Trial") -> None:
        self._print(ending_line(self._record, trial))

    def trial_ended(self, trial: "Trial") -> None:
        self._print(ending_line(self._record, trial))

    def trial_reported(self, trial: "Trial", report: Mapping[str, float]) -> None:
        self.tick()

    def tick(self) -> None:
        if time.monotonic() - self._printed_s >= LINE_EVERY_S:
            self._print(_progress_line(self._record))

    def final_started(self, trials: "Sequence[Trial]") -> None:
        best = f"best {len(trials)} trials are" if len(trials) > 1 else "best trial is"
        self._print(f"the final: the {best} scored again, by stronger critics")

    def final_scored(self, trial: "Trial") -> None:
        self._print(final_text(trial))

    def final_failed(self, trial: "Trial", reason: str) -> None:
        self._print(final_text(trial, reason))

    def noted(self, text: str) -> None:
        self._print(text)

    def _print(self, line: str) -> None:
        self._console.print(f"{clock(self._record.elapsed_s)}  {line}")
        self._printed_s = time.monotonic()


class LogFile(Listener):
    """Log of the events of a search in ``RUN/search.log``, after those of its earlier sessions."""

    def __init__(self, record: "Record") -> None:
        self._record = record
        self._path = record.run_dir / "search.log"

    def trial_waits(self, trial: "Trial") -> None:
        """Keep that a trial waits."""
        self.noted(ending_line(self._record, trial))

    def trial_ended(self, trial: "Trial") -> None:
        """Keep how a trial ended."""
        self.noted(ending_line(self._record, trial))

    def final_scored(self, trial: "Trial") -> None:
        """Keep a score of the final."""
        self.noted(final_text(trial))

    def final_failed(self, trial: "Trial", reason: str) -> None:
        """Keep why the final could not score a trial."""
        self.noted(final_text(trial, reason))

    def noted(self, text: str) -> None:
        """Keep a line, with the time of the day."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {printable(text)}\n")
