"""The workflows for forks on GitHub run what `make`, tox and .ci/run run, with actions of one version each."""

from __future__ import annotations

import re
import shlex
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
OTHERS = ("apt-get", "awk", "gh", "test")
"""Commands that are neither ours nor tox's."""


def jobs(name: str) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true
    content = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))
    assert {*content} == {"name", True, "permissions", "jobs"} | ({"concurrency"} if name == "tests" else set())
    assert content["permissions"] == {"contents": "read"}
    return content["jobs"]


def commands(name: str) -> list[str]:
    """All that a workflow runs, once for each value of a matrix."""
    lines = []
    for job in jobs(name).values():
        values = job.get("strategy", {}).get("matrix", {}).get("environment", [""])
        for step in job["steps"]:
            text = step.get("run", "")
            lines += [text.replace("${{ matrix.environment }}", v) for v in (values if "matrix" in text else [""])]
    return [line for line in lines if line]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_jobs_end_and_actions_have_versions(name: str) -> None:
    for job in jobs(name).values():
        assert {"runs-on", "timeout-minutes", "steps"} <= {*job}
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])
        for step in job["steps"]:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", step.get("uses", "actions/a@v1.1.1"))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_commands_are_ours(name: str) -> None:
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "tox.ini", encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in commands(name):
        assert subprocess.run(["bash", "-n"], input=line, text=True, check=False).returncode == 0
        word, *rest = shlex.split(line)
        if word == "make":
            assert re.search(rf"^{re.escape(rest[0])}:", makefile, re.MULTILINE), line
        elif word == ".venv/bin/tox":
            assert rest[:2] == ["run", "-e"]
            assert all(config.has_section(f"testenv:{each}") for each in rest[2].split(",")), line
        else:
            assert word in OTHERS, line


def test_the_tests_are_those_of_ci() -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    daemons = re.findall(r"tox run -e (\S+)", ci)[0].split(",")
    wanted = {"make test", *(f".venv/bin/tox run -e {each}" for each in daemons)}
    assert wanted <= {*commands("tests")}
    variables = dict(re.findall(r"(SAT_TEST_\w+)=(\d)", ci))
    assert [job["env"] for job in jobs("tests").values() if "env" in job] == [variables]


def test_notes_of_a_release_are_the_first_section_of_the_changelog(tmp_path: Path) -> None:
    (line,) = (line for line in commands("release") if line.startswith("awk"))
    (tmp_path / "dist").mkdir()
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\ntext\n\n## 2.0 – now\n\n### Added\n\n- b\n\n## 1.0\n\n- a\n")
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
    assert (tmp_path / "dist/notes.md").read_text() == "## 2.0 – now\n\n### Added\n\n- b\n\n"
    checked = {"release", "audit"} - {line.split()[-1] for line in commands("release") if "tox" in line}
    assert not checked


def test_a_tag_that_is_not_the_version_is_refused(tmp_path: Path) -> None:
    (line,) = (line for line in commands("release") if line.startswith("test "))
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/sat_core-2.0.tar.gz").touch()
    for tag, status in (("v2.0", 0), ("v2.1", 1)):
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env={"GITHUB_REF_NAME": tag}, check=False)
        assert done.returncode == status
