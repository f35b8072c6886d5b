"""What all tests run under."""

from collections.abc import Iterator

import pytest
import searches


@pytest.fixture(autouse=True)
def _no_search_outlives_its_test() -> Iterator[None]:
    yield
    searches.end_all()
