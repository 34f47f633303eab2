"""Options and fixtures that all tests share."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import settings

from sat_core.backend import Backend, get_backend

# the same examples in every run; HYPOTHESIS_PROFILE=search looks for new ones
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))

BEYOND = {"torch": "PyTorch", "data": "scikit-learn and Pillow", "report": "matplotlib", "backend": "--backend"}
"""Markers of tests that need more than the core, and what."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", default=None, help="run the backend tests with this backend; missing is an error")


def pytest_configure(config: pytest.Config) -> None:
    for marker, needs in BEYOND.items():
        config.addinivalue_line("markers", f"{marker}: needs {needs}")


def pytest_report_header(config: pytest.Config) -> str:
    name = config.getoption("--backend")
    return f"backend: {name}" if name else "no --backend: the tests of the core, which need no framework"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without --backend, files of which every test needs more than the core are not even imported."""
    if config.getoption("--backend") is None and collection_path.name.startswith("test_"):
        return (
            bool(re.search(f"^pytestmark = pytest.mark.({'|'.join(BEYOND)})$", collection_path.read_text(), re.M))
            or None
        )
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --backend only the tests of the core are run; with it, all of them. Nothing is skipped."""
    if config.getoption("--backend") is None:
        beyond = [item for item in items if any(item.get_closest_marker(marker) for marker in BEYOND)]
        config.hook.pytest_deselected(items=beyond)
        items[:] = [item for item in items if item not in beyond]


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """The backend that --backend names."""
    return get_backend(request.config.getoption("--backend"))
