"""What all tests beside other libraries begin with."""

from __future__ import annotations

import pytest

from sat_core.backend import Backend


@pytest.fixture(scope="session", autouse=True)
def _threads(backend: Backend) -> None:
    """Open the backend's session first: TensorFlow cannot change its threads once anybody has computed with it."""
