"""The fixture of the integration tests: an empty root, and its fleet stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """An empty root; whatever runs in it at the end is stopped."""
    for folder in ("config/active", "logs", "database"):
        (tmp_path / folder).mkdir(parents=True)
    made = Fleet(tmp_path)
    yield made
    made.clean_up()
