"""AutoAttack on a checkpoint, as a table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sat_core.errors import printable
from sat_core.evaluation import Evaluation


def print_evaluations(evaluations: Sequence[Evaluation], out: Path) -> None:
    """Print accuracies for each ε, warnings, and where the results per example are."""
    console, first = Console(), evaluations[0]
    engine = "" if first.engine == "package" else f", {first.engine} engine"
    engine += "" if first.precision == "float32" else f", in {first.precision}"
    table = Table(title=f"AutoAttack {first.level} ({first.package}{engine}), n = {first.robust_accuracy.n}")
    for heading in ("norm", "ε", "clean", *(f"after {attack.name}" for attack in first.attacks), "robust [95 %]"):
        table.add_column(heading, justify="right")
    for evaluation in evaluations:
        robust = evaluation.robust_accuracy
        table.add_row(
            evaluation.norm,
            f"{evaluation.eps:.4g}",
            f"{evaluation.clean_accuracy.value:.1%}",
            *(f"{outcome.robust_accuracy:.1%}" for outcome in evaluation.breakdown()),
            f"{robust.value:.1%} [{robust.low:.1%}, {robust.high:.1%}]",
        )
    console.print(table)
    for warning in dict.fromkeys(text for evaluation in evaluations for text in evaluation.warnings):
        console.print(f"warning: {printable(warning)}", markup=False)
    console.print(f"per-example results: {out}", markup=False)
