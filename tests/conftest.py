"""What all tests run under."""

import sys
from collections.abc import Iterator

import pytest
import searches


@pytest.fixture(autouse=True)
def _no_search_outlives_its_test() -> Iterator[None]:
    yield
    searches.end_all()


@pytest.fixture(autouse=True)
def _small_numbers_stay_numbers() -> Iterator[None]:
    """A worker flushes denormal numbers to zero; what is tested after it here must not."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
