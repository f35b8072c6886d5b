"""The progress of a search as Ray's metrics, which Prometheus reads and Grafana draws."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ray.util.metrics import Gauge

from tuner.record import Listener
from tuner.study import STATUSES

if TYPE_CHECKING:
    from tuner.record import Record
    from tuner.study import Trial

#: By name, to which Ray adds ``ray_`` in front: its meaning, and its tags besides ``search``.
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "wgan_best_w1": ("w1 of the best trial so far, at its best rung", ()),
    "wgan_best_w1_final": ("w1 of the best trial, by the final", ()),
    "wgan_trials": ("Trials by status", ("status",)),
    "wgan_generator_steps_per_second": ("Generator steps a second of all running trials", ()),
    "wgan_elapsed_seconds": ("Seconds of all sessions of the search", ()),
}
#: Ray itself exports metrics less often than this.
_EVERY_S = 1.0


def gauge_values(record: "Record") -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield each gauge of :data:`GAUGES` that has a value by now: its name, its tags and the value.

    There is no best trial until one has completed, and no ``w1_final`` before the final.
    """
    tags = {"search": record.spec.name}
    best = record.best_so_far
    if best is not None and best.w1 is not None:
        yield "wgan_best_w1", tags, best.w1
    if best is not None and best.final is not None:
        yield "wgan_best_w1_final", tags, best.final["w1_final"]
    counts = record.counts()
    for status in STATUSES:
        yield "wgan_trials", tags | {"status": status}, float(counts[status])
    speeds = [report.get("generator_steps_per_s", 0.0) for report in record.running.values()]
    yield "wgan_generator_steps_per_second", tags, sum(speeds)
    yield "wgan_elapsed_seconds", tags, record.elapsed_s


class Gauges(Listener):
    """Ray's metrics of a record, while this process is connected to Ray."""

    def __init__(self, record: "Record") -> None:
        self._record = record
        self._gauges = {
            name: Gauge(name, description=meaning, tag_keys=("search", *tags))
            for name, (meaning, tags) in GAUGES.items()
        }
        self._due = 0.0
        self.update()

    def update(self) -> None:
        """Set every gauge, unless that was done within the last second: it reads all trials."""
        if time.monotonic() >= self._due:
            self._set()

    def _set(self) -> None:
        for name, tags, value in gauge_values(self._record):
            self._gauges[name].set(value, tags=tags)
        self._due = time.monotonic() + _EVERY_S

    def trial_reported(self, trial: "Trial", report: Mapping[str, float]) -> None:
        """Show a report."""
        self.update()

    def trial_waits(self, trial: "Trial") -> None:
        """Show a trial that waits."""
        self.update()

    def trial_ended(self, trial: "Trial") -> None:
        """Show an ending."""
        self.update()

    def final_started(self, trials: "Sequence[Trial]") -> None:
        """Show how the trials ended."""
        self.update()

    def final_scored(self, trial: "Trial") -> None:
        """Show a score of the final."""
        self.update()

    def tick(self) -> None:
        """Show the time."""
        self.update()

    def search_ended(self) -> None:
        """Show the last values, however short ago others were shown: they stay."""
        self._set()
