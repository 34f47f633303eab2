"""The folder of evaluations that are jobs of Slurm: `slurm`, where their results go.

An evaluation is one job, whatever its number of devices. Tasks of an array could not share it: which images an attack
has in its batches depends on what all attacks before it have left.
"""

from __future__ import annotations

from pathlib import Path
from typing import final

import attrs

from sat_core.run_folder import RunFolder
from sat_core.unit_folder import UnitFolder


@final
@attrs.frozen
class EvaluationFolder(RunFolder):
    """Has a folder for each evaluation, beside what `Slurm` and submitit keep there.

    >>> EvaluationFolder("runs/digits/slurm").unit("evaluation-1f").printed_file.as_posix()
    'runs/digits/slurm/evaluation-1f/printed.txt'
    """

    def unit(self, name: str) -> EvaluationUnit:
        """Return the folder of the evaluation called `name`."""
        return EvaluationUnit(self.path / name)

    @property
    def queue(self) -> Path:
        """See `RunFolder`."""
        return self.path

    @property
    def jobs_file(self) -> Path:
        """See `RunFolder`: another file than that of the arms of a study, whose command may write at the same time."""
        return self.path / "evaluations.json"


@final
@attrs.frozen
class EvaluationUnit(UnitFolder):
    """Log, progress and reason of an evaluation, whose results lie elsewhere."""

    @property
    def printed_file(self) -> Path:
        """What the evaluation has printed; there from its end until a command has shown it."""
        return self.path / "printed.txt"

    @property
    def is_finished(self) -> bool:
        """Whether the evaluation has ended well."""
        return self.printed_file.exists()
