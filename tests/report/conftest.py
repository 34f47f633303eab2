"""A finished study and its report."""

from __future__ import annotations

import shutil
from pathlib import Path

import hostile
import pytest
from pages import Page

from sat_evaluation.report.page import write_report


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile.finished(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def page(study: Path) -> Page:
    return Page(write_report([study]))


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> Path:
    """The study, to be broken; its data are where they were."""
    return shutil.copytree(study, tmp_path / "study")
