"""Where things lie in the folder of a study, of a transfer, or of a reproduction, which has several studies."""

from __future__ import annotations

from pathlib import Path

from sat_core.arm import RESULTS
from sat_core.errors import RunDirectoryError
from sat_core.ranking import FILE
from sat_core.rundir import SPEC

RANKING = "ranking"
ARMS = "arms"
TRANSFERS = "transfer"
"""Folder of a study with a folder per target; and the table in the spec of such a folder."""
STUDIES = "studies"
"""Folder of a reproduction with a folder per study."""
PROGRESS, LOG, FAILED = "progress.json", "log.txt", "failed.json"
"""In the folder of a unit: how far it is, what its processes printed, and why the last one failed."""


def unit_directory(out: Path, unit: str) -> Path:
    """Where the ranking, or the arm called `unit`, lies in `out`."""
    return out / RANKING if unit == RANKING else out / ARMS / unit


def finished(out: Path, unit: str) -> Path:
    """The file that is there when the ranking, or the arm called `unit`, is finished."""
    return unit_directory(out, unit) / (FILE if unit == RANKING else RESULTS)


def run_folders(path: Path) -> list[Path]:
    """The folder of a study or transfer and those of its transfers; of a reproduction, all of its studies'.

    RunDirectoryError if `path` is none of these.
    """
    if (path / SPEC).exists():
        return [path, *(spec.parent for spec in sorted(path.glob(f"{TRANSFERS}/*/{SPEC}")))]
    found = [folder for spec in sorted(path.glob(f"{STUDIES}/*/{SPEC}")) for folder in run_folders(spec.parent)]
    if not found:
        raise RunDirectoryError(
            f"{path}: expected the folder of a study (with {SPEC}), of a transfer or of `sat reproduce`"
        )
    return found
