"""`sat evaluate --executor slurm`: submits the command as a job and waits, and what the command does in that job."""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import final

from sat_core import checkpoint, files
from sat_core.errors import Interrupted, RunDirectoryError, SatError, printable
from sat_core.process_group import ProcessGroup
from sat_core.run_folder import RunFolder
from sat_evaluation.cli.live_view import Terminal
from sat_evaluation.run.executors.base import Unit
from sat_evaluation.run.executors.evaluation_folder import EvaluationFolder, EvaluationUnit
from sat_evaluation.run.executors.sbatch import own_folder
from sat_evaluation.run.executors.slurm import Slurm
from sat_evaluation.run.finish import run_units
from sat_evaluation.run.parent import end_with_parent
from sat_evaluation.run.progress import ProgressFile
from sat_evaluation.run.view import Share, View

_WORDS = (
    *("level", "arms", "data", "attacks", "norm", "eps", "grid", "calibration", "corruptions", "examples"),
    *("batch_size", "engine", "model", "threads", "mean", "std", "output", "out", "backend", "device"),
)
"""Options of the command that are the evaluation's, not the job's."""


def submit(arguments: argparse.Namespace, study: RunFolder | None, executor: Slurm, device: str) -> int:
    """Submit the command as a job, unless it is in the queue, and print what the job has printed; returns 0.

    Args:
        arguments: Of the command.
        study: Whose arms are evaluated; None for a checkpoint.
        executor: Has the options of the job.
        device: What each of its tasks computes on.

    Raises:
        RunDirectoryError: The job failed, or the folder of the results is not ours alone.
        Interrupted: A stop was requested, which leaves the job in the queue; `Detached` without waiting for it.
    """
    executor.check_device(device)
    results = arguments.out or (study.path if study else _beside(arguments.checkpoint))
    folder = EvaluationFolder(results.resolve() / "slurm")
    threads = study.read_spec()[0].get("training", {}).get("threads", 1) if study else arguments.threads
    words = _words(arguments)
    # the same evaluation is the same job, on however many devices
    name = f"evaluation-{hashlib.sha256(repr(words).encode()).hexdigest()[:8]}"
    job = folder.unit(name)
    if not job.is_finished:
        own_folder(results)
        executor.check(folder)
        unit = Unit(name, threads, command=("sat_evaluation.cli", *words, f"--job={job}"))
        outcome = run_units(folder, [unit], executor, device, Terminal())
        if outcome.failed:
            reason = outcome.failed[name].removeprefix("sat: ")
            raise RunDirectoryError(f"{reason}\nonce that is mended, the same command goes on")
        if outcome.stopped:
            raise Interrupted(outcome.stopped)
    sys.stdout.write(job.printed_file.read_text(encoding="utf-8"))
    # the next time a job looks whether the results are still there
    job.printed_file.unlink(missing_ok=True)
    return 0


def _beside(path: str) -> Path:
    return (checkpoint.find(path).parent if path else Path()) / "evaluate"


def _words(arguments: argparse.Namespace) -> list[str]:
    """Return the command without options of its job, always in the same order, for any working directory."""
    path = [str(Path(arguments.checkpoint).resolve())] if arguments.checkpoint else []
    words = ["evaluate", *path, *(f"--import={m}" for m in arguments.imports)]
    for name in _WORDS:
        value, option = getattr(arguments, name), f"--{name.replace('_', '-')}"
        if isinstance(value, list):
            words += [option, *value] if value else []
        elif value is True:
            words.append(option)
        elif value not in (None, "", False):
            words.append(f"{option}={value.resolve() if isinstance(value, Path) else value}")
    return words


@contextmanager
def as_job(folder: Path | None, group: ProcessGroup) -> Iterator[None]:
    """Leave in a folder what rank 0 prints inside, once it has ended well; do nothing without a folder."""
    if folder is None or group.rank > 0:
        yield
        return
    if group.size == 1:  # other ranks do it anyway
        end_with_parent()
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            yield
    except SatError as error:
        # in one line: the last line of the log is the reason that the command shows
        raise type(error)("; ".join(str(error).splitlines())) from error
    files.write_text(EvaluationUnit(folder).printed_file, text.getvalue())


@final
class JobView(View):
    """Shows how far an evaluation is to the command that waits for its job.

    Args:
        folder: Of the job.
    """

    def __init__(self, folder: Path) -> None:
        self._report = ProgressFile(EvaluationUnit(folder).progress_file)

    def note(self, text: str) -> None:
        """See `View`: printed by the command that waits, with the results."""
        sys.stdout.write(f"note: {printable(text)}\n")

    @contextmanager
    def attacking(self, threat: str) -> Iterator[Share]:
        """See `View`."""
        yield lambda share, note: self._report("attack", share, 1.0, f"{threat}, {note}")
