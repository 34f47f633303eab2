"""AutoAttack on 2 and on 3 ranks, which are processes: the flags and the bytes of the file of a single process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from attacking_ranks import attack, failing

from sat_core.autoattack import ENGINES
from sat_core.files import read_npz
from sat_evaluation.run.ranks import SLURM_RANK

pytestmark = pytest.mark.torch


def start(size: int, folder: Path) -> list[int]:
    """Run `attacking_ranks.py` on so many ranks; returns their exit statuses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    common = {SLURM_RANK: 1, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    processes = []
    for rank in range(size):
        environment = {**os.environ, **{key: str(value) for key, value in {**common, "RANK": rank}.items()}}
        command = [sys.executable, str(Path(__file__).with_name("attacking_ranks.py")), str(folder)]
        with (folder / f"{rank}.txt").open("wb") as log:
            processes.append(subprocess.Popen(command, env=environment, stderr=log))
    return [process.wait(timeout=300) for process in processes]


def test_ranks_attack_as_one_process_and_it_goes_on_with_any_number(tmp_path: Path) -> None:
    whole = tmp_path / "1"
    for engine in ENGINES:
        attack(whole, engine, engine=engine)
    assert len(set(read_npz(whole / "package.npz")["broken_by"].tolist())) == 4
    failing(whole, "memory", torch.OutOfMemoryError("no room\nat all"))
    assert read_npz(whole / "memory.npz")["batch_size"].tolist() == [3, 2]
    for size in (2, 3):
        folder = tmp_path / str(size)
        folder.mkdir()
        if size == 3:
            for name in ("stop", "killed"):
                shutil.copy(tmp_path / "2" / f"{name}.npz", folder)
        statuses = start(size, folder)
        for rank in range(size):
            told = json.loads((folder / f"{rank}.json").read_text())
            kind = "EndedByOther" if rank else "EvaluationError"
            assert told == {"alike": True, "error": f"{kind}: not finite", "stop": "Interrupted: stopped"}
        # nobody waits for a rank that was killed
        assert statuses[-1] == -signal.SIGKILL
        assert 0 not in statuses
        for name in (*ENGINES, "memory"):
            assert (folder / f"{name}.npz").read_bytes() == (whole / f"{name}.npz").read_bytes(), name
        assert read_npz(folder / "error.npz")["next"].tolist() == [0, 3]
    positions = [tuple(read_npz(tmp_path / size / "stop.npz")["next"]) for size in ("2", "3")]
    assert (0, 0) < positions[0] < positions[1] < (2, 0)
    for name in ("error", "stop", "killed"):
        path = tmp_path / "3" / f"{name}.npz"
        assert path.read_bytes() != (whole / "package.npz").read_bytes()
        attack(path.parent, name)
        assert path.read_bytes() == (whole / "package.npz").read_bytes(), name
