"""Options and fixtures that all tests share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from sat_core.backend import Backend, get_backend
from sat_core.training_spec import TrainingSpec

# the same examples in every run; HYPOTHESIS_PROFILE=search looks for new ones
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))

FRAMEWORKS = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
DAEMONS = {"slurm": "SAT_TEST_SLURM", "browser": "SAT_TEST_BROWSER", "interop": "SAT_TEST_INTEROP"}
"""Markers of tests that install and start something on this machine, or need many other libraries, and the variable
that says that they may run.
"""
BEYOND = {
    **FRAMEWORKS,
    "cross": "both",
    "data": "the extra data",
    "report": "matplotlib",
    "tensorboard": "tensorboard",
    "backend": "either",
}
"""Markers of tests that need more than the core, and what."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        help="run the backend tests with this backend, missing is an error; two with a comma: the tests marked cross",
    )


def pytest_configure(config: pytest.Config) -> None:
    for marker, needs in {**BEYOND, **DAEMONS}.items():
        config.addinivalue_line("markers", f"{marker}: needs {needs}")
    config.addinivalue_line("markers", "installed: of the core, and looks at what is installed: tox runs it everywhere")
    # nobody can write there: no test adds to the user's cache, or depends on what is in it
    os.environ["SAT_CACHE"] = f"{os.devnull}/none"
    names = chosen(config)
    if len(names) == 1:
        os.environ["SAT_BACKEND"] = names[0]  # of every command that the tests start


def chosen(config: pytest.Config) -> list[str]:
    """The backends that --backend names."""
    return list(filter(None, (config.getoption("--backend") or "").split(",")))


def left_out(config: pytest.Config) -> set[str]:
    """Markers of the tests that are not for this environment."""
    names = chosen(config)
    forbidden = {marker for marker, variable in DAEMONS.items() if os.environ.get(variable) != "1" or not names}
    if not names:
        return {*BEYOND, *forbidden}
    return forbidden | ({*FRAMEWORKS, "cross"} - {*names} if len(names) == 1 else {*BEYOND} - {"cross"})


def pytest_report_header(config: pytest.Config) -> str:
    names = chosen(config)
    return (
        f"backend: {' and '.join(names)}" if names else "no --backend: the tests of the core, which need no framework"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip files whose tests are all for another environment, without importing them."""
    if collection_path.name.startswith("test_"):
        mark = re.search(r"^pytestmark = pytest.mark.(\w+)$", collection_path.read_text(), re.M)
        return (mark is not None and mark[1] in left_out(config)) or None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --backend only the tests of the core are run; with one backend, all but those of others; with two, those
    that compare them. Nothing is skipped.
    """
    names, out = chosen(config), left_out(config)
    beyond = [item for item in items if any(item.get_closest_marker(marker) for marker in out)]
    if len(names) > 1:
        beyond = [item for item in items if not item.get_closest_marker("cross")]
    config.hook.pytest_deselected(items=beyond)
    items[:] = [item for item in items if item not in beyond]


@pytest.fixture(scope="session")
def backends(request: pytest.FixtureRequest) -> Iterator[list[Backend]]:
    """The backends that --backend names, with one thread; TensorFlow's number cannot change once it has computed."""
    with ExitStack() as stack:
        found = [get_backend(name) for name in chosen(request.config)]
        for backend in found:
            stack.enter_context(backend.session(TrainingSpec(epochs=1, threads=1)))
        yield found


@pytest.fixture(scope="session")
def backend(backends: list[Backend]) -> Backend:
    """The first backend that --backend names."""
    return backends[0]
