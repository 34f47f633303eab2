"""What may be put into a batch script, and where pickles that a job runs may lie."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sat_core.errors import RunDirectoryError, SpecError

RESERVED = (
    *("account", "array", "clusters", "cpus-per-task", "dependency", "error", "gpus", "gpus-per-node", "input"),
    *("job-name", "kill-on-invalid-dep", "mem", "no-requeue", "nodes", "ntasks", "ntasks-per-node", "open-mode"),
    *("output", "parsable", "partition", "requeue", "signal", "tasks-per-node", "test-only", "time", "wait", "wrap"),
)
"""Options of sbatch on which our jobs depend, or which are options of ours; all others are the user's."""


def check_line(option: str, value: str) -> None:
    """SpecError for what would not stay in one line of the script."""
    if not value.isprintable():
        raise SpecError(f"{option}: expected printable characters in one line, got {value!r}")


def check_option(key: str, value: str | bool) -> None:
    """SpecError for a key of --slurm that is no long option of sbatch, or one of `RESERVED`."""
    check_line("--slurm", f"{key}={value}")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9-]*", key):
        raise SpecError(f"--slurm: expected a long option of sbatch as KEY or KEY=VALUE, got {key!r}")
    if any(name.startswith(key) for name in RESERVED):  # sbatch takes the beginning of a name for it
        raise SpecError(
            f"--slurm {key}: is set by sat itself; see --partition, --account, --time, --gpus and --memory\n"
            f"not for --slurm: {', '.join(RESERVED)}"
        )


def check_path(out: Path) -> None:
    """RunDirectoryError for a folder in whose path Slurm or submitit would replace something."""
    text = str(out.resolve())
    if not text.isprintable() or set(text) & {"%", "\\"}:
        raise RunDirectoryError(
            f"{text!r}: expected a path without %, backslashes and control characters, which Slurm replaces\n"
            "choose another folder"
        )


def own_folder(folder: Path, mode: int = 0o755) -> None:
    """Make the folder with this mode, if it is not there.

    RunDirectoryError unless it is the user's and has no more rights: whoever can write to it can change what jobs run.
    """
    try:
        folder.mkdir(mode, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise RunDirectoryError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    if found.st_uid != os.getuid() or found.st_mode & 0o777 & ~mode:
        raise RunDirectoryError(
            f"{folder}: expected a folder of yours that nobody else can change, for jobs run what is pickled in it\n"
            f"chmod {mode:o} {folder}, or choose another folder"
        )
