"""A task of a Slurm job that runs a rank of a unit: what it tells its worker, and how it ends. Workers are scripts."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from folders import ARMS, program, put

from sat_core.errors import EXIT_CONTINUE, RunDirectoryError
from sat_core.run_folder import RunFolder
from sat_evaluation.run.executors import nodes
from sat_evaluation.run.executors.base import Unit
from sat_evaluation.run.executors.nodes import port
from sat_evaluation.run.executors.processes import EXIT_PEER, WORKER_STOPS
from sat_evaluation.run.executors.task import Task

pytestmark = pytest.mark.torch  # where submitit is installed

ARM = ARMS[0]
TASK = {
    "SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2",
    "SLURM_JOB_NODELIST": "no-[3-4].invalid", "SLURM_NNODES": "2", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "4",
    "SLURM_NODEID": "1", "SLURM_LOCALID": "1", "SLURM_PROCID": "3", "SLURMD_NODENAME": "no-4",
    "SLURM_LAUNCH_NODE_IPADDR": "10.1.2.3", "SLURM_RESTART_COUNT": "2",
}  # fmt: skip
RANK = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """That of the second task of the second node; signals are handled as before afterwards."""
    handlers = {number: signal.getsignal(number) for number in WORKER_STOPS}
    for name in (*RANK, "CUDA_VISIBLE_DEVICES", "TORCH_CPP_LOG_LEVEL"):
        monkeypatch.setenv(name, "left over")  # of the shell that has submitted the job; is restored
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def call(out: Path) -> int:
    """Call the task; returns its exit status."""
    try:
        Task(RunFolder(out), Unit(ARM, 1), ("0",))()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def variables(out: Path, workers: Path) -> list[str]:
    """The variables of a rank that its worker finds."""
    put(workers / ARM, f"echo {' '.join(f'${name}' for name in RANK)} > {out}/variables")
    assert call(out) == 0
    return (out / "variables").read_text().split()


def test_a_worker_knows_its_rank_and_meets_the_others_anew_at_each_start(
    out: Path, workers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the names of nodes are not those of hosts here: srun's own address stands in
    assert variables(out, workers) == ["3", "4", "1", "2", "10.1.2.3", str(port(9, 2))]
    monkeypatch.setenv("SLURM_JOB_NODELIST", "localhost,no-4")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    assert variables(out, workers)[4:] == ["localhost", str(port(9, 3))]
    assert len({port(job, start) for job in range(100, 110) for start in range(10)}) == 100


@pytest.mark.parametrize(
    ("seen", "there", "expected"),
    [
        ("0,1", "2", ["1", "2"]),  # all of the node: the worker takes the second
        ("1", "2", ["0", "1"]),  # Slurm has bound the task to its own
        ("0", "1", ["1", "2"]),  # the node has too few, and the worker says so
    ],
)
def test_a_worker_finds_its_card_where_slurm_shows_all_and_where_it_shows_one(
    seen: str, there: str, expected: list[str], out: Path, workers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", there)
    assert variables(out, workers)[2:4] == expected


def test_the_rank_that_fails_first_says_why(out: Path, workers: Path) -> None:
    unit = RunFolder(out).unit(ARM)
    unit.path.mkdir(parents=True)
    put(workers / ARM, f"echo '{json.dumps({'message': 'no data'})}' > $TORCHELASTIC_ERROR_FILE; exit 2")
    assert call(out) == 2
    assert unit.failure() == "rank 3 of 4 on no-4: no data"
    put(workers / ARM, "kill -KILL $$")
    assert call(out) > 0
    assert unit.failure() == "rank 3 of 4 on no-4: no data"  # the second to fail may have done so for it
    unit.forget_failure()
    assert call(out) > 0
    assert unit.failure().startswith("rank 3 of 4 on no-4 was ended by SIGKILL")
    assert not unit.log_file.exists()  # rank 0 alone writes to it


def test_a_rank_that_was_told_to_stop_ends_no_other(out: Path, workers: Path) -> None:
    RunFolder(out).unit(ARM).path.mkdir(parents=True)
    for status in (0, EXIT_CONTINUE):
        put(workers / ARM, f"exit {status}")
        assert call(out) == 0
    # before it has met the others: they would wait for it
    put(workers / ARM, "kill -TERM $$")
    assert call(out) > 0
    assert RunFolder(out).unit(ARM).failure() == ""


def test_the_first_rank_has_failed_if_another_has_and_is_requeued_only_if_none_has(
    out: Path, workers: Path, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_PROCID", "SLURM_NODEID", "SLURM_LOCALID"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(nodes, "_PATIENCE", 0.3)
    unit = RunFolder(out).unit(ARM)
    requeued: list[int] = []
    program(commands / "squeue", f"test $3 = 7_2 && cat {out}/state")
    put(out / "state", "RUNNING")

    def first() -> int:
        signal.signal(signal.SIGUSR2, lambda number, _: requeued.append(number))  # as submitit's
        return call(out)

    # as when srun ends all tasks because another rank has failed, which looks like a stop
    put(workers / ARM, f'echo \'{{"reason": "no data"}}\' > {unit.path}/failed.json; exit {EXIT_CONTINUE}')
    with pytest.raises(RunDirectoryError, match="no data"):
        first()
    put(workers / ARM, f"exit {EXIT_CONTINUE}")
    assert (first(), requeued) == (EXIT_CONTINUE, [signal.SIGUSR2])
    # another rank has gone without a word
    put(workers / ARM, f"echo rank 0 of 4: another rank has ended; exit {EXIT_PEER}")
    with pytest.raises(RunDirectoryError, match="another rank has ended"):
        first()
    assert unit.failure().endswith("another rank has ended")
    put(out / "state", "COMPLETING")  # with its node, or by scancel
    assert first() == EXIT_CONTINUE
    assert unit.failure() == ""
    assert len(requeued) == 1
