"""One thread for everything, and the facts about the machine in the record."""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # before numpy loads

import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

PACKAGES = (
    "sat-core",
    "numpy",
    "torch",
    "tensorflow",
    "scipy",
    "torchattacks",
    "foolbox",
    "adversarial-robustness-toolbox",
    "pyautoattack",
)

_START = time.perf_counter(), sum(os.times()[:4])


@pytest.fixture(scope="session")
def ten_thousand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study with ten thousand finished arms, among them a hundred learning rates; few in smoke."""
    from thousand import PER_SEED, write_study

    folder = tmp_path_factory.mktemp("ten-thousand") / "study"
    smoke = request.config.getoption("benchmark_disable")
    write_study(folder, *((4 * PER_SEED, 2) if smoke else (10_000, 100)))
    return folder


@pytest.fixture(scope="session")
def thousand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study with a thousand finished arms; ten in a smoke round."""
    from thousand import PER_SEED, write_study

    folder = tmp_path_factory.mktemp("thousand") / "study"
    write_study(folder, PER_SEED if request.config.getoption("benchmark_disable") else 1000)
    return folder


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Add versions and our share of a core to the record, and remove the name of the host; pytest calls it at the
    end.
    """
    del machine_info["node"]
    elapsed, computed = time.perf_counter() - _START[0], sum(os.times()[:4]) - _START[1]
    machine_info["minutes"] = elapsed / 60
    machine_info["core_share"] = computed / elapsed
    machine_info["versions"] = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # most benchmarks need no peers: an error here would lose their numbers
            machine_info["versions"][name] = version(name)
