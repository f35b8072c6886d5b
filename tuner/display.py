"""A search as it runs: one screen on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from tuner.record import Follower
from tuner.results import score_text

if TYPE_CHECKING:
    from tuner.record import Record
    from tuner.study import Trial

#: On a terminal the screen is drawn so often a second.
_REFRESH_PER_S = 2
#: Trials under way that are named on the screen; the others are counted.
_NAMED = 6
#: Rungs that are all shown; of a longer ladder, only those that matter now.
_RUNGS = 10
#: Elsewhere a line comes at least so often.
_LINE_EVERY_S = 30.0


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


@contextmanager
def decoding(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show how many image files of how many are read; nothing where it takes but a moment."""
    started = shown = time.monotonic()
    hidden = not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("decoding images", total=None, visible=False)

        def progress(done: int, total: int) -> None:
            nonlocal shown
            now = time.monotonic()
            bar.update(task, completed=done, total=total, visible=now - started > 1)
            if hidden and now - shown > _LINE_EVERY_S:
                shown = now
                console.print(f"decoded {done:,} of {total:,} images")

        yield progress


class Display:
    """Shows a record while a search runs."""

    def __init__(self, console: Console, addresses: dict[str, str]) -> None:
        self._console = console
        self._addresses = addresses

    @contextmanager
    def showing(self, record: "Record") -> Iterator[None]:
        """Show the record until the block ends."""
        if not self._console.is_terminal:
            for name, address in self._addresses.items():
                self._console.print(f"{name}: {address}")
            record.followers.append(_Lines(record, self._console))
            yield
            return
        screen = _Screen(record, self._addresses, self._console)
        record.followers.append(screen)
        with Live(screen, console=self._console, refresh_per_second=_REFRESH_PER_S):
            yield


def ending_line(record: "Record", trial: "Trial") -> str:
    """One line on a trial that ended, and on where the search stands."""
    counts = record.counts()
    ended = counts.total() - counts["running"]
    metric = record.spec.objective.metric
    score = "" if trial.score is None else f", {metric} {trial.score:.4g}"
    why = f" ({trial.message})" if trial.message else ""
    best = record.best_so_far
    so_far = f"; best {metric} {best.score:.4g} (trial {best.trial_id})" if best else ""
    asked = f"/{record.spec.num_trials}" if record.spec.num_trials else ""
    return (
        f"trial {trial.trial_id} {trial.status} at generator step "
        f"{trial.generator_steps}{score}{why}; {ended}{asked} trials ended{so_far}"
    )


def final_line(record: "Record", trial: "Trial") -> str:
    """One line on a trial that the final has been through."""
    why = record.final_faults.get(trial.number)
    if why is not None:
        return f"trial {trial.trial_id} could not be scored again ({why}): it keeps its score"
    return f"trial {trial.trial_id} in the final: {score_text(trial)}"


class _Lines(Follower):
    """A line for every trial that ends, and one now and then in between."""

    def __init__(self, record: "Record", console: Console) -> None:
        self._record = record
        self._console = console
        self._said = time.monotonic()

    def ended(self, trial: "Trial") -> None:
        self._say(ending_line(self._record, trial))

    def reported(self) -> None:
        if time.monotonic() - self._said >= _LINE_EVERY_S:
            _, *rows = _rows(self._record).items()  # the first is the clock, which leads any line
            self._say("; ".join(f"{name} {value}" for name, value in rows))

    def final_starts(self, trials: "Sequence[Trial]") -> None:
        best = f"best {len(trials)} trials are" if len(trials) > 1 else "best trial is"
        self._say(f"the final: the {best} scored again, by stronger critics")

    def in_final(self, trial: "Trial") -> None:
        self._say(final_line(self._record, trial))

    def noted(self, text: str) -> None:
        self._say(text)

    def _say(self, line: str) -> None:
        self._console.print(f"{clock(self._record.elapsed_s)}  {line}")
        self._said = time.monotonic()


class LogFile(Follower):
    """Keeps what a search said in ``RUN/search.log``, after what its earlier sittings said."""

    def __init__(self, record: "Record") -> None:
        self._record = record
        self._path = record.run_dir / "search.log"

    def ended(self, trial: "Trial") -> None:
        """Keep how a trial ended."""
        self.noted(ending_line(self._record, trial))

    def in_final(self, trial: "Trial") -> None:
        """Keep what the final said of a trial."""
        self.noted(final_line(self._record, trial))

    def noted(self, text: str) -> None:
        """Keep a line, with the time of the day."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")


class _Screen(Follower):
    """Draws itself anew from the record each time it is asked."""

    def __init__(self, record: "Record", addresses: dict[str, str], console: Console) -> None:
        self._record = record
        self._addresses = addresses
        self._console = console

    def noted(self, text: str) -> None:
        self._console.print(f"{clock(self._record.elapsed_s)}  {text}")  # above the screen

    def __rich__(self) -> RenderableType:
        return Group(_summary(self._record, self._addresses), Text(), _ladder(self._record))


def remaining_s(record: "Record") -> float | None:
    """Seconds that the search will still take, guessed from the trials that ended; or unknown."""
    guesses = []
    budget_s = record.spec.search.time_budget_s
    if budget_s is not None:
        guesses.append(max(0.0, budget_s - record.elapsed_s))
    counts = record.counts()
    ended = counts.total() - counts["running"]
    if record.spec.num_trials is not None and ended:
        guesses.append(record.elapsed_s * (record.spec.num_trials - ended) / ended)
    return min(guesses, default=None)


def _rows(record: "Record") -> dict[str, str]:
    """How the search stands, by what each line tells of."""
    counts = record.counts()
    total = f" of {record.spec.num_trials}" if record.spec.num_trials else ""
    rest_s = remaining_s(record)
    left = "time left not known yet" if rest_s is None else f"about {clock(rest_s)} left"
    best = record.best_so_far
    speed = sum(m.get("generator_steps_per_s", 0.0) for m in list(record.running.values()))
    statuses = ("completed", "stopped", "diverged", "failed", "running")
    return {
        record.spec.name: f"{clock(record.elapsed_s)} elapsed, {left}",
        "trials": f"{counts.total()}{total}: " + ", ".join(f"{counts[s]} {s}" for s in statuses),
        f"best {record.spec.objective.metric}": _best_text(best)
        if best
        else "no trial completed yet",
        "speed": f"{speed:.0f} generator steps/s over all trials",
    } | _final_row(record)


def _best_text(best: "Trial") -> str:
    final = f", w1 {best.final['w1_final']:.4g} by the final" if best.final else ""
    return f"{best.score:.4g}, trial {best.trial_id}{final}"


def _final_row(record: "Record") -> dict[str, str]:
    if not record.in_final:
        return {}
    finalists = record.finalists
    done = sum(t.final is not None or t.number in record.final_faults for t in finalists)
    return {"final": f"{done} of the best {len(finalists)} scored again by stronger critics"}


def _summary(record: "Record", addresses: dict[str, str]) -> Table:
    rows = _rows(record) | addresses | {"Ctrl-C": "stops the search, to be resumed"}
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _ladder(record: "Record") -> Table:
    """The rungs: how many were scored there and how well, and who is on the way to it."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for name in ("rung", "scored", f"best {record.spec.objective.metric}", "on the way"):
        table.add_column(name, justify="left" if name == "on the way" else "right")
    rungs, below = record.spec.asha.rungs, 0
    for rung in rungs:
        num_scored, lowest = record.at_rung(rung)
        here = [
            f"{number:05d} at {int(metrics.get('generator_steps', 0))}"
            for number, metrics in list(record.running.items())
            if below <= metrics.get("generator_steps", 0) < rung
        ]
        if len(rungs) > _RUNGS and not here and rung not in (rungs[0], rungs[-1]):
            below = rung  # a long ladder shows its ends and where somebody climbs
            continue
        more = f" and {len(here) - _NAMED} more" if len(here) > _NAMED else ""
        best = "-" if lowest is None else f"{lowest:.4g}"
        table.add_row(str(rung), str(num_scored), best, ", ".join(here[:_NAMED]) + more)
        below = rung
    return table
