"""The interface of what is notified of a search's events: display, log file, gauges, MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tuner.study import Trial


class Listener:
    """Receiver of the events of a search; override the methods of those that matter.

    Every method does nothing by default. An event arrives once its contents are on the disk, with
    all of its data: trials as they are then, which never change afterwards. A trial that a later
    session resumes starts again, and its reports continue where they ended.

    The search waits until a method returns, and ends if it raises: a listener that writes to a
    slow or an unreliable place only takes note, and writes from a thread of its own, as
    ``tuner.tracking`` does. All events come from one thread, in the order in which they happen;
    only ``noted`` may come from any thread.
    """

    def search_started(self, trials: Sequence[Trial]) -> None:
        """Take note that a session starts, before any other event.

        Args:
            trials: All trials of earlier sessions, by number; none at the first. Those whose
                ``status`` is ``None`` start again if there is time for them, unless they wait at a
                rung (``waiting_at``) and are not promoted.
        """

    def trial_started(self, trial: Trial) -> None:
        """Take note that a trial starts, or resumes in this session."""

    def trial_reported(self, trial: Trial, report: Mapping[str, float]) -> None:
        """Take note of a report; each generator step of a trial is reported once.

        Args:
            trial: The trial; its ``scores`` have those of the rungs that it passed.
            report: Its metrics, with ``generator_steps`` and ``unix_time_s``, at a rung with
                ``w1``; a trial that diverged has infinities and NaN in it.
        """

    def picture_saved(self, trial: Trial, generator_steps: int, path: Path) -> None:
        """Take note of a grid of samples, a PNG in ``RUN/samples/`` that stays there."""

    def trial_waits(self, trial: Trial) -> None:
        """Take note that a trial waits at the rung ``waiting_at``: it may start again, or end."""

    def trial_ended(self, trial: Trial) -> None:
        """Take note that a trial ended: its ``status``, last ``metrics`` and ``message``."""

    def final_started(self, trials: Sequence[Trial]) -> None:
        """Take note that these trials are about to be scored again, the best one first."""

    def final_scored(self, trial: Trial) -> None:
        """Take note of a trial's score in the final: its ``final``.

        It comes again once further seeds of its configuration are scored: its ``repeats``.
        """

    def final_failed(self, trial: Trial, reason: str) -> None:
        """Take note that the final could not score a trial, which keeps its score."""

    def noted(self, text: str) -> None:
        """Take note of a failure, in one line, that did not end the search or the trial."""

    def tick(self) -> None:
        """Refresh a display while nothing happens; comes up to a few times a second."""

    def search_ended(self) -> None:
        """Take note that the session is over: no other event follows."""
