"""`sat run --devices 2`: the same as one device, whatever breaks it off, with as many or other devices afterwards."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sat_command import refused, sat, wait_for

from sat_core import checkpoint
from sat_core.errors import EXIT_CONTINUE
from sat_core.ranking import Ranking
from sat_core.run_folder import RunFolder
from sat_evaluation.cli import main

pytestmark = pytest.mark.backend
TIGHT = ("--set", "training.precision=float64")


def ranks(out: Path) -> dict[str, list[int]]:
    """The processes that work on a folder: numbers by rank, and those of the launcher under "launcher"."""
    found: dict[str, list[int]] = {}
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes().decode().split("\0")
            environment = (process / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if process.name.isdecimal() and str(out) in command and any("sat_evaluation.run." in part for part in command):
            rank = [text.partition("=")[2] for text in environment if text.startswith("RANK=")]
            found.setdefault(rank[0] if rank else "launcher", []).append(int(process.name))
    return found


def same(one: Path, other: Path) -> None:
    """Check that two arms have the same losses and weights, in float64."""
    losses = [json.loads((arm / "results.json").read_text())["losses"] for arm in (one, other)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-8)
    weights = [checkpoint.read(arm / "checkpoint-best.safetensors").groups["model"] for arm in (one, other)]
    for name, value in weights[0].items():
        np.testing.assert_allclose(weights[1][name], value, rtol=1e-7, atol=1e-9)


@pytest.mark.torch  # TensorFlow's ranks have tests of their own, and this starts many processes
def test_two_devices_train_a_study_as_one(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The ranking by the command that is printed for torchrun, two arms by `sat run`."""
    keys = ("training.epochs=2", "ranking.epochs=2", "evaluation.examples=6", "subset.size=[0.0,0.5]")
    settings = [*TIGHT, *(text for key in keys for text in ("--set", key))]
    one, two = tmp_path / "one", tmp_path / "two"
    assert sat("run", study, "--out", one, *settings).returncode == 0
    run = ["run", study, "--out", two, *settings, "--devices", 2]
    assert main([*map(str, run), "--print-command"]) == 0
    title, *commands = capsys.readouterr().out.splitlines()
    assert title.startswith("# 3 to run here, the ranking first;")
    assert len(commands) == 3
    assert not list(two.rglob("log.txt"))
    program, *arguments = shlex.split(commands[0])
    assert program == "torchrun"
    torchrun = [sys.executable, "-m", "torch.distributed.run", *arguments]
    done = subprocess.run(torchrun, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    rankings = [Ranking.read(RunFolder(out).ranking) for out in (one, two)]
    for name, scores in rankings[0].scores.items():
        np.testing.assert_allclose(rankings[1].scores[name], scores, rtol=1e-7, atol=1e-9)
    done_all = sat(*run)
    assert done_all.returncode == 0, done_all.stderr
    assert "2 devices work on each network together" in done_all.stdout + done_all.stderr
    for arm in (one / "arms").iterdir():
        same(arm, two / "arms" / arm.name)
        results = json.loads((two / "arms" / arm.name / "results.json").read_text())
        assert results["devices"] == [2]


@pytest.mark.torch  # the frameworks differ in nothing here, and it starts many processes
def test_whatever_ends_the_processes_the_same_command_goes_on(study: Path, tmp_path: Path) -> None:
    """With as many devices, or others. No process is left behind, and the reason is the first one."""
    settings = [*TIGHT, "--set", "subset.size=0.0", "--set", "training.epochs=40"]
    settings += ["--set", "evaluation.selection_epochs=[40]", "--set", "evaluation.examples=6"]
    out = tmp_path / "out"
    arm = out / "arms" / "arm"

    def broken_off(devices: int, end: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "sat_evaluation.cli", "run", str(study), "--out", str(out), *settings]
        command += ["--save-every", "0", "--devices", str(devices)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            wait_for(out, "arms/*/checkpoint-last.safetensors", process)
            if end == "SIGTERM":
                process.terminate()
            else:
                for name, numbers in ranks(out).items():
                    for number in numbers if name in end else ():
                        os.kill(number, signal.SIGKILL)
            errors = process.communicate(timeout=200)[1]
        until = time.monotonic() + 60
        while ranks(out) and time.monotonic() < until:
            time.sleep(0.05)
        assert ranks(out) == {}
        assert (arm / "checkpoint-last.safetensors").exists()
        return process.returncode, errors

    status, _ = broken_off(1, "SIGTERM")
    assert status == EXIT_CONTINUE
    # of two that are killed together, the launcher may have seen either first
    for end, who in (("1", "rank 1 of 2 was "), ("01", "rank [01] of 2 was "), ("launcher", "")):
        status, errors = broken_off(2, end)
        assert status == 2
        assert re.search(f"arm: {who}ended by SIGKILL", errors), errors
        # the reason stays for `sat status`, and no table of torchelastic's hides it
        assert re.match(f"{who}ended by SIGKILL", RunFolder(out).unit("arm").failure())
    status, errors = broken_off(2, "SIGTERM")
    assert status == EXIT_CONTINUE, errors
    assert "the same command goes on" in errors
    assert sat("run", study, "--out", out, *settings).returncode == 0
    whole = tmp_path / "whole"  # without a break
    assert sat("run", study, "--out", whole, *settings).returncode == 0
    same(whole / "arms" / "arm", arm)
    results = json.loads((arm / "results.json").read_text())
    assert results["devices"] == [1, 2, 1]
    assert any("1, then 2, then 1 devices" in line for line in results["warnings"])


@pytest.mark.torch  # the launcher is the same for both
def test_a_rank_that_fails_is_named_with_its_reason(study: Path, tmp_path: Path) -> None:
    """The others end because it has, and say so only in the log."""
    (tmp_path / "mine.py").write_text(
        "import os\n"
        "def network(classes, image_shape):\n"
        "    if os.environ.get('RANK') == '1': raise ValueError('no such layer')\n"
        "    from sat_core.backend import get_backend\n"
        "    return get_backend().build('small-cnn', classes=classes, image_shape=image_shape).native\n"
    )
    done = sat(
        *("run", study, "--out", tmp_path / "out", "--devices", 2, "--set", "subset.size=1.0"),
        *("--set", "model.name=mine:network"),
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "arm: rank 1 of 2: model.name: mine:network(classes, image_shape) raised ValueError: no such layer" in (
        done.stderr
    )


def test_what_cannot_be_shared_is_refused_before_anything_is_written(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, says in (
        (("--devices", 3), "training.batch_size: expected a multiple of the 3 devices, got 16"),
        (("--devices", 2, "--set", "training.compile=true"), "training.compile: expected false"),
        (("--nodes", 2), "--nodes: this machine is one"),
        (("--jobs-per-device", 2, "--executor", "slurm"), "--jobs-per-device: for --executor local only"),
        (("--print-command", "--executor", "slurm"), "--print-command: Slurm starts arms"),
    ):
        refused(capsys, ["run", study, "--out", tmp_path / "out", "--set", "subset.size=1.0", *more], says)
        assert not (tmp_path / "out").exists()
