"""Workers that have imported everything before they get a unit: forked ones, and spare ones for GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from folders import ARMS, put
from toys import OUTCOME, digits, same_bytes

from sat_core import files
from sat_core.run_folder import RunFolder
from sat_core.study import Study
from sat_evaluation.run.executors import forked, local
from sat_evaluation.run.executors.base import Unit
from sat_evaluation.run.executors.forked import ForkServer, can_fork
from sat_evaluation.run.executors.local import Local
from sat_evaluation.run.executors.processes import STOPPED, Worker
from sat_evaluation.run.executors.spares import Spares
from sat_evaluation.run.studies import run_study

ARGUMENTS = ("20",)
PRELOAD = """
import os, sys
from sat_core.run_folder import RunFolder
from sat_evaluation.run import fork_server
fork_server.preload(RunFolder(sys.argv[1]))
print(len(os.listdir("/proc/self/task")), *sys.modules)
"""


def no_process(*_: Any) -> Worker:
    raise AssertionError("a process was started for a unit that could be forked")


def wait_until(true: Callable[[], Any]) -> Any:
    until = time.monotonic() + 100
    while not (value := true()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return value


def children(process: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except FileNotFoundError:
        return []


def test_forks_are_for_several_units_with_one_thread_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    units = [Unit(name, 1) for name in ARMS]
    assert can_fork(units, "cpu")
    assert not can_fork(units[:1], "cpu")
    assert not can_fork(units, "cuda")
    assert not can_fork([Unit("size-0.5", 2), *units], "cpu")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not can_fork(units, "cpu")


@pytest.mark.backend
def test_forked_workers_leave_the_same_bytes_as_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {
        "data": {"name": f"npz:{digits(tmp_path / 'five.npz', test=40)}"},
        "training": {"epochs": 1, "batch_size": 32},
        "evaluation": {
            "selection_attacks": ["apgd-ce"],
            "attacks": ["apgd-ce"],
            "examples": 5,
            "selection_epochs": [1],
        },
    }
    study = Study(settings=tables, grids={"subset.size": [0.0, 1.0]})
    monkeypatch.setattr(local, "can_fork", lambda *_: False)
    run_study(study, tmp_path / "new", executor=Local(jobs=1))
    monkeypatch.undo()
    monkeypatch.setattr(forked, "start_worker", no_process)
    run_study(study, tmp_path / "forked", executor=Local(jobs=1))
    same_bytes(tmp_path / "new", tmp_path / "forked", OUTCOME)
    for arm in study.arms:
        (line,) = (tmp_path / "forked" / "arms" / arm.name / "log.txt").read_text().splitlines()
        assert line.startswith("# started")


@pytest.mark.backend
def test_what_is_imported_ahead_starts_no_thread(out: Path) -> None:
    """Else nothing could be forked, and each unit would quietly get a process of its own."""
    backend = os.environ["SAT_BACKEND"]
    put(out / "spec.toml", (out / "spec.toml").read_text().replace('"torch"', f'"{backend}"'))
    environment = {**os.environ, **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}}
    done = subprocess.run(
        [sys.executable, "-c", PRELOAD, str(out)], capture_output=True, text=True, check=True, env=environment
    )
    threads, *modules = done.stdout.splitlines()[-1].split()
    assert threads == "1"
    assert {f"sat_{backend}", "sat_evaluation.attack.runner"} <= set(modules)
    assert ("torch._dynamo" in modules) == (backend == "torch")


@pytest.mark.torch
def test_each_worker_is_a_process_of_its_own(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(out)
    with ForkServer(folder, 1) as server:
        process = server._process.pid
        monkeypatch.setattr(forked, "start_worker", no_process)
        unknown = server.start(folder, Unit("nothing", 1), ARGUMENTS, {})
        assert wait_until(unknown.poll) == 1
        assert folder.unit("nothing").log_end(1) == ["KeyError: 'nothing'"]
        limited = server.start(folder, Unit("nothing", 1), ARGUMENTS, {"SAT_MAX_ARMS": "2"})
        assert wait_until(limited.poll) == 2
        assert "SAT_MAX_ARMS" in folder.unit("nothing").log_end(1)[0]
        with files.locked(out / "arms" / "size-0.0"), files.locked(out / "arms" / "size-1.0"):
            # both wait for their folders
            killed, stopped = (server.start(folder, Unit(name, 1), ARGUMENTS, {}) for name in ("size-0.0", "size-1.0"))
            first, second = wait_until(lambda: len(children(process)) == 2 and children(process))
            wait_until(lambda: (os.getpgid(first), os.getpgid(second)) == (first, second))
            os.kill(first, signal.SIGKILL)
            assert wait_until(killed.poll) == -signal.SIGKILL
            assert stopped.poll() is None
            stopped.terminate()
        assert wait_until(stopped.poll) in STOPPED
        # whatever ends the server, the unit goes on
        monkeypatch.undo()
        with files.locked(out / "arms" / "size-1.0"):
            other = server.start(folder, Unit("size-1.0", 1), ARGUMENTS, {})
            wait_until(lambda: children(process))
            server._process.kill()
            assert wait_until(lambda: server.lost or other.poll()) is True
            assert other.poll() is None
        assert folder.unit("size-1.0").log_file.read_text().count("# started") == 3
        other.terminate()
        assert wait_until(other.poll) in STOPPED
        # and further units get processes of their own
        late = server.start(folder, Unit("nothing", 1), ARGUMENTS, {})
        assert isinstance(late, subprocess.Popen)
        late.kill()
        late.wait()


@pytest.mark.torch
def test_the_end_of_the_server_is_that_of_its_workers(out: Path) -> None:
    folder = RunFolder(out)
    with ForkServer(folder, 1) as server, files.locked(out / "arms" / "size-0.0"):
        server.start(folder, Unit("size-0.0", 1), ARGUMENTS, {})
        (worker,) = wait_until(lambda: children(server._process.pid))
        wait_until(lambda: server.listen() or server._ready)
    assert server._process.returncode == 0
    wait_until(lambda: not Path(f"/proc/{worker}").exists())


@pytest.mark.torch
def test_a_spare_worker_runs_the_next_unit_on_the_same_gpu(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, unit = RunFolder(out), Unit("nothing", 1)
    with Spares(folder, 4) as spares:
        assert wait_until(spares.start(folder, unit, ARGUMENTS, {"SAT_MAX_ARMS": "3"}).poll) == 1
        with monkeypatch.context() as only_spares:
            only_spares.setattr("sat_evaluation.run.executors.spares.start_worker", no_process)
            assert wait_until(spares.start(folder, unit, ARGUMENTS, {"SAT_MAX_ARMS": "3"}).poll) == 1
            assert folder.unit("nothing").log_end(1) == ["KeyError: 'nothing'"]
            with pytest.raises(AssertionError, match="could be forked"):
                spares.start(folder, unit, ARGUMENTS, {"SAT_MAX_ARMS": "2"})
        (spare,) = spares._spares.values()
        spare.process.kill()
        spare.process.wait()
        assert wait_until(spares.start(folder, unit, ARGUMENTS, {"SAT_MAX_ARMS": "3"}).poll) == 1
        assert spares._spares == {}  # there is no unit left for one


def test_a_stop_does_not_wait_for_imports(out: Path) -> None:
    folder = RunFolder(out)
    with ForkServer(folder, 1) as server:
        units = [server.start(folder, Unit(name, 1), ARGUMENTS, {}) for name in ARMS]
        for unit in units:
            unit.terminate()
        assert [unit.poll() for unit in units] == [-signal.SIGTERM] * 3


def test_a_server_that_cannot_start_leaves_units_to_processes_of_their_own(out: Path, workers: Path) -> None:
    for name in ARMS:
        put(workers / name, f"echo $OMP_NUM_THREADS $SAT_WORKERS > {out}/{name}")
    outcome = Local(jobs=2).run(RunFolder(out), [Unit(name, 1) for name in ARMS], "cpu", lambda *_: None)
    assert sorted(outcome.done) == sorted(ARMS)
    assert all((out / name).read_text().split()[0] == "1" for name in ARMS)
