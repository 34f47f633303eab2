"""Where things lie in the folder of a study, or of a transfer."""

from __future__ import annotations

from pathlib import Path

RANKING = "ranking"
ARMS = "arms"
TRANSFERS = "transfer"
"""Folder of a study with a folder per target; and the table in the spec of such a folder."""
PROGRESS = "progress.json"


def unit_directory(out: Path, unit: str) -> Path:
    """Where the ranking, or the arm called `unit`, lies in `out`."""
    return out / RANKING if unit == RANKING else out / ARMS / unit
