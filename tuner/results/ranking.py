"""What a search leaves for people: ``trials.csv``, ``best.yaml`` and ``best/``."""

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from tuner.study.trial import Trial


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """The completed trials by their score at the last rung, the lowest first."""
    scored = [(t.score, t.number, t) for t in trials if t.status == "completed"]
    return [trial for *_, trial in sorted(s for s in scored if s[0] is not None)]


def best(trials: Iterable[Trial]) -> Trial | None:
    """Of those that were in the final, the lowest ``w1_final``; else the best by its score.

    Of equal ones the one of the better score, then the first; ``None`` where none has completed.
    """
    completed = ranked(trials)
    in_final = [trial for trial in completed if trial.final is not None]
    return min(in_final or completed[:1], key=w1_final_of, default=None)


class Standing:
    """How the trials stand, kept as each changes: no answer looks at all of them.

    What :func:`ranked` and :func:`best` find of all trials anew, this knows at any time.
    """

    def __init__(self, trials: Mapping[int, Trial]) -> None:
        """Look at all trials once; of one that changes, :meth:`update` is to be told."""
        self._trials = trials
        self._ranked: list[tuple[float, int]] = []
        self._in_final: set[int] = set()
        self._counted: set[int] = set()
        self._at_rungs: dict[int, set[int]] = {}
        self._best_at: dict[int, float] = {}
        #: Trials that ended, by status.
        self.counts: Counter[str] = Counter()
        for number in trials:
            self.update(number)

    def update(self, number: int) -> None:
        """Take note of how a trial stands: what it has scored, and how it ended, stays."""
        trial = self._trials[number]
        for steps, score in trial.scores.items():
            self._at_rungs.setdefault(steps, set()).add(number)
            self._best_at[steps] = min(score, self._best_at.get(steps, math.inf))
        if trial.final is not None:
            self._in_final.add(number)
        if trial.status is None or number in self._counted:
            return
        self._counted.add(number)
        self.counts[trial.status] += 1
        if trial.status == "completed" and trial.score is not None:
            bisect.insort(self._ranked, (trial.score, number))

    @property
    def best(self) -> Trial | None:
        """What :func:`best` says of all trials."""
        first = [number for _, number in self._ranked[:1]]
        return best(self._trials[number] for number in [*first, *self._in_final])

    def leading(self, num: int) -> list[Trial]:
        """The first so many of :func:`ranked`."""
        return [self._trials[number] for _, number in self._ranked[:num]]

    def at_rung(self, steps: int) -> tuple[int, float | None]:
        """How many trials were scored at a rung, and the lowest score."""
        return len(self._at_rungs.get(steps, ())), self._best_at.get(steps)


def tied_with(best: Trial, trials: Iterable[Trial]) -> list[Trial]:
    """Trials that the final cannot tell from the best: not by more than chance, at 95%."""
    if best.final is None:
        return []
    others = [t for t in ranked(trials) if t.final is not None and t.number != best.number]
    return [
        t
        for t in others
        if w1_final_of(t) - w1_final_of(best) <= half_width(_stderr_between(t, best))
    ]


def half_width(stderr: float) -> float:
    """Half of the interval that holds 95% of a normal distribution."""
    return 1.96 * stderr


def w1_final_of(trial: Trial) -> float:
    """Give the score of the final; infinity for a trial that was not in it."""
    return math.inf if trial.final is None else trial.final["w1_final"]


def _stderr_between(one: Trial, other: Trial) -> float:
    return math.hypot(*(t.final["w1_final_stderr"] for t in (one, other) if t.final))
