"""Arms over both nodes of a real Slurm: the same result as on one device, and stops and ends of single ranks."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cluster import Cluster, command
from safetensors.numpy import load_file
from slurm_runs import LONG, Run, gone_on, jobs_of, on_slurm, progress, starts, status, worker_of, write

from sat_core.run_folder import RunFolder

pytestmark = pytest.mark.slurm

BOTH = ("--nodes", "2", "--devices", "1")


def test_two_arms_over_two_nodes_are_those_of_one_device(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    """A ranking and an array of two jobs, which run side by side on the same nodes."""
    grid = "[grid]\nsubset.size = [0.5]\ntraining.seed = [0, 1]\n"
    study, out, here = write(tmp_path / "study.toml", data, grid, epochs=2), tmp_path / "out", tmp_path / "here"
    exact = ("--set", "training.precision=float64")
    process = on_slurm(study, out, *BOTH, *exact)
    there = cluster.wait(lambda: command("squeue", "--noheader", "--states=R", "--format", "%D %N"), "a job to run")
    assert there.split() == ["2", "one,two"]
    assert Run(study, here, *exact).ended()[0] == 0
    code, printed = process.ended()
    assert code == 0, printed
    assert starts(out).total() == 2
    for arm in RunFolder(out).arms:
        alone = RunFolder(here).unit(arm.name)
        assert arm.results().devices == (2,)
        assert alone.results().devices == (1,)
        assert arm.split_file.read_bytes() == alone.split_file.read_bytes()
        weights, expected = load_file(arm.best_checkpoint), load_file(alone.best_checkpoint)
        assert weights.keys() == expected.keys()
        for name, values in weights.items():
            np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-9, err_msg=name)


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

    killed = progress(out)
    assert on_slurm(study, out, *options).ended()[0] == 0
    cluster.wait(lambda: progress(out) not in ({}, killed), "the arm to train again")
    subprocess.run(["scancel", *cluster.jobs()], check=True)
    cluster.wait(lambda: not cluster.jobs(), "the job to end")
    assert starts(out) == Counter({unit: 4})
    assert status(out)[unit].split()[0] == "stopped"
