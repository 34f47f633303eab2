"""A study on a real disk that fills up under it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from toys import digits

from sat_evaluation.cli import main

pytestmark = pytest.mark.torch  # files are the core's, and PyTorch's workers start quickly

STUDY = """
data.name = "npz:{data}"
model.name = "small-cnn"
[training]
epochs = 2
batch_size = 16
lr = 0.02
[evaluation]
selection_epochs = [2]
selection_share = 0.3
selection_attacks = ["apgd-ce"]
attacks = ["apgd-ce"]
examples = 10
[grid]
subset.size = [0.0, 0.25, 0.5, 1.0]
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MB in a mount namespace that ends with the process that holds it; root's, or the user's own."""
    path, user = tmp_path / "disk", [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    path.mkdir()
    mount = f"mount -t tmpfs -o size=32m tmpfs '{path}' && echo ready && exec sleep infinity"
    with subprocess.Popen(["unshare", "--mount", *user, "sh", "-c", mount], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            yield Path(f"/proc/{holder.pid}/root{path}")
        finally:
            holder.kill()


def fill(disk: Path) -> Path:
    """Fill the disk with one file."""
    with (disk / "filler").open("wb") as file, suppress(OSError):
        for start in count(0, 4096):
            os.posix_fallocate(file.fileno(), start, 4096)
    assert os.statvfs(disk).f_bavail == 0
    return disk / "filler"


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_disk_that_fills_up_leaves_finished_arms_and_says_so(
    disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.toml").write_text(STUDY.format(data=digits(tmp_path / "five.npz", test=40)))
    out = disk / "out"
    arguments = ["run", str(tmp_path / "study.toml"), "--out", str(out), "--jobs", "1"]
    with subprocess.Popen([sys.executable, "-m", "sat_evaluation.cli", *arguments]) as process:
        while process.poll() is None and len(list(out.glob("arms/*/results.json"))) < 2:
            time.sleep(0.05)
        assert process.poll() is None
        filler = fill(disk)
        assert process.wait(timeout=500) == 2
    said = capfd.readouterr().err
    assert "no space left on the disk; make room" in said
    assert "the same command runs what is missing again" in said
    assert len(said.strip().splitlines()) <= 3

    arms = [path.parent for path in out.glob("arms/*/results.json")]
    assert 2 <= len(arms) < 4
    before = {path: content for arm in arms for path, content in contents(arm).items()}
    assert main(["status", str(out)]) == 0
    assert f"{len(arms) + 1} of 5 finished" in capfd.readouterr().out

    assert main(arguments) == 2  # there is no room still, and nothing is lost by trying
    assert "no space left on" in capfd.readouterr().err.lower()
    assert before.items() <= contents(out).items()
    filler.unlink()
    assert main(arguments) == 0
    assert len(list(out.glob("arms/*/results.json"))) == 4
    assert before.items() <= contents(out).items()
    assert not list(out.rglob(".partial-*"))
