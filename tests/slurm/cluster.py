"""A real Slurm on this machine, for as long as a ``with`` lasts.

``PYTHONPATH=tests python tests/slurm/cluster.py`` opens a shell in it.

Controller, two nodes and munge are Debian's packages, installed if they are not there. Everything they write lies in a
temporary folder, they listen on free ports, and they are ended with the ``with``, whatever happens in it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from debian import found, install

PACKAGES = {"slurmctld": "slurmctld", "slurmd": "slurmd", "squeue": "slurm-client", "munged": "munge"}
NODES = ("one", "two")
CPUS = 2
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=10
MessageTimeout=30
MinJobAge=60
SlurmdParameters=config_overrides
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes={names} Default=YES MaxTime=60 State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes={names} MaxTime=60 State=UP PriorityTier=2
"""


class Cluster:
    """``with Cluster() as cluster``: until its end, Slurm's commands of this process reach it (SLURM_CONF)."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._before = os.environ.get("SLURM_CONF")
        # a test run that is told to end runs its last blocks, as with Ctrl-C, and this one's with them
        self._on_term = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if "slurmctld" in self._processes:
                self.clear()
        finally:
            for name in reversed(list(self._processes)):
                self.stop(name)
            signal.signal(signal.SIGTERM, self._on_term)
            os.environ.pop("SLURM_CONF", None)
            if self._before is not None:
                os.environ["SLURM_CONF"] = self._before
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        install(PACKAGES)
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        ports = free_ports(1 + len(NODES))
        host = socket.gethostname().split(".")[0]
        nodes = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} State=UNKNOWN"
            for name, port in zip(NODES, ports[1:], strict=True)
        ]
        settings = {"host": host, "controller": ports[0], "user": os.environ.get("USER") or "root"}
        names = ",".join(NODES)
        text = CONFIGURATION.format(folder=self.folder, nodes="\n".join(nodes), names=names, **settings)
        (self.folder / "slurm.conf").write_text(text)
        os.environ["SLURM_CONF"] = str(self.folder / "slurm.conf")
        self.start("munged", "--foreground", "--force", *munge_files(self.folder))
        self.wait((self.folder / "munge.socket").exists, "munged to listen")
        self.start_controller()
        for name in NODES:
            self.start("slurmd", "-D", "-N", name, label=name)
        self.wait(lambda: self.nodes() == dict.fromkeys(NODES, "idle"), "both nodes to be idle")

    def clear(self) -> None:
        """End every job, and make every node ready for the next."""
        for name in NODES:
            command("scontrol", "update", f"NodeName={name}", "State=RESUME")
        jobs = self.jobs()
        if jobs:
            command("scancel", "--full", *jobs)
        self.wait(lambda: not self.jobs(), "every job to end", strict=False)

    def start(self, program: str, *arguments: str, label: str = "") -> None:
        """Start a daemon in the foreground of a process group of its own."""
        with (self.folder / f"{label or program}.out").open("ab") as output:
            command = [found(program), *arguments]
            self._processes[label or program] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
            )

    def start_controller(self) -> None:
        """Start the controller; it goes on with the jobs of the one before."""
        self.start("slurmctld", "-D")
        self.wait(lambda: bool(self.nodes()), "the controller to answer")

    def stop(self, label: str) -> None:
        """Stop a daemon with SIGTERM, or kill it."""
        process = self._processes.pop(label)
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def nodes(self) -> dict[str, str]:
        """The state of each node; empty if the controller does not answer."""
        lines = command("sinfo", "--noheader", "--Node", "--format", "%N %t").splitlines()
        return {name: state.rstrip("*") for name, state in (line.split() for line in lines) if not state.endswith("*")}

    def jobs(self) -> dict[str, str]:
        """Map the ids of jobs that wait or run, with their number in the array, to states."""
        lines = command("squeue", "--noheader", "--array", "--format", "%i %T").splitlines()
        return dict(line.split() for line in lines)  # type: ignore[misc]

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 180, strict: bool = True) -> Any:
        """What `condition()` is once it is true; TimeoutError, with the daemons' logs, if it is not in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            result = condition()
            if result:
                return result
            time.sleep(0.2)
        if strict:
            logs = [f"{path.name}:\n{path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.log"))]
            raise TimeoutError("\n".join([f"waited {seconds} s for {what}", *logs]))


def command(*arguments: str) -> str:
    """What a command of Slurm's prints; nothing if it fails."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


def free_ports(count: int) -> list[int]:
    """Ports on which no one listens now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def munge_files(folder: Path) -> list[str]:
    """Arguments that keep all files of munged in `folder`."""
    names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    return [f"--{option}={folder}/munge.{name}" for option, name in names.items()]


if __name__ == "__main__":
    with Cluster() as cluster:
        sys.stdout.write(f"SLURM_CONF={cluster.folder}/slurm.conf; exit ends it\n")
        subprocess.run([os.environ.get("SHELL", "bash")], check=False)
