"""How arms differ on the same images."""

from __future__ import annotations

from collections.abc import Iterator

from sat_evaluation.report.gather import Run
from sat_evaluation.report.table import Table


def differences(run: Run) -> Iterator[Table]:
    """Make the table of differences between arms."""
    yield from ()
