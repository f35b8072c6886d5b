"""A search as it is shown while it runs, in the middle of things."""

import io
from collections.abc import Callable
from typing import Any

from final_scores import final_score
from rich.console import Console

from tuner.record.record import Record
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]
OpenRecord = Callable[[SearchSpec], tuple[Record, Any]]
ADDRESSES = {
    "dashboard": "http://127.0.0.1:8265",
    "MLflow": "mlflow ui --backend-store-uri "
    "sqlite:////home/somebody/with/a/rather/long/path/to/all/of/the/runs/mlflow.db",
}


class Clock:
    """A time that moves when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0


def make_console(file: io.StringIO, **options: Any) -> Console:
    """A console as the command makes it."""
    return Console(file=file, highlight=False, markup=False, soft_wrap=True, _environ={}, **options)


def report(record: Record, number: int, steps: int, continues: bool = True, **metrics: float):
    record.reported(number, {"generator_steps": float(steps), **metrics}, continues=continues)


def run_some(record: Record) -> None:
    """Two completed, one stopped, diverged and failed each, and eight under way."""
    for _ in range(13):
        assert record.next_trial() is not None
    for number, w1 in ((0, 0.25), (1, 0.125)):
        report(record, number, 250, w1=w1 + 2)
        report(record, number, 1000, w1=w1 + 1)
        report(record, number, 4000, w1=w1, continues=False)
        record.ended(number)
    report(record, 2, 250, w1=9.0, continues=False)
    record.ended(2)
    report(record, 3, 60, diverged=1.0)
    record.ended(3)
    record.ended(4, "out of memory", failed=True)
    for number in range(5, 13):
        report(record, number, 50, generator_steps_per_s=100.0)
    report(record, 12, 250, w1=1.5, generator_steps_per_s=50.0)


def run_final(record: Record) -> None:
    """Three trials end, of which the best two are scored again: one of them cannot be."""
    for number, w1 in ((0, 0.25), (1, 0.5), (2, 0.125)):
        assert record.next_trial() is not None
        report(record, number, 4000, w1=w1, continues=False)
        record.ended(number)
    assert [trial.number for trial in record.start_final()] == [2, 0]
    record.final_scored(2, final_score(0.75, 0.25, seconds=1.0))
    record.final_failed(0, "the worker died")
