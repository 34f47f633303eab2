"""Starts a script on several processes, as torchrun does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def torchrun(script: Path, *arguments: str, processes: int = 2) -> str:
    """Run a script on so many processes of this machine, each with one thread; returns what they print, errors too.

    Their modules are found where this process finds its own.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    engine = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*engine, str(script), *arguments]
    run = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stdout
    return run.stdout
