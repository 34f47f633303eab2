"""Checks of what goes into a batch script, and of the folder that jobs run pickles from."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sat_core.errors import RunDirectoryError, SpecError

RESERVED = (
    *("account", "array", "clusters", "cpus-per-task", "dependency", "error", "gpus", "gpus-per-node"),
    *("input", "job-name", "kill-on-invalid-dep", "mem", "no-requeue", "nodes", "ntasks", "ntasks-per-core"),
    *("ntasks-per-gpu", "ntasks-per-node", "ntasks-per-socket", "open-mode", "output", "parsable", "partition"),
    *("requeue", "signal", "tasks-per-node", "test-only", "time", "wait", "wrap"),
)
"""Options of sbatch that users cannot set: our jobs depend on them, or `sat` has an option for them."""


def check_line(option: str, value: str) -> None:
    """Raise SpecError for a value that would not stay in one line of the script."""
    # behind a line break, the script would have another #SBATCH line, or a command that the job runs
    if not value.isprintable():
        raise SpecError(f"{option}: expected printable characters in one line, got {value!r}")


def check_option(key: str, value: str | bool) -> None:
    """Raise SpecError for a key of --slurm that is no long option of sbatch, or one of `RESERVED`."""
    check_line("--slurm", f"{key}={value}")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9-]*", key):
        raise SpecError(f"--slurm: expected a long option of sbatch as KEY or KEY=VALUE, got {key!r}")
    if any(name.startswith(key) for name in RESERVED):  # sbatch accepts unique prefixes of its options
        raise SpecError(
            f"--slurm {key}: is set by sat itself; see its other options, such as --time, --nodes and --memory\n"
            f"not for --slurm: {', '.join(RESERVED)}"
        )


def check_path(out: Path) -> None:
    """Raise RunDirectoryError for a path in which Slurm or submitit would replace characters."""
    text = str(out.resolve())
    if not text.isprintable() or set(text) & {"%", "\\"}:
        raise RunDirectoryError(
            f"{text!r}: expected a path without %, backslashes and control characters, which Slurm replaces\n"
            "choose another folder"
        )


def own_folder(folder: Path, mode: int = 0o755) -> None:
    """Make a folder that nobody else can write to: whoever can, can change what jobs run.

    Args:
        folder: May be there already.
        mode: Its rights.

    Raises:
        RunDirectoryError: It belongs to somebody else, or has more rights.
    """
    try:
        # with its mode: else a umask of 002 lets the group write, and the check below refuses our own folder
        folder.mkdir(mode, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise RunDirectoryError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    if status.st_uid != os.getuid() or status.st_mode & 0o777 & ~mode:
        raise RunDirectoryError(
            f"{folder}: expected a folder of yours that nobody else can change, for jobs run what is pickled in it\n"
            f"chmod {mode:o} {folder}, or choose another folder"
        )
