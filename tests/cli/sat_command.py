"""The `sat` command as a user starts it, and what its tests compare."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from sat_evaluation.cli import main

STUDY = """
data.name = "npz:{data}"
model.name = "small-cnn"
[attack]
eps = 0.5
[training]
epochs = 4
batch_size = 16
lr = 0.02
[evaluation]
selection_share = 0.3
selection_attacks = ["apgd-ce"]
attacks = ["apgd-ce"]
examples = 20
[grid]
subset.size = [0.0, 0.5, 1.0]
"""


def sat(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, which each command is at least once: it imports its framework anew."""
    command = [sys.executable, "-m", "sat_evaluation.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, **options)


def here(*arguments: Any) -> subprocess.CompletedProcess[str]:
    """The command in this process, which has imported the framework already."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as errors:
        status = main([str(argument) for argument in arguments])
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), errors.getvalue())


def refused(capsys: pytest.CaptureFixture[str], arguments: list[Any], says: str) -> None:
    """Check that the command, in this process, refuses with that text, in at most three lines."""
    assert main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr().err
    assert says in printed
    assert len(printed.strip().splitlines()) <= 3


HEAD = ("--set", "epochs=3", "--set", "batch_size=32")


def start(study: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sat_evaluation.cli", "run", str(study), "--out", str(out), "--save-every", "0"]
    return subprocess.Popen(
        [*command, "--track", "tensorboard"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(out: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Wait until the running study has written a file that matches `pattern`."""
    began, until = time.time(), time.monotonic() + 200
    while process.poll() is None and time.monotonic() < until:
        if any(path.stat().st_mtime > began for path in out.glob(pattern)):
            break
        time.sleep(0.01)
    assert process.poll() is None, f"the study ended before {pattern} was there"


def workers(out: Path) -> list[str]:
    lines = (Path("/proc") / p / "cmdline" for p in os.listdir("/proc") if p.isdigit())
    commands = []
    for line in lines:
        try:
            text = line.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        # forked workers have the command line of the server that they are forked from
        if any(f"sat_evaluation.run.{name}" in text for name in ("worker", "fork_server")) and str(out) in text:
            commands.append(text)
    return commands


OWN = {
    "torch": """
import torch
def few(classes, image_shape): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes - 2))
def raises(classes, image_shape): raise RuntimeError("boom\\nand more\\nand more\\nand more")
def none(classes, image_shape): return None
def leaves(classes, image_shape): raise SystemExit(3)
class Late(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.calls = torch.nn.Linear(64, 5), 0
    def forward(self, x):
        self.calls += self.training
        if self.calls > 3: raise ValueError("late failure\\nin two lines")
        return self.fc(x.flatten(1))
def late(classes, image_shape): return Late()
""",
    "tensorflow": """
import keras, tensorflow as tf
def few(classes, image_shape):
    return keras.Sequential([keras.Input(image_shape), keras.layers.Flatten(), keras.layers.Dense(classes - 2)])
def raises(classes, image_shape): raise RuntimeError("boom\\nand more\\nand more\\nand more")
def none(classes, image_shape): return None
def leaves(classes, image_shape): raise SystemExit(3)
class Late(keras.Model):
    def __init__(self):
        super().__init__()
        self.flat, self.fc, self.calls = keras.layers.Flatten(), keras.layers.Dense(5), 0
    def call(self, x, training=False):
        x = tf.ensure_shape(tf.numpy_function(self.count, [x], x.dtype), x.shape) if training else x
        return self.fc(self.flat(x))
    def count(self, x):
        self.calls += 1
        if self.calls > 3: raise ValueError("late failure\\nin two lines")
        return x
def late(classes, image_shape): return Late()
""",
}
