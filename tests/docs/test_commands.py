"""Commands in the documentation are commands: arguments, targets, environments and files exist."""

from __future__ import annotations

import re
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest
from blocks import OF_THE_SITE, PAGES, ROOT, blocks, commands

from sat_core.study import Study

ALL = [*PAGES, *OF_THE_SITE]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
LANGUAGES = {"python", "console", "toml", "text", "bibtex"}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def environments() -> set[str]:
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "tox.ini", encoding="utf-8")
    return {section.removeprefix("testenv:") for section in config.sections()}


def parse_sat(words: list[str], page: Path) -> None:
    from sat_evaluation.cli import parser

    arguments = parser().parse_args(words)
    study = getattr(arguments, "study", None)
    if study is not None:
        assert any((folder / study).is_file() for folder in (ROOT, page.parent)), f"{page}: no file {study}"


def check(words: list[str], page: Path) -> None:
    """Raise if a command could not be run as it is written."""
    while re.fullmatch(r"[A-Z_0-9]+=\S*", words[0]):
        words = words[1:]
    name, *rest = words
    match Path(name).name:
        case "sat":
            parse_sat(rest, page)
        case "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert {*rest} <= {*targets}
        case "tox":
            assert rest[:2] == ["run", "-e"]
            assert {*rest[2].split(",")} <= environments()
        case "pip":
            extras = {
                extra for word in rest for extra in "".join(re.findall(r"^\.\[(.*)\]$", word)).split(",") if extra
            }
            assert rest[0] == "install"
            assert extras <= {*EXTRAS}
        case "python":
            assert any((folder / rest[0]).is_file() for folder in (ROOT, page.parent)), f"{page}: no file {rest[0]}"
        case "torchrun":
            scripts = [word for word in rest if word.endswith(".py")]
            assert scripts
            assert all(any((folder / name).is_file() for folder in (ROOT, page.parent)) for name in scripts)
        case "pytest":
            assert (ROOT / rest[0]).exists()
        case "docker" | "apptainer":
            if rest[0] == "build":
                assert (ROOT / ("Dockerfile" if Path(name).name == "docker" else rest[-1])).is_file()
            else:
                image = next(word for word in rest if word in ("sat", "sat.sif"))
                parse_sat(rest[rest.index(image) + 1 :], page)
        case "tensorboard":
            assert rest[0] == "--logdir"
        case _:
            raise AssertionError(f"{page}: no test knows the command {name!r}")


@pytest.mark.parametrize("page", ALL, ids=named)
def test_commands_can_be_run_as_they_are_written(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(page):
        try:
            check(words, page)
        except SystemExit:
            pytest.fail(f"{page}: {' '.join(words)}\n{capsys.readouterr().err}")


@pytest.mark.parametrize(
    "words",
    [
        ["sat", "run", "examples/digits.toml", "--outt", "x"],
        ["sat", "run", "examples/none.toml", "--out", "x"],
        ["make", "tea"],
        [".venv/bin/tox", "run", "-e", "none"],
        ["pip", "install", ".[none]"],
        ["python", "examples/none.py"],
        ["rm", "-r", "runs"],
    ],
    ids=" ".join,
)
def test_wrong_commands_are_found(words: list[str]) -> None:
    with pytest.raises((AssertionError, SystemExit)):
        check(words, ROOT / "README.md")


def test_commands_are_found_and_every_block_says_what_it_is() -> None:
    assert sum(len(list(commands(page))) for page in ALL) > 40
    assert {block.language for page in ALL for block in blocks(page)} <= LANGUAGES
    unread = [
        line
        for page in ALL
        for block in blocks(page)
        if block.language == "console"
        for line in block.code.splitlines()
        if not line.startswith("$ ")
    ]
    assert unread == [], "a command begins with `$ `; what it prints stands in a block `text`"


def test_what_tox_leaves_to_another_environment_is_run_there(pytestconfig: pytest.Config) -> None:
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "tox.ini", encoding="utf-8")
    markers = {
        line.split(":")[0] for line in pytestconfig.getini("markers") if ": needs" in line or "of the core" in line
    }
    ours = markers - {"cross", "slurm", "browser", "interop"}  # which have environments of their own
    run = {}
    for name, other in (("torch", "tensorflow"), ("tensorflow", "torch")):
        expression = re.search('-m "(.*)"', config[f"testenv:{name}"]["commands"])
        assert expression
        run[name] = {*expression[1].split(" or ")}
        assert {"backend", "installed", name} <= run[name] <= ours - {other}
    assert run["torch"] | run["tensorflow"] == ours
    assert config["testenv:core"]["commands"] == "pytest {posargs}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in ("study", "PROTOCOLS")], ids=named)
def test_toml_is_a_study_or_names_entry_points(page: Path) -> None:
    """The pages study and PROTOCOLS have tests of their own."""
    groups = {"sat_core.backends", "sat_core.datasets", "sat_core.evaluators"}
    for block in blocks(page):
        if block.language == "toml":
            tables = tomllib.loads(block.code)
            if "project" in tables:
                assert {*tables["project"]["entry-points"]} <= groups
            else:
                assert Study.loads(block.code).arms
