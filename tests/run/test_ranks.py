"""Processes that run a unit together: which GPUs they get, how they are started and stopped, and why they ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from folders import program, put

from sat_core.backend import get_backend
from sat_core.errors import EXIT_CONTINUE, SpecError
from sat_core.run_folder import RunFolder
from sat_evaluation.run.cards import take_card
from sat_evaluation.run.executors.base import Unit
from sat_evaluation.run.executors.local import Local
from sat_evaluation.run.executors.processes import EXIT_FULL, EXIT_PEER, record_end, start_worker, torchrun
from sat_evaluation.run.launch import End, _end, launch_ranks
from sat_evaluation.run.ranks import SLURM_RANK, is_rank, refuse_rank

KILLED = -signal.SIGKILL
RANK = "import os, sys, time; from sat_evaluation.run.ranks import explain_end; rank = int(os.environ['RANK']); "
"""The beginning of a program of a rank."""


def test_ranks_share_the_gpus_that_are_visible(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,8")
    pairs = [{"CUDA_VISIBLE_DEVICES": pair} for pair in ("4,5", "6,7")]
    assert Local(devices=2).slots("cuda", 1) == pairs
    assert Local(devices=2, jobs=3).slots("cuda", 1) == [*pairs, pairs[0]]
    assert Local(devices=5).slots("cuda", 1) == [{"CUDA_VISIBLE_DEVICES": "4,5,6,7,8"}]
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert Local(devices=2).slots("cpu", 3) == [{}, {}]
    assert Local(devices=20).slots("cpu", 1) == [{}]
    for rank, card in ((0, "4"), (2, "6")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
        take_card()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == card
    with pytest.raises(SpecError, match=r"^--devices: expected at most 1, the number of GPUs .*, got 3$"):
        take_card()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    program(commands / "nvidia-smi", "exit 9")  # nobody knows: the framework will say
    take_card()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"


def test_a_process_is_a_rank_only_if_ranks_were_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters set WORLD_SIZE in containers, in which a study has to run as anywhere."""
    for name in ("TORCHELASTIC_RUN_ID", SLURM_RANK):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not is_rank()
    refuse_rank()
    for name in ("TORCHELASTIC_RUN_ID", SLURM_RANK):
        with monkeypatch.context() as started:
            started.setenv(name, "1")
            assert is_rank()
            with pytest.raises(
                SpecError, match=r"^torchrun: expected a command that shares its work, .*\nstart it without"
            ):
                refuse_rank()
            started.setenv("WORLD_SIZE", "1")
            assert not is_rank()


def test_arms_that_share_a_gpu_get_a_part_of_its_memory(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = "case $* in *GPU-b*) echo 9900, 10000;; *GPU-a*) echo 10000, 10000;; *) echo GPU-a; echo GPU-b;; esac"
    program(commands / "nvidia-smi", answers)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    a, b = ({"CUDA_VISIBLE_DEVICES": name, "SAT_GPU_MEMORY": str(3000 * 2**20)} for name in ("GPU-a", "GPU-b"))
    assert Local(jobs_per_device=3).slots("cuda", 1) == [a, b] * 3
    assert Local(jobs_per_device=3, jobs=3).slots("cuda", 1) == [a, b, a]
    program(commands / "nvidia-smi", answers.replace("9900", "8000"))
    with pytest.raises(SpecError, match=r"^--jobs-per-device: expected 8.8 GiB free on GPU GPU-b, got 7.8 of 9.8\n"):
        Local(jobs_per_device=2).check_device("cuda")
    program(commands / "nvidia-smi", "exit 9")
    with pytest.raises(SpecError, match=r"^--jobs-per-device: expected nvidia-smi to tell the memory of GPU 1, and"):
        Local(jobs_per_device=2).check_device("cuda:1")


@pytest.mark.backend
def test_a_limit_of_memory_is_none_on_a_cpu() -> None:
    get_backend().limit_memory(1)


@pytest.mark.parametrize(
    ("options", "device", "says"),
    [
        ({"devices": 0}, "cpu", "--devices: expected an integer >= 1, got 0"),
        ({"nodes": 0}, "cpu", "--nodes: expected an integer >= 1, got 0"),
        ({"nodes": 2}, "cpu", "--nodes: this machine is one; take --executor slurm, or --print-command for torchrun"),
        ({"devices": 3}, "cuda", "--devices: expected at most 2, the number of GPUs"),
        ({"devices": 2}, "cuda:1", "--device: expected cpu or cuda with several devices, got cuda:1"),
        ({"jobs_per_device": 0}, "cuda", "--jobs-per-device: expected an integer >= 1, got 0"),
        ({"jobs_per_device": 2}, "cpu", "--jobs-per-device: expected --device cuda"),
        ({"jobs_per_device": 2, "devices": 2}, "cuda", "--jobs-per-device: expected 1 for arms that have 2 devices"),
    ],
)
def test_devices_that_are_not_there_are_refused(
    options: dict[str, int], device: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(SpecError) as refused:
        Local(**options).check_device(device)
    assert str(refused.value).startswith(says)


@pytest.mark.parametrize(
    ("failures", "end"),
    [
        ([(1, EXIT_PEER, "gone"), (0, 2, "no data")], End(2, "no data")),
        ([(1, 1, "boom"), (0, 1, "connection closed")], End(1, "rank 1 of 2: boom")),
        ([(0, EXIT_PEER, "gone"), (1, KILLED, "")], End(1, "rank 1 of 2 was ended by SIGKILL, as the system does it")),
        ([(0, -signal.SIGSEGV, ""), (1, EXIT_PEER, "gone")], End(1, "rank 0 of 2 was ended by SIGSEGV")),
        ([(0, 3, "")], End(1, "rank 0 of 2: ended with status 3")),
        ([(0, EXIT_PEER, "rank 0 of 2: another rank has ended")], End(1, "rank 0 of 2: another rank has ended")),
        ([(0, EXIT_PEER, "gone"), (1, -signal.SIGTERM, "")], End(EXIT_CONTINUE)),
        ([(0, EXIT_CONTINUE, "")], End(EXIT_CONTINUE)),
        ([(0, EXIT_FULL, ""), (1, EXIT_PEER, "gone")], End(EXIT_FULL)),
    ],
)
def test_the_reason_is_that_of_the_rank_that_failed_first(failures: list[tuple[int, int, str]], end: End) -> None:
    ended = _end(failures, 2)
    assert ended.status == end.status
    assert ended.reason.startswith(end.reason)
    assert bool(ended.reason) == bool(end.reason)


@pytest.mark.torch  # whose launcher starts the ranks of every backend
def test_ranks_end_as_one(capfd: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ), [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert launch_ranks(["-c", RANK + "print('rank', rank, 'of', os.environ['WORLD_SIZE'])"], 2) == End(0)
    assert sorted(capfd.readouterr().out.splitlines()) == ["rank 0 of 2", "rank 1 of 2"]
    # rank 0 fails because rank 1 has, and says it before rank 1 has ended
    echo = "explain_end('closed' if rank == 0 else 'boom', echo=rank == 0); time.sleep(0.3 * rank); sys.exit(1)"
    assert launch_ranks(["-c", RANK + echo], 2) == End(1, "rank 1 of 2: boom")
    kill = "os.kill(os.getpid(), 9) if rank else time.sleep(60)"
    assert launch_ranks(["-c", RANK + kill], 2).reason.startswith("rank 1 of 2 was ended by SIGKILL")
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    assert before == (dict(os.environ), [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)])


@pytest.mark.torch  # whose launcher starts the ranks of every backend
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_stop_reaches_every_rank_which_saves(number: signal.Signals, tmp_path: Path) -> None:
    """As long as it takes, and also one that has no handler yet."""
    saves = (
        "import signal; from pathlib import Path; from sat_evaluation.run.parent import end_with_parent; stop = []; "
        "signal.signal(15, lambda *_: stop.append(1)); end_with_parent(); "
        f"folder = Path({str(tmp_path)!r}); Path(folder, f'begun{{rank}}').touch(); "
        "exec('while not stop: time.sleep(0.01)'); time.sleep(1); Path(folder, f'saved{rank}').touch(); "
        "sys.exit(0 if rank else 75)"
    )

    def stop() -> None:
        while len(list(tmp_path.glob("begun*"))) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    thread.start()
    assert launch_ranks(["-c", RANK + saves], 2) == End(EXIT_CONTINUE)
    thread.join()
    assert len(list(tmp_path.glob("saved*"))) == 2


def test_the_log_ends_with_the_reason_and_one_device_needs_no_launcher(out: Path, workers: Path) -> None:
    put(workers / "size-0.0", "echo noise >&2; echo rank 1 of 2: no data >&2; exit 2")
    program(workers / "start", f'echo "$*" > {out}/started\n' + (workers / "start").read_text())
    folder = RunFolder(out)
    for devices, module in ((1, "-m sat_evaluation.run.worker"), (2, "-m sat_evaluation.run.launch 2")):
        process = start_worker(folder, Unit("size-0.0", 1), ("20",), {}, devices)
        status = process.wait()
        assert (out / "started").read_text() == f"-P {module} {out} size-0.0 20\n"
        assert record_end(folder.unit("size-0.0"), status) == "rank 1 of 2: no data"


def test_the_command_for_several_machines_can_be_pasted(tmp_path: Path) -> None:
    assert torchrun(Local(devices=8, nodes=2, save_every=20), RunFolder(tmp_path / "a run"), "size-0.5") == (
        "torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 --rdzv-id size-0.5 "
        f"-m sat_evaluation.run.worker '{tmp_path}/a run' size-0.5 20"
    )
    assert " --nnodes 1 --nproc-per-node 4 --standalone -m " in torchrun(Local(devices=4), RunFolder(tmp_path), "arm")


@pytest.mark.backend
def test_one_device_loads_no_launcher(out: Path) -> None:
    """Nor does an executor or a worker import PyTorch before it needs it."""
    code = "import sys, sat_evaluation.run.worker, sat_evaluation.run.executors.local; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
