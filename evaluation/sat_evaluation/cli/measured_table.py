"""What `sat evaluate` measured besides robust accuracy at one threat model, as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sat_core.accuracy import Accuracy
from sat_core.calibration import BINS, CalibrationSummary
from sat_core.corrupted import CorruptionSummary
from sat_core.errors import printable
from sat_core.threat_matrix import ThreatMatrix
from sat_evaluation.run.measures import Measured


def print_measured(measured: Mapping[str, Measured], out: Path) -> None:
    """Print what was measured of networks by their names, and where the files are."""
    console = Console()
    grids = {name: each.grid for name, each in measured.items() if each.grid is not None}
    if grids:
        _print_grids(console, grids)
    calibrations = {name: each.calibration for name, each in measured.items() if each.calibration is not None}
    if calibrations:
        _print_calibrations(console, calibrations)
    corruptions = {name: each.corruptions for name, each in measured.items() if each.corruptions is not None}
    for name, summary in corruptions.items():
        _print_corruptions(console, name, summary)
    console.print(f"results: {out}", markup=False)


def _print_calibrations(console: Console, calibrations: Mapping[str, CalibrationSummary]) -> None:
    table = Table(title=f"Calibration (ECE of {BINS} bins)")
    table.add_column("arm" if len(calibrations) > 1 else "")
    for heading in ("images", "accuracy", "confidence", "ECE", "n"):
        table.add_column(heading, justify="left" if heading == "images" else "right")
    for name, summary in calibrations.items():
        attacked = f"PGD-10, {summary.norm} ε = {summary.eps:.4g}"
        for title, each in (("clean", summary.clean), (attacked, summary.adversarial)):
            if each is not None:
                shares = (f"{value:.1%}" for value in (each.accuracy, each.confidence, each.ece))
                table.add_row(printable(name), title, *shares, str(each.examples))
    console.print(table)


def _print_corruptions(console: Console, name: str, summary: CorruptionSummary) -> None:
    title = f"Corruptions ({summary.constants}'s severities), n = {summary.examples}"
    table = Table(title=f"{printable(name)}{': ' * bool(name)}{title}")
    table.add_column("severity", no_wrap=True)
    for heading in (*map(str, range(1, 6)), "mean"):
        table.add_column(heading, justify="right")
    table.add_row("none (clean images)", *[""] * 5, f"{summary.clean.value:.1%}")
    for corruption, shares in summary.accuracy.items():
        values = [each.value for each in shares]
        table.add_row(corruption, *(f"{value:.1%}" for value in values), f"{sum(values) / len(values):.1%}")
    table.add_row("all", *[""] * 5, f"{summary.mean:.1%}")
    console.print(table)
    console.print(f"left out: {', '.join(summary.left_out)}", markup=False)


def _print_grids(console: Console, grids: Mapping[str, ThreatMatrix]) -> None:
    """Print norms and radii as columns, and networks as rows; of a single network, a row for each norm and radius."""
    first = next(iter(grids.values()))
    engine = first.evaluations[0]
    others = "" if engine.engine == "package" else f", {engine.engine} engine"
    by = f"AutoAttack {engine.level} ({engine.package}{others})"
    if len(grids) == 1:
        (name,) = grids
        table = Table(title=f"{name}{': ' * bool(name)}{by}, n = {first.every.n}")
        for heading in ("threat model", "correct [95 %]"):
            table.add_column(heading, justify="left" if heading == "threat model" else "right")
        table.add_row("none (clean images)", _shown(first.clean_accuracy))
        for threat, accuracy in zip(first.grid.threats, first.robust_accuracies, strict=True):
            table.add_row(str(threat), _shown(accuracy))
        table.add_row("every one", _shown(first.every))
    else:
        table = Table(title=by)
        table.add_column("arm")
        for heading in ("clean", *map(str, first.grid.threats), "every one", "n"):
            table.add_column(heading, justify="right")
        for name, matrix in grids.items():
            cells = (matrix.clean_accuracy, *matrix.robust_accuracies, matrix.every)
            table.add_row(printable(name), *map(_shown, cells), str(matrix.every.n))
    console.print(table)
    warnings = dict.fromkeys(text for grid in grids.values() for each in grid.evaluations for text in each.warnings)
    for warning in warnings:
        console.print(f"warning: {printable(warning)}", markup=False)


def _shown(accuracy: Accuracy) -> str:
    return f"{accuracy.value:.1%} [{accuracy.low:.1%}, {accuracy.high:.1%}]"
