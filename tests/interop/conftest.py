"""What all tests beside other libraries begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from sat_core.backend import Backend

ONCE = (
    "completion",
    "containers",
    "data_sources",
    "hub",
    "hugging_face",
    "schema",
    "tables",
    "trackers",
    "versions",
    "workflows",
)
"""What the files are about whose tests compute with no backend, and so run beside the first one only."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    about = collection_path.stem.removeprefix("test_")
    return (about in ONCE and config.getoption("--backend") == "tensorflow") or None


@pytest.fixture(scope="session", autouse=True)
def _threads(backend: Backend) -> None:
    """Open the backend's session first: TensorFlow cannot change its threads once anybody has computed with it."""
