"""A small search that is written to MLflow."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_search import SmallSearch


@pytest.fixture
def search(tmp_path: Path) -> Iterator[SmallSearch]:
    """It has not begun yet."""
    with SmallSearch(tmp_path) as small:
        yield small
