"""Worker processes that decode images: started from any program, killed, crashed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sat_core.data import DataSet
from sat_core.errors import DataError
from sat_datasets import workers

pytestmark = pytest.mark.data


PROGRAM = """
import numpy as np
from sat_core.datasets import get_dataset
images = get_dataset('folder:{photographs}?size=16').train.images
print(sum(len(batch) for batch in images.stream((np.arange(i, i + 4), None) for i in range(0, 40, 4))))
"""
"""Without a ``__main__`` guard: worker processes that run it once more would start workers of their own."""


def program(arguments: list[str], folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SAT_WORKERS": "2"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, cwd=folder, timeout=120, capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize("form", ["script", "-c", "stdin"])
def test_a_plain_program_decodes_in_worker_processes(form: str, photographs: Path, tmp_path: Path) -> None:
    text = PROGRAM.format(photographs=photographs)
    (tmp_path / "program.py").write_text(text)
    arguments = {"script": ["program.py"], "-c": ["-c", text], "stdin": ["-"]}[form]
    done = program(arguments, tmp_path, input=text)
    assert (done.stdout, done.stderr, done.returncode) == ("40\n", "", 0)


def test_workers_import_no_module_of_the_users(photographs: Path, tmp_path: Path) -> None:
    """Modules beside a script shadow Python's in the script itself, not in its workers."""
    for name in ("statistics", "queue", "json", "torch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was run')")
    later = "import sys, json, queue, statistics\nsys.path.insert(0, '')\n"
    done = program(["-P", "-c", later + PROGRAM.format(photographs=photographs)], tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("40\n", "", 0)


def test_a_program_ends_whatever_it_left_unread(photographs: Path, tmp_path: Path) -> None:
    """A program does not wait at its end for workers whose results nobody reads."""
    text = (
        "import numpy as np\n"
        "from sat_core.datasets import get_dataset\n"
        f"images = get_dataset('folder:{photographs}?size=16').train.images\n"
        "kept = images.stream((np.arange(i, i + 2), None) for i in range(38))\n"
        "print(next(kept).shape)\n"
    )
    done = program(["-W", "error", "-c", text], tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("(2, 16, 16, 3)\n", "", 0)


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One worker process, started within the test and ended with it."""
    workers.close()
    monkeypatch.setenv("SAT_WORKERS", "1")
    yield
    workers.close()


def with_program(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Make worker processes run `text` first."""
    content = Path(workers.__file__).with_name("decoder.py").read_text()
    (folder / "decoder.py").write_text(content.replace("from __future__ import annotations\n", text))
    monkeypatch.setattr(workers, "__file__", str(folder / "workers.py"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import os; os._exit(3)", "could not be started (exit status 3"),
        ("import missing_module", "could not be started (exit status 1"),
        ("import os; os.kill(os.getpid(), 11)", "could not be started (SIGSEGV"),
    ],
)
def test_a_decoder_that_does_not_start_is_told_of(
    text: str, says: str, data: DataSet, one_worker: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_program(monkeypatch, tmp_path, text)
    with pytest.raises(DataError) as error:
        list(data.train.images.stream([(np.arange(4), None)]))
    assert says in str(error.value)
    assert "SAT_WORKERS=0 decodes in this process" in str(error.value)


def test_without_an_interpreter_the_cure_is_named(
    data: DataSet, one_worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(DataError, match=r"could not be started(.|\n)*SAT_WORKERS=0"):
        list(data.train.images.stream([(np.arange(4), None)]))


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("os.kill(os.getpid(), 9)", "was killed (SIGKILL), most likely for want of memory\nset SAT_WORKERS to fewer"),
        ("os.kill(os.getpid(), 11)", "crashed (SIGSEGV"),
        ("os._exit(7)", "crashed (exit status 7"),
        ("os.close(1), os.closerange(3, 99), time.sleep(60)", "crashed (exit status"),
    ],
)
def test_a_decoder_that_ends_is_told_of(
    end: str, says: str, data: DataSet, one_worker: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    hook = f"import os, time, PIL.Image\nPIL.Image.open = lambda *_, **__: ({end})\n"
    with_program(monkeypatch, tmp_path, hook)
    with pytest.raises(DataError) as error:
        list(data.train.images.stream((np.arange(4), None) for _ in range(20)))
    assert says in str(error.value)


def decoders() -> list[int]:
    """The worker processes of this one."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"decoder.py" in (folder / "cmdline").read_bytes():
                pids.append(int(folder.name))
    return pids


def test_workers_are_kept_whatever_signal_reaches_them_and_replaced(data: DataSet, one_worker: None) -> None:
    def decode() -> int:
        assert len(list(data.train.images.stream((np.arange(4), None) for _ in range(9)))) == 9
        (worker,) = decoders()
        return worker

    first = decode()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # a stop is for the process that trains
        os.kill(first, number)
    assert decode() == first
    os.kill(first, signal.SIGKILL)
    os.waitid(
        os.P_PID, first, os.WEXITED | os.WNOWAIT
    )  # until the pool, which asks the same way, can see that it ended
    assert decode() != first
    workers.close()
    assert decoders() == []
