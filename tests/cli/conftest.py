"""One study of three arms, and heads on it, which all tests of the command share."""

from __future__ import annotations

from pathlib import Path

import pytest
from sat_command import HEAD, STUDY, sat
from toys import digits


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three arms on a few real digits."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.toml").write_text(STUDY.format(data=digits(folder / "five.npz")))
    return folder / "study.toml"


@pytest.fixture(scope="session")
def finished(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, run without a break."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = sat("run", study, "--out", out)
    assert done.returncode == 0, done.stderr
    (out / "printed.txt").write_text(done.stdout)
    return out


@pytest.fixture(scope="session")
def target(study: Path) -> str:
    """Another task on larger images: the other digits, at 16 x 16 pixels."""
    return f"npz:{digits(study.parent / 'others.npz', high=True)}"


@pytest.fixture(scope="session")
def transferred(finished: Path, target: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads on every arm of the study."""
    out = tmp_path_factory.mktemp("runs") / "heads"
    done = sat("transfer", finished, "--data", target, "--out", out, *HEAD)
    assert done.returncode == 0, done.stderr
    (out / "printed.txt").write_text(done.stdout)
    return out
