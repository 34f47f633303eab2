"""The tasks of a job that runs one unit on several devices: each has one rank of it, and Slurm starts and ends them.

srun ends all tasks when one exits with an error (`SRUN`). So a task whose rank has failed first says why, and one whose
rank has stopped as it was told exits with 0, for rank 0 may still be saving.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sat_core.errors import printable
from sat_core.unit_folder import UnitFolder
from sat_evaluation.run.executors.processes import EXIT_FULL, NO_ROOM, ended_by
from sat_evaluation.run.ranks import SLURM_RANK

if TYPE_CHECKING:
    from submitit import JobEnvironment

SRUN = ("--kill-on-bad-exit=1", "--wait=0")
"""Arguments of srun, which a cluster may have other defaults for: see above, and rank 0 may go on after all others."""
REASON = "TORCHELASTIC_ERROR_FILE"
"""Environment variable with the file to which a rank writes why it ends, as it does under torchrun."""
_PATIENCE = 600.0
"""Seconds that a task whose rank has missed another waits for srun to end it. If a node is down, Slurm finds out after
some minutes (SlurmdTimeout, 300 s by default), and requeues the job."""
_AFTER_STOP = 5.0
"""The same if a stop was requested before, which may have been that end."""
# below the ports that Linux gives to connections
_FIRST_PORT, _PORTS = 20_000, 12_763
_STARTS = 16


def export_rank(job: JobEnvironment) -> None:
    """Set the variables by which the worker of this task knows its rank and finds the others; none for a single task.

    Args:
        job: Of this task.
    """
    if job.num_tasks == 1:
        return
    os.environ[SLURM_RANK] = "1"
    from submitit.helpers import TorchDistributedEnvironment

    # submitit's own port is the same at each start: after a requeue, ranks of the last start may still be there
    os.environ["MASTER_PORT"] = str(port(int(job.raw_job_id), int(os.environ.get("SLURM_RESTART_COUNT") or 0)))
    rendezvous = TorchDistributedEnvironment()
    if not _resolves(rendezvous.master_addr):  # Slurm's names for nodes need not be names of hosts
        # where srun was called, which is the first node
        rendezvous.master_addr = os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    # the worker itself takes one of the GPUs that it sees
    rendezvous.export(set_cuda_visible_devices=False, overwrite=True)
    # warnings of its sockets, as that a name has no IPv6 address, would hide the reason of a failure
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if _has_own_card(rendezvous.local_world_size):
        os.environ |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}


def port(job: int, start: int) -> int:
    """Return the port at which the ranks of a job meet: another one for each start, and for jobs with close numbers.

    >>> port(7, 0), port(7, 1), port(8, 0)
    (20112, 20113, 20128)
    """
    return _FIRST_PORT + (_STARTS * job + start) % _PORTS


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def _has_own_card(tasks: int) -> bool:
    """Return whether Slurm has bound this task to a GPU of its own, the only one that it sees.

    tasks: of this node.
    """
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    there = os.environ.get("SLURM_GPUS_ON_NODE", "")
    return len(seen) == 1 and there.isdecimal() and int(there) >= tasks


def rank_failure(job: JobEnvironment, status: int, reason: Path) -> str:
    """Return in a line why the rank of this task failed.

    Args:
        job: Of this task.
        status: Exit status of its worker.
        reason: File that `REASON` named to it.
    """
    name = f"rank {job.global_rank} of {job.num_tasks} on {os.environ.get('SLURMD_NODENAME', job.hostname)}"
    if status == EXIT_FULL:
        return f"{name}: {NO_ROOM}"
    if status < 0:
        return f"{name} was {ended_by(-status)}"
    try:
        return f"{name}: {printable(str(json.loads(reason.read_text())['message']))}"
    except (OSError, ValueError, LookupError, TypeError):
        return f"{name}: ended with status {status}"


def failure_of_others(unit: UnitFolder) -> str:
    """Return the reason that a task, perhaps of another node, has recorded; empty if there is none."""
    # a shared disk may remember for a while that a file is not there, until its folder is read
    os.listdir(unit.path)
    return unit.failure()


def wait_for_end(stops: Sequence[object]) -> None:
    """Wait until srun ends this task because another has failed: its reason is the one that counts.

    Args:
        stops: Signals that this task has received; it grows.
    """
    before, until = len(stops), time.monotonic() + (_AFTER_STOP if stops else _PATIENCE)
    while len(stops) == before and time.monotonic() < until:
        time.sleep(0.2)
