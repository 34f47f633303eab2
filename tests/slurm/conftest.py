"""Fixtures of the tests on a real Slurm: one cluster for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from slurm_runs import STARTED
from toys import digits


@pytest.fixture(scope="session")
def daemons() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(daemons: Cluster) -> Iterator[Cluster]:
    """The cluster; after each test, also a failed one, all jobs are ended and all nodes are ready."""
    yield daemons
    while STARTED:
        with STARTED.pop().process as process:
            process.kill()
    daemons.clear()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few real digits."""
    return digits(tmp_path_factory.mktemp("data") / "five.npz", test=40)
