"""What all tests of the trainables run under."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def _in_one_thread(one_thread: None) -> None:
    """Train and score the small networks of these tests in one thread."""
