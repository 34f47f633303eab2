"""The version is said once, and the files that repeat it agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import sat_core

ROOT = Path(__file__).parents[2]


def test_the_package_takes_its_version_from_the_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "sat_core.version.VERSION"}


def test_changelog_and_citation_have_the_version_of_the_code() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == sat_core.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [sat_core.__version__]


def test_citation_and_readme_name_the_same_paper() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for entry in re.findall(r"^  (?:title|url): (.+)$", citation, re.MULTILINE):
        assert entry in readme
