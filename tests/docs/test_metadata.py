"""The version is said once, and the files that repeat it agree."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
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


def unpinned(requirements: Iterable[str]) -> list[str]:
    """Names that constraints.txt gives no release, spelt as there; setuptools is left out of it on purpose.

    Each environment has the setuptools that its libraries need: robustbench one below 81.
    """
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    names = [re.split(r"[<>=~!;\[ ]", line)[0].lower().replace("_", "-") for line in requirements]
    return [name for name in names if name and not name.startswith("#") and name not in {*pinned, "setuptools"}]


def test_every_package_that_we_name_has_its_release_in_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    beside = (ROOT / "tests/interop/requirements.txt").read_text(encoding="utf-8").splitlines()
    assert unpinned([*project["dependencies"], *extras, *beside]) == []
    assert unpinned(["Some_Thing>=1", "torch[cpu]>=2", "setuptools<81", "# text"]) == ["some-thing"]
