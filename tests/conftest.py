"""Options and fixtures that all tests share."""

from __future__ import annotations

import pytest

from sat_core.backend import Backend, get_backend


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", default=None, help="run the backend tests with this backend; missing is an error")


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "torch: needs PyTorch",
        "data: needs scikit-learn and Pillow",
        "report: needs matplotlib",
        "backend: needs --backend",
    ):
        config.addinivalue_line("markers", marker)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --backend only the tests of the core are collected; with it, all. Nothing is skipped."""
    if config.getoption("--backend") is None:
        beyond = [
            item for item in items if any(item.get_closest_marker(m) for m in ("torch", "data", "report", "backend"))
        ]
        config.hook.pytest_deselected(items=beyond)
        items[:] = [item for item in items if item not in beyond]


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """The backend that --backend names."""
    return get_backend(request.config.getoption("--backend"))
