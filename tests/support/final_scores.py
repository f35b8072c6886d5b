"""Scores of the final, for tests that need none of its critics."""

from tuner.study import FinalScore, Readings


def final_score(
    w1: float, w1_stderr: float, *, seconds: float = 1.0, readings: Readings | None = None
) -> FinalScore:
    """A score; without other parts, all its error is that of two real samples."""
    parts = readings or {"real": [w1_stderr, -w1_stderr], "generated": [0.0], "critics": [w1]}
    return FinalScore(w1, w1_stderr, seconds, seconds / 2, parts)
