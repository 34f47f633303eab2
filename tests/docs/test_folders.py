"""The README of a folder names the files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHERE = {
    "sat_core": ["sat_core"],
    "backends": ["backends/sat_torch", "backends/sat_tensorflow"],
    "evaluation": ["evaluation/sat_evaluation"],
    "tests": ["tests"],
}
"""Folder with a README, and the folders where the files of its tables are, in any of them."""


def named_files(page: Path) -> set[str]:
    """Names of modules and folders in the first cells of a page's tables."""
    cells = re.findall(r"^\| ([^|]*) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([\w/]+(?:\.py|/))`", cell)}


@pytest.mark.parametrize("folder", WHERE)
def test_named_files_exist(folder: str) -> None:
    names = named_files(ROOT / folder / "README.md")
    assert len(names) > 5
    assert [name for name in sorted(names) if not any((ROOT / place / name).exists() for place in WHERE[folder])] == []


def test_the_page_on_tests_names_every_file() -> None:
    names = named_files(ROOT / "tests/README.md")
    files = [path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    assert [file for file in sorted(files) if file not in names and f"{file.split('/')[0]}/" not in names] == []
