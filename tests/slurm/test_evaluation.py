"""An evaluation that is a job over both nodes of a real Slurm: stopped and gone on, with the files of one device."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cluster import Cluster
from slurm_runs import Command, Run, write

from sat_evaluation.run.progress import Progress, read

pytestmark = pytest.mark.slurm

JOB = ("--executor", "slurm", "--nodes", "2", "--time", "10")


def attack(out: Path) -> Progress | None:
    """How far the job is whose results go there."""
    return next(filter(None, map(read, out.glob("slurm/evaluation-*/progress.json"))), None)


def test_an_evaluation_over_two_nodes_is_that_of_one_device(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    """It reaches its time limit and goes on; a second command waits for the same job; another one has no data."""
    study, run = write(tmp_path / "study.toml", data, "[grid]\nsubset.size = [0.0]\n", epochs=1), tmp_path / "run"
    assert Run(study, run).ended()[0] == 0
    (best,) = run.glob("arms/*/checkpoint-best.safetensors")
    # at so small an ε nearly all images stay, and Square makes all its queries
    options = ("--eps", "0.01", "--attacks", "apgd-ce,square", "--examples", "10", "--batch-size", "5")
    evaluate, out = ["evaluate", str(best), "--data", f"npz:{data}", *options], tmp_path / "there"

    job = [*evaluate, "--out", str(out), *JOB]
    code, printed = Command([*job, "--detach"], tmp_path / "detached.txt").ended()
    assert code == 0, printed
    assert "1 job in the queue" in printed
    (number,) = cluster.jobs()
    cluster.wait(lambda: (now := attack(out)) and now.share > 0.1, "the job to be in Square")
    before = attack(out)
    assert before is not None
    subprocess.run(["scancel", "--signal=USR2", number], check=True)
    waiting, here = Command(job, tmp_path / "waiting.txt"), tmp_path / "here"
    alone = Command([*evaluate, "--out", str(here)], tmp_path / "alone.txt")
    after = cluster.wait(lambda: (now := attack(out)) and now.started > before.started and now, "the job to go on")
    assert after.first > 0  # with what it had saved
    assert list(cluster.jobs()) == [number]

    code, expected = alone.ended()
    assert code == 0, expected
    code, printed = waiting.ended()
    assert code == 0, printed
    table = expected[expected.rindex("AutoAttack ") :].replace(str(here), str(out))
    assert printed.endswith(table)
    assert len(list(here.iterdir())) == 3  # flags, accuracies, and the lock
    for path in here.glob("*.*"):
        assert (out / path.name).read_bytes() == path.read_bytes()

    wrong = ["evaluate", str(best), "--data", f"npz:{tmp_path}/none.npz", "--out", str(out), *JOB]
    code, printed = Command(wrong, tmp_path / "wrong.txt").ended()
    assert code == 2
    assert "sat: " + str(tmp_path / "none.npz") in printed
