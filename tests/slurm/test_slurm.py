"""Studies on a real Slurm: jobs that are killed, requeued and left behind, and a controller that restarts."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from cluster import NODES, Cluster, command
from slurm_runs import LONG, TEN, Run, gone_on, jobs_of, on_slurm, progress, starts, status, training, worker_of, write
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import OUTCOME, same_bytes

pytestmark = pytest.mark.slurm


def test_ten_arms_survive_scancel_a_drained_node_and_a_restart(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    study, out = write(tmp_path / "study.toml", data, TEN, epochs=20), tmp_path / "out"
    first = on_slurm(study, out, "--track", "tensorboard")
    cluster.wait(lambda: len(cluster.jobs()) == 11, "the ranking and ten arms to be queued")
    cluster.wait(
        lambda: "Dependency" in command("squeue", "--noheader", "--format", "%r"), "arms to wait for the ranking"
    )
    second = on_slurm(study, out).ended()
    assert second[0] == 2
    assert "another process runs in it" in second[1]  # one command waits for them

    victim = cluster.wait(lambda: training(out), "an arm to train")
    command("scontrol", "update", f"NodeName={NODES[1]}", "State=DRAIN", "Reason=test")
    subprocess.run(["scancel", jobs_of(out, cluster)[victim]], check=True)
    assert cluster.nodes()[NODES[1]] in ("drng", "drain")
    cluster.stop("slurmctld")
    assert "unknown" in " ".join(status(out).values())
    cluster.wait(lambda: "does not answer" in first.printed(), "the command to miss the controller")
    cluster.start_controller()
    assert cluster.nodes()[NODES[1]] in ("drng", "drain")
    command("scontrol", "update", f"NodeName={NODES[1]}", "State=RESUME")

    code, printed = first.ended()
    assert code == 2, printed
    assert f"sat: {victim}: " in printed
    assert "left the queue" in printed
    assert status(out)[victim].startswith("failed")
    finished = {path: path.stat().st_mtime_ns for path in out.glob("arms/*/results.json")}
    assert len(finished) == 9

    code, printed = on_slurm(study, out, "--track", "tensorboard").ended()
    assert code == 0, printed
    assert len(list(out.glob("arms/*/results.json"))) == 10
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert starts(out) == Counter({path.parent.name: 1 for path in finished}) + Counter({victim: 2})
    assert {text.split()[0] for text in status(out).values()} == {"finished"}

    for arm in out.glob("arms/*"):
        losses = EventAccumulator(str(arm)).Reload().Scalars("loss")
        assert [event.step for event in losses] == list(range(1, 21))

    here = tmp_path / "here"
    code, printed = Run(study, here).ended()
    assert code == 0, printed
    same_bytes(here, out, OUTCOME)


def test_jobs_that_must_go_come_back_and_go_on(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    """All are pre-empted; then one gets the signal of its time limit and one is requeued. They save on signals only."""
    study = write(tmp_path / "study.toml", data, "[grid]\ntraining.seed = [0, 1, 2]\nsubset.size = [0.0]\n", LONG)
    out = tmp_path / "out"
    code, printed = on_slurm(study, out, "--detach", "--save-every", "1000").ended()
    assert code == 0, printed
    assert "3 jobs in the queue" in printed
    cluster.wait(lambda: len(progress(out)) == 3, "three arms to train")
    jobs, before = jobs_of(out, cluster), progress(out)
    urgent = ["sbatch", "--partition", "urgent", "--nodes", "2", "--exclusive", "--output", "/dev/null"]
    subprocess.run([*urgent, "--wrap", "sleep 1"], check=True)
    cluster.wait(lambda: gone_on(out, before), "all three to go on where they were")
    assert starts(out) == Counter(dict.fromkeys(jobs, 2))

    one, _, three = jobs
    before = {name: progress(out)[name] for name in (one, three)}
    subprocess.run(["scancel", "--signal=USR2", jobs[one]], check=True)
    subprocess.run(["scontrol", "requeue", jobs[three]], check=True)
    cluster.wait(lambda: gone_on(out, before), "both to go on where they were")
    assert starts(out).total() == 8
    assert jobs_of(out, cluster) == jobs

    again = on_slurm(study, out)  # attaches
    cluster.wait(lambda: "training" in again.printed(), "the command to find the jobs")
    assert jobs_of(out, cluster) == jobs
    again.process.send_signal(signal.SIGINT)
    code, printed = again.ended()
    assert code == 75
    assert "the jobs stay in the queue" in printed
    assert jobs_of(out, cluster) == jobs
    subprocess.run(["scancel", *jobs.values()], check=True)
    cluster.wait(lambda: not cluster.jobs(), "the jobs to end")
    assert {text.split()[0] for text in status(out).values()} == {"stopped"}


def test_a_time_limit_is_not_the_end(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    study = write(tmp_path / "study.toml", data, "", LONG)
    out, options = tmp_path / "out", ("--set", "subset.size=0", "--time", "2", "--save-every", "1000")
    code, printed = on_slurm(study, out, "--detach", *options).ended()
    assert code == 0, printed
    (job,) = cluster.wait(cluster.jobs, "the job to be queued")
    before = cluster.wait(lambda: progress(out), "the arm to train")
    cluster.wait(lambda: gone_on(out, before), "the job to reach its limit and go on", seconds=500)
    assert list(cluster.jobs()) == [job]


def test_failures_take_no_other_arm_down(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    """The ranking is killed, as when memory runs out; one arm diverges; a third depends on neither."""
    grid = "[grid]\ntraining.lr = [0.02, 1e38]\nsubset.size = [0.0, 0.5]\n"
    study, out = write(tmp_path / "study.toml", data, grid, epochs=4), tmp_path / "out"
    study.write_text(study.read_text().replace("lr = 0.02\n", "lr = 0.02\nweight_decay = 0\n", 1))
    process = on_slurm(study, out, "--set", f"ranking.epochs={LONG}")
    cluster.wait((out / "ranking/checkpoint-last.safetensors").exists, "the ranking to train")
    os.kill(worker_of(out, "ranking"), signal.SIGKILL)
    code, printed = process.ended()
    assert code == 2, printed
    assert "2 more" in printed
    assert not cluster.jobs()  # none waits for what will never be
    states = status(out)
    assert states.pop("lr-0.02_size-0.0").startswith("finished   robust")
    assert states.pop("ranking").startswith("failed     ended by SIGKILL")
    assert states.pop("lr-1e+38_size-0.0").startswith("failed     the loss became")
    assert set(states.values()) == {"failed     not run: the ranking failed"}


def test_a_request_that_slurm_refuses_is_one_line(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    study = write(tmp_path / "study.toml", data, "", epochs=1)
    code, printed = on_slurm(study, tmp_path / "out", "--partition", "none", "--set", "subset.size=0").ended()
    assert code == 2
    assert "sat: Slurm refused the jobs: sbatch: error: " in printed
    assert "invalid partition" in printed
    assert not cluster.jobs()
