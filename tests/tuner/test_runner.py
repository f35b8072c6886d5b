"""How trials that fail under Ray Tune are told of."""

from pathlib import Path

import pytest

from tuner import runner

RAISED = """Failure # 1 (occurred at 2026-11-22_10-00-00)
ray::ImplicitFunc.train() (pid=1)
  File "trial.py", line 1, in run
ValueError: the first failure
Failure # 2 (occurred at 2026-11-22_10-00-01)
ray::ImplicitFunc.train() (pid=2)
  File "trial.py", line 1, in run
_pickle.UnpicklingError: the second failure
    that goes on

and on
"""
DIED = """Failure # 1 (occurred at 2026-11-22_10-00-00)
The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RAISED, "_pickle.UnpicklingError: the second failure"),
        (DIED, "The actor died unexpectedly before finishing this task."),
        ("", "ended without a message"),
    ],
)
def test_a_failed_trial_says_what_its_last_failure_raised(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "error.txt").write_text(text)
    assert runner._what_was_raised(str(tmp_path / "error.txt")) == message


def test_a_failed_trial_may_have_left_nothing(tmp_path: Path) -> None:
    assert runner._what_was_raised(None) == "ended without a message"
    assert runner._what_was_raised(str(tmp_path / "none")) == "ended without a message"
