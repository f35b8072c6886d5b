"""Write the trials of a search as TensorBoard's event files."""

import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, final

from PIL import Image

from tuner.results import PICTURES, Report, picture_step
from tuner.space import Choice, SearchSpec
from tuner.study import Trial
from tuner.tracking.naming import Facts
from tuner.tracking.values import STEP, UNIX_TIME, result_of, values_of

#: The metrics of a trial in the table of hyperparameters.
_METRICS = ("best_w1", "w1_final", "w1")
_EVENTS = "events.out.tfevents.*"


@final
class TensorBoard:
    """Event files in ``RUN/tensorboard``: a folder per trial, and the searched keys above them."""

    name = "TensorBoard"

    def __init__(self, run_dir: Path, spec: SearchSpec, facts: Callable[[Trial], Facts]) -> None:
        """Import and write nothing yet.

        Args:
            run_dir: The search's folder.
            spec: The search.
            facts: Names a trial, and gives the hyperparameters that tell it from others.
        """
        self.folder = run_dir / "tensorboard"
        self._samples = run_dir / "samples"
        self._spec, self._facts = spec, facts
        self._runs: dict[int, _Run] = {}  # of the trials that are not written as a whole

    @property
    def command(self) -> str:
        """Return the command that opens it."""
        folder = shlex.quote(str(self.folder))
        return f"{shlex.quote(sys.executable)} -m tensorboard.main --logdir {folder}"

    def open(self) -> None:
        """Write which keys are searched, and by which metrics trials compare."""
        from tensorboardX.summary import hparams

        keys = {  # a trial has them without the section
            key.partition(".")[2]: "" if isinstance(domain, Choice) and _has_texts(domain) else 0.0
            for key, domain in self._spec.domains.items()
        }
        experiment, _, _ = hparams(keys, dict.fromkeys(_METRICS, 0.0))
        with closing(_Events(self.folder)) as events:
            events.add(experiment)

    def write(self, trial: Trial, reports: Sequence[Report], *, is_running: bool) -> None:
        """Write the reports and pictures that the trial's files lack, and its end."""
        run = self._runs.get(trial.number)
        if run is None:
            run = _Run(self.folder / trial.trial_id, self._facts(trial).params)
            self._runs[trial.number] = run
        for report in reports:
            run.add_report(report)
        for path in sorted((self._samples / trial.trial_id).glob(PICTURES)):
            run.add_picture(path)
        if is_running:
            run.flush()
            return
        del self._runs[trial.number]
        run.end(trial)

    def close(self) -> None:
        """Close the files of the trials that have not ended."""
        while self._runs:
            self._runs.popitem()[1].close()


class _Run:
    """The event file of a trial; one of an earlier session is replaced."""

    def __init__(self, folder: Path, hyperparameters: Mapping[str, object]) -> None:
        from tensorboardX.summary import hparams

        self._events = _Events(folder)
        values = {key: _plain(value) for key, value in hyperparameters.items()}
        _, start, self._end = hparams(values, {})
        self._events.add(start)
        self._last_step = 0
        self._pictures: set[Path] = set()

    def add_report(self, report: Report) -> None:
        """Write a report, unless it is written."""
        step = int(report[STEP])
        if step > self._last_step:
            self._last_step = step
            self._events.add(_scalars(values_of(report)), step, report.get(UNIX_TIME))

    def add_picture(self, path: Path) -> None:
        """Write a grid of samples as it is, unless it is written."""
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore

        if path in self._pictures:
            return
        self._pictures.add(path)
        with Image.open(path) as picture:
            width, height = picture.size
        image = Summary.Image(height=height, width=width, encoded_image_string=path.read_bytes())
        summary = Summary(value=[Summary.Value(tag="samples", image=image)])
        self._events.add(summary, picture_step(path), path.stat().st_mtime)

    def flush(self) -> None:
        """Have TensorBoard see what was written."""
        self._events.flush()

    def end(self, trial: Trial) -> None:
        """Write how a trial ended, and close the file."""
        at = trial.best_rung or trial.generator_steps
        self._events.add(_scalars(result_of(trial)), at, trial.ended_unix_time_s)
        if trial.status in ("completed", "stopped"):  # it is that of a success
            self._events.add(self._end)
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._events.close()


class _Events:
    """A new event file, in place of those of earlier sessions.

    It is written in the calling thread, so that an error is raised there: tensorboardX's
    ``SummaryWriter`` writes in one of its own, which would lose it.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore

        if folder.is_symlink():
            raise OSError(f"{folder} is a link: remove it")
        folder.mkdir(exist_ok=True)
        for earlier in folder.glob(_EVENTS):
            earlier.unlink()
        self._event = Event
        self._writer = EventsWriter(str(folder / "events"))
        # A TensorBoard that is open drops what it has read of the earlier files.
        restart = SessionLog(status=SessionLog.START)
        self._writer.write_event(Event(wall_time=time.time(), session_log=restart))

    def add(self, summary: Any, step: int = 0, time_s: float | None = None) -> None:
        """Write a summary of a generator step, made at a time; now, if left out."""
        at_s = time.time() if time_s is None else time_s
        self._writer.write_event(self._event(wall_time=at_s, step=step, summary=summary))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _scalars(values: Mapping[str, float]) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore

    return Summary(
        value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    )


def _has_texts(choice: Choice) -> bool:
    return any(isinstance(_plain(value), str) for value in choice.choice)


def _plain(value: object) -> float | str:
    """Return a value as a table of hyperparameters sorts it: a number, else its text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return str(value)
