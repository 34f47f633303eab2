"""Arms over both nodes of a real Slurm: the same result as on one device, and stops and ends of single ranks."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from cluster import Cluster
from slurm_runs import LONG, gone_on, jobs_of, on_slurm, progress, starts, status, worker_of, write

pytestmark = pytest.mark.slurm

BOTH = ("--nodes", "2", "--devices", "1")


def test_an_arm_over_two_nodes_stops_and_fails_as_one(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    """It is pre-empted; only its second rank is told to stop; that rank is killed; the job is cancelled."""
    study, out = write(tmp_path / "study.toml", data, "[grid]\nsubset.size = [0.0]\n", LONG), tmp_path / "out"
    options = (*BOTH, "--detach", "--save-every", "1000")
    code, printed = on_slurm(study, out, *options).ended()
    assert code == 0, printed
    before = cluster.wait(lambda: progress(out), "the arm to train")
    (unit,), jobs = before, jobs_of(out, cluster)
    assert "on one,two" in status(out)[unit]
    urgent = ["sbatch", "--partition", "urgent", "--nodes", "2", "--exclusive", "--output", "/dev/null"]
    subprocess.run([*urgent, "--wrap", "sleep 1"], check=True)
    cluster.wait(lambda: gone_on(out, before), "the arm to go on where it was")

    before = progress(out)
    os.kill(worker_of(out, unit, rank=1), signal.SIGUSR2)
    cluster.wait(lambda: gone_on(out, before), "the arm to go on where it was")
    assert starts(out) == Counter({unit: 3})
    assert jobs_of(out, cluster) == jobs

    again = on_slurm(study, out, *BOTH)
    cluster.wait(lambda: "training" in again.printed(), "the command to find the job")
    os.kill(worker_of(out, unit, rank=1), signal.SIGKILL)
    code, printed = again.ended()
    assert code == 2, printed
    assert "rank 1 of 2 on two was ended by SIGKILL" in printed
    cluster.wait(lambda: not cluster.jobs(), "the job to end")
    assert status(out)[unit].startswith("failed     rank 1 of 2 on two was ended by SIGKILL")

    assert on_slurm(study, out, *options).ended()[0] == 0
    cluster.wait(lambda: gone_on(out, before), "the arm to go on where it was")
    subprocess.run(["scancel", *cluster.jobs()], check=True)
    cluster.wait(lambda: not cluster.jobs(), "the job to end")
    assert starts(out) == Counter({unit: 4})
    assert status(out)[unit].split()[0] == "stopped"
