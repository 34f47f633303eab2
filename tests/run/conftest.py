"""Fixtures of the tests of executors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from folders import SPEC, program, put

from sat_evaluation.run.executors import processes


@pytest.fixture
def out(tmp_path: Path) -> Path:
    put(tmp_path / "out" / "spec.toml", SPEC)
    return tmp_path / "out"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of all others on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "bin"


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with scripts named after units; each runs in place of that unit's worker."""
    text = "for last; do unit=$prior; prior=$last; done; exec sh $(dirname $0)/$unit"
    monkeypatch.setattr(processes.sys, "executable", str(program(tmp_path / "worker" / "start", text)))
    return tmp_path / "worker"
