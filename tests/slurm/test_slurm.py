"""Studies on a real Slurm: jobs that are killed, requeued and left behind, and a controller that restarts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cluster import NODES, Cluster, command
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import OUTCOME, digits, same_bytes

from sat_evaluation.run.progress import Progress, read

pytestmark = pytest.mark.slurm

STUDY = """
data.name = "npz:{data}"
model.name = "small-cnn"
[attack]
eps = 0.5
[training]
epochs = {epochs}
batch_size = 16
lr = 0.02
[ranking]
epochs = 2
[evaluation]
selection_epochs = [{epochs}]
selection_share = 0.3
selection_attacks = ["apgd-ce"]
attacks = ["apgd-ce"]
examples = 10
"""
TEN = """
[grid]
subset.size = [0.0, 0.5]
training.seed = [0, 1, 2, 3, 4]
"""
STARTED: list[Run] = []
"""Commands of this test."""
LONG = 40_000
"""Epochs that no test waits for: what is stopped in them is stopped in training."""


@pytest.fixture(scope="module")
def daemons() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(daemons: Cluster) -> Iterator[Cluster]:
    """The cluster; after each test, also a failed one, all jobs are ended and all nodes are ready."""
    yield daemons
    while STARTED:
        with STARTED.pop().process as process:
            process.kill()
    daemons.clear()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few real digits."""
    return digits(tmp_path_factory.mktemp("data") / "five.npz", test=40)


def write(path: Path, data: Path, grid: str, epochs: int) -> Path:
    path.write_text(STUDY.format(data=data, epochs=epochs) + grid)
    return path


class Run:
    """`sat run` in a process of its own."""

    def __init__(self, study: Path, out: Path, *arguments: str) -> None:
        call = [sys.executable, "-m", "sat_evaluation.cli", "run", str(study), "--out", str(out), "--save-every", "0"]
        self._log = out.with_name(f"{out.name}-{len(STARTED)}.txt")
        with self._log.open("w") as log:
            self.process = subprocess.Popen([*call, *arguments], stdout=log, stderr=log)
        STARTED.append(self)

    def printed(self) -> str:
        return self._log.read_text()

    def ended(self) -> tuple[int, str]:
        return self.process.wait(timeout=500), self.printed()


def on_slurm(study: Path, out: Path, *arguments: str) -> Run:
    return Run(study, out, "--executor", "slurm", "--time", "10", *arguments)


def status(out: Path) -> dict[str, str]:
    """What `sat status` says of each unit."""
    call = [sys.executable, "-m", "sat_evaluation.cli", "status", str(out), "--all"]
    lines = subprocess.run(call, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    return dict(re.split(r"  +", line, maxsplit=1) for line in lines[:-1] if not line.startswith(" "))  # type: ignore[misc]


def jobs_of(out: Path, cluster: Cluster) -> dict[str, str]:
    """Map the units in the queue to the numbers of their jobs."""
    names: dict[str, list[str]] = json.loads((out / "slurm" / "jobs.json").read_text())
    lines = command("squeue", "--noheader", "--array", "--format", "%j %i").splitlines()
    jobs = [(names[name], job) for name, job in map(str.split, lines) if name in names]
    return {units[int(job.partition("_")[2] or 0)]: job for units, job in jobs}


def training(out: Path) -> str:
    """An arm that is in the first half of its training; empty if there is none."""
    return next((name for name, each in progress(out).items() if each.share < 0.5), "")


def progress(out: Path) -> dict[str, Progress]:
    """How far the training of each arm is, of those that are in it."""
    trainings = {path.parent.name: read(path) for path in out.glob("arms/*/progress.json")}
    return {name: each for name, each in trainings.items() if each and each.stage == "training" and each.done > 0}


def gone_on(out: Path, before: dict[str, Progress]) -> bool:
    """Return whether each arm was started again and continued at or after `before`."""
    return all(name in progress(out) and progress(out)[name].first > each.done for name, each in before.items())


def starts(out: Path) -> Counter[str]:
    """How many processes each arm had."""
    logs = out.glob("arms/*/log.txt")
    return Counter({log.parent.name: log.read_text().count("# started ") for log in logs})


def test_ten_arms_survive_scancel_a_drained_node_and_a_restart(cluster: Cluster, data: Path, tmp_path: Path) -> None:
    study, out = write(tmp_path / "study.toml", data, TEN, epochs=20), tmp_path / "out"
    first = on_slurm(study, out, "--tensorboard")
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

    code, printed = on_slurm(study, out, "--tensorboard").ended()
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


def worker_of(out: Path, unit: str) -> int:
    """The number of the process that runs a unit."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "cmdline").read_bytes().split(b"\0")[3:6] == [
                b"sat_evaluation.run.worker",
                *map(os.fsencode, (out, unit)),
            ]:
                return int(folder.name)
    raise ProcessLookupError(unit)
