"""One screen of a search for a terminal, drawn from its record as it stands."""

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.display.text import (
    STOPPING,
    best_text,
    ending_text,
    final_text,
    in_final_text,
    num_ended,
    remaining_s,
    steps_per_s,
)
from tuner.printable import printable
from tuner.record import Listener
from tuner.results import clock, hyperparameters
from tuner.study import STATUSES

if TYPE_CHECKING:
    from tuner.record import Record
    from tuner.study import Trial

#: Words for the budgets of a search.
_BUDGETS = {
    "time_budget_s": "time",
    "generator_steps": "steps",
    "gpu_hours": "GPU-hours",
}
#: Rungs that are all shown; of a longer ladder, only those that matter now.
_RUNGS = 7
#: Endings that are shown, where the terminal has the room.
_LATEST = 4
_BAR_WIDTH = 32
#: Columns between a row's name and its value.
_GAP = (0, 2)


@final
class Screen(Listener):
    """Screen that is drawn from the record at each refresh."""

    def __init__(
        self,
        record: "Record",
        addresses: dict[str, str],
        console: Console,
        interrupted: threading.Event | None = None,
    ) -> None:
        self._record = record
        self._addresses = addresses
        self._console = console
        self._interrupted = interrupted
        self._latest: deque[str] = deque(maxlen=_LATEST)
        self.is_over = False

    def trial_waits(self, trial: "Trial") -> None:
        """Show that a trial waits among the latest."""
        self.trial_ended(trial)

    def trial_ended(self, trial: "Trial") -> None:
        """Show how a trial ended among the latest."""
        self._keep(ending_text(trial, self._record.spec.objective.metric))

    def final_scored(self, trial: "Trial") -> None:
        """Show a score of the final among the latest."""
        self._keep(final_text(trial))

    def final_failed(self, trial: "Trial", reason: str) -> None:
        """Show among the latest why the final could not score a trial."""
        self._keep(final_text(trial, reason))

    def noted(self, text: str) -> None:
        """Print it above the screen, where it stays."""
        self._console.print(f"{clock(self._record.elapsed_s)}  {text}")

    def _keep(self, text: str) -> None:
        self._latest.append(f"{clock(self._record.elapsed_s)}  {text}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw all of it, with as many of the latest endings as the terminal has room for."""
        # The command's console wraps no line that it prints: here one too long would spoil all.
        options = options.update(no_wrap=False, overflow="fold")
        heading = _heading(self._record, self.is_over)
        if self._interrupted is not None and self._interrupted.is_set() and not self.is_over:
            heading.append(f"\n{STOPPING}", style="bold yellow")
        above = [Text(), heading, _summary(self._record), Text(), _ladder(self._record)]
        below = [Text()] if self.is_over else [Text(), _addresses(self._addresses)]
        used = len(console.render_lines(Group(*above, *below), options, pad=False))
        # One line for what is above them, one for the cursor.
        room = max(0, console.size.height - used - 2)
        latest = list(self._latest)[-room:] if room and not self.is_over else []
        lines = [
            Text(printable(line), style="dim", no_wrap=True, overflow="ellipsis") for line in latest
        ]
        whole = Group(*above, *([Text(), *lines] if lines else []), *below)
        yield from console.render(whole, options)


def _heading(record: "Record", is_over: bool) -> Text:
    rest_s = remaining_s(record)
    left = "time left unknown yet" if rest_s is None else f"about {clock(rest_s)} left"
    if record.in_final:
        left = "the final is under way"
    ending = "" if is_over else f", {left}"
    heading = Text(record.spec.name, style="bold")
    return heading.append(f"  {clock(record.elapsed_s)} elapsed{ending}", style="not bold")


def _rows(rows: dict[str, RenderableType], name_style: str, style: str = "") -> Table:
    table = Table.grid(padding=_GAP)
    table.add_column(style=name_style, no_wrap=True)
    table.add_column(style=style, overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _summary(record: "Record") -> Table:
    """Show the progress, the best score and the configuration that reached it."""
    metric, best = record.spec.objective.metric, record.best_so_far
    counts = record.counts()
    rows: dict[str, RenderableType] = {
        "trials": _progress(record),
        "": ", ".join(f"{counts[s]} {s}" for s in STATUSES if counts[s]) or "none has started",
        f"best {metric}": "no trial completed yet",
    }
    if best is not None:
        floor = record.floor_w1
        real = f" (real samples: {floor:.4g})" if floor is not None and metric == "w1" else ""
        rows[f"best {metric}"] = Text(best_text(best), style="bold").append(real, "not bold")
        rows["with"] = _searched(record, best)
    if record.in_final:
        rows["final"] = in_final_text(record)
    else:
        rows["speed"] = f"{steps_per_s(record):.0f} generator steps/s over all trials"
    return _rows(rows, "bold")


def _progress(record: "Record") -> Table:
    """Draw a bar, as far as the first limit is used up, and count the trials that ended."""
    ended, num_trials = num_ended(record), record.spec.num_trials
    of_trials = ended / num_trials if num_trials else 0.0
    shares = record.spent.shares_of(record.spec.search.budgets)
    nearest = max(shares, key=lambda key: shares[key], default="")
    of_budget = min(1.0, shares.get(nearest, 0.0))
    share = 1.0 if record.in_final else max(of_trials, of_budget)
    text = f"{ended}{f' of {num_trials}' if num_trials else ''} ended"
    if of_budget > of_trials and not record.in_final:
        text += f", {of_budget:.0%} of the {_BUDGETS[nearest]}"
    row = Table.grid(padding=_GAP)
    bar = ProgressBar(1.0, share, _BAR_WIDTH, complete_style="cyan", finished_style="green")
    row.add_row(bar, text)
    return row


def _searched(record: "Record", trial: "Trial") -> str:
    """Show a trial's values of the searched keys, as far as they apply to it."""
    values = hyperparameters(trial)
    names = [key.split(".", 1)[1] for key in record.spec.domains]
    shown = [f"{name} {_short(values[name])}" for name in names if name in values]
    return ", ".join(shown) or "the one configuration there is"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _ladder(record: "Record") -> Table:
    """Draw the rungs: the trials scored there, the best score, and the trials on the way."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", expand=True)
    for name in ("rung", "scored", f"best {record.spec.objective.metric}", "on the way"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)  # what room the others leave
    rungs, below = record.spec.asha.rungs, 0
    for rung in rungs:
        num_scored, lowest = record.at_rung(rung)
        here = [
            f"{number:05d} at {int(metrics.get('generator_steps', 0))}"
            for number, metrics in list(record.running.items())
            if below <= metrics.get("generator_steps", 0) < rung
        ]
        below = rung
        if len(rungs) > _RUNGS and not here and rung not in (rungs[0], rungs[-1]):
            continue  # a long ladder shows its ends and the rungs that trials approach
        best = "-" if lowest is None else f"{lowest:.4g}"
        table.add_row(str(rung), str(num_scored), best, str(len(here) or "-"), ", ".join(here))
    return table


def _addresses(addresses: dict[str, str]) -> Table:
    return _rows({**addresses, "Ctrl-C": "stops the search, to be resumed"}, "dim", "dim")
