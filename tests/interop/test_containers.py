"""Dockerfile and apptainer.def, line by line: what they copy builds, what they install exists, what they start runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

import sat_core

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HOME = "/opt/sat-core"


def dockerfile() -> list[tuple[str, str]]:
    """Instructions and their arguments."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line and not line.startswith("#")]


def definition() -> dict[str, str]:
    """Sections of apptainer.def, without indentation; its header under the empty name."""
    text = (ROOT / "apptainer.def").read_text(encoding="utf-8")
    header, *rest = re.split(r"^%(\w+)\n", text, flags=re.MULTILINE)
    sections = zip(rest[::2], rest[1::2], strict=True)
    return {"": header} | {name: re.sub(r"^ {4}", "", body, flags=re.MULTILINE).strip() for name, body in sections}


def copied() -> list[str]:
    """Files and folders that the Dockerfile copies into its working directory."""
    words = [argument.split() for name, argument in dockerfile() if name == "COPY"]
    assert all(len(each) == 2 or each[-1] == "./" for each in words)
    assert all(each[1] == f"./{each[0]}" for each in words if len(each) == 2)
    return [source for each in words for source in each[:-1]]


def test_every_line_is_one_that_engines_know() -> None:
    names = [name for name, _ in dockerfile()]
    assert names[:3] == ["FROM", "ARG", "WORKDIR"]
    assert {*names} == {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD"}
    header = dict(line.split(": ") for line in definition()[""].splitlines() if line and not line.startswith("#"))
    base = dict(reversed(pair) for pair in reversed(dockerfile()))
    assert header == {"Bootstrap": "docker", "From": next(key for key, name in base.items() if name == "FROM")}
    python = re.match(r"python:(\d\.\d+)-", header["From"])
    assert python is not None
    assert f"Programming Language :: Python :: {python[1]}" in PROJECT["classifiers"]
    assert {*definition()} == {"", "arguments", "files", "post", "environment", "runscript", "test", "help"}
    for name in ("post", "environment", "runscript", "test"):
        assert subprocess.run(["sh", "-n"], input=definition()[name], text=True, check=False).returncode == 0


def test_both_copy_the_same_files_and_run_the_same_command() -> None:
    files = [line.split() for line in definition()["files"].splitlines()]
    assert files == [[source, f"{HOME}/{source}"] for source in copied()]
    assert all((ROOT / source).exists() for source in copied())
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line[1:] for line in ignored if line.startswith("!")] == copied()
    (command,) = (argument for name, argument in dockerfile() if name == "RUN")
    assert definition()["post"].splitlines() == [f"cd {HOME}", command.replace("${BACKEND}", "{{ BACKEND }}")]
    assert ("ARG", definition()["arguments"]) in dockerfile()
    pip, install, *options, what = shlex.split(command)
    assert (pip, install, options) == ("pip", "install", ["--no-cache-dir", "--constraint", "constraints.txt"])
    for backend in ("torch", "tensorflow"):
        extras = what.replace("${BACKEND}", backend).removeprefix(".[").removesuffix("]").split(",")
        assert {*extras} <= {*PROJECT["optional-dependencies"]}
        assert backend in extras


@pytest.mark.torch
def test_the_copied_files_build_all_of_sat_core(tmp_path: Path) -> None:
    """By way of the source distribution, so that this has everything, too; both are fit for an index."""
    for source in copied():
        whole = (ROOT / source).is_dir()
        (shutil.copytree if whole else shutil.copy)(ROOT / source, tmp_path / source)
    build = [sys.executable, "-W", "ignore", "-m", "build", "--no-isolation", "--outdir", "dist", "."]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = sorted((tmp_path / "dist").iterdir())
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, made)]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0
    roots = [ROOT, *(ROOT / name for name in ("backends", "datasets", "evaluation"))]
    expected = {
        path.relative_to(root).as_posix()
        for root in roots
        for package in root.glob("sat_*")
        if package.suffix != ".egg-info"
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".md")
    }
    assert made[0].name == f"sat_core-{sat_core.__version__}-py3-none-any.whl"
    with ZipFile(made[0]) as wheel:
        assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected


def test_what_they_start_is_the_command(tmp_path: Path) -> None:
    assert PROJECT["scripts"] == {"sat": "sat_evaluation.cli:main"}
    assert ("ENTRYPOINT", '["sat"]') in dockerfile()
    command = tmp_path / "sat"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sat_evaluation.cli "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    started = [["sat", "--version"], ["sh", "-c", definition()["runscript"], "sat", "--version"]]
    for each in (*started, ["sh", "-c", definition()["test"]]):
        done = subprocess.run(each, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == f"sat-core {sat_core.__version__}"
