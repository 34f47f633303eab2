"""What `sat completion` prints, used by a real bash; its scripts for zsh and fish know the same names."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sat_evaluation.cli import main

pytestmark = pytest.mark.interop


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def completed(words: str, script: str, folder: Path) -> set[str]:
    """What bash offers when TAB is pressed at the end of a line."""
    line = ["sat", *words.split(" ")]
    ask = (
        f"COMP_WORDS=({shlex.join(line)}); COMP_CWORD={len(line) - 1}; _shtab_sat; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{ask}"], cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    return {*done.stdout.split()}


def test_bash_completes_commands_options_names_and_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.toml").touch()
    (tmp_path / "runs/arm").mkdir(parents=True)
    bash = script("bash", capsys)
    assert subprocess.run(["bash", "-n"], input=bash, text=True, check=False).returncode == 0
    for words, offered in {
        "": {"run", "evaluate", "data", "completion"},
        "re": {"report", "reproduce"},
        "data d": {"download"},
        "run --exec": {"--executor"},
        "run st": {"study.toml"},
        "run study.toml --executor ": {"local", "slurm"},
        "run study.toml --backend t": {"torch", "tensorflow"},
        "run study.toml --out ru": {"runs"},
        "run study.toml --reuse ru": {"runs"},
        "evaluate runs/a": {"runs/arm"},
        "evaluate runs/arm --level s": {"screening", "standard"},
        "evaluate runs/arm --data cifar": {"cifar10", "cifar100"},
        "evaluate runs/arm --norm ": {"L2", "Linf"},
        "data info di": {"digits"},
        "reproduce fig2 --scale sh": {"short"},
        "completion ": {"bash", "zsh", "fish"},
    }.items():
        found = completed(words, bash, tmp_path)
        assert found >= offered, words
        if not words.endswith(" ") and words:
            assert all(each.startswith(words.split(" ")[-1]) for each in found), words


def test_other_shells_get_the_same_names(capsys: pytest.CaptureFixture[str]) -> None:
    for shell, start in (("zsh", "#compdef sat"), ("fish", "complete -c sat")):
        text = script(shell, capsys)
        assert start in text
        assert all(name in text for name in ("evaluate", "cifar100", "tensorflow", "Linf"))


def test_without_shtab_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "shtab" in line
    assert "pip install '.[completion]'" in line
