"""Python in the documentation runs, page by page, each page as one program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from blocks import OF_THE_SITE, PAGES, ROOT, has_python, program
from plugin_folders import registries_as_they_were

from sat_core.backend import Backend

pytestmark = pytest.mark.backend

ELSEWHERE = {ROOT / "docs/results.md"}
"""Reads a finished run; `test_docs.py` makes one for it."""
PROGRAMS = [page for page in [*PAGES, *OF_THE_SITE] if has_python(page) and page not in ELSEWHERE]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: str(page.relative_to(ROOT)))
def test_programs_run(page: Path, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAT_BACKEND", backend.name)
    names: dict[str, Any] = {"__name__": "__main__"}
    with registries_as_they_were():  # a page registers more
        exec(compile(program(page, backend.name), str(page), "exec"), names)
