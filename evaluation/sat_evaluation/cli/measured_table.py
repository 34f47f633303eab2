"""What `sat evaluate` measured besides robust accuracy at one threat model, as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sat_core.accuracy import Accuracy
from sat_core.calibration import BINS, CalibrationSummary
from sat_core.corrupted import CorruptionSummary
from sat_core.errors import printable
from sat_core.threat_matrix import ThreatMatrix
from sat_evaluation.run.measures import Measured

_GAP = 2


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
    console.print()
    console.print(f"results: {out}", markup=False, soft_wrap=True)


def _print_calibrations(console: Console, calibrations: Mapping[str, CalibrationSummary]) -> None:
    lines = []
    for name, summary in calibrations.items():
        attacked = f"PGD-10, {summary.norm} ε = {summary.eps:.4g}"
        for title, each in (("clean", summary.clean), (attacked, summary.adversarial)):
            if each is not None:
                shares = (f"{100 * value:.1f}" for value in (each.accuracy, each.confidence, each.ece))
                lines.append((name, title, *shares, str(each.examples)))
    _print(
        console,
        f"Calibration (ECE of {BINS} bins)",
        ("arm", "images", "accuracy %", "confidence %", "ECE %", "n"),
        lines,
    )


def _print_corruptions(console: Console, name: str, summary: CorruptionSummary) -> None:
    title = f"Corruptions ({summary.constants}'s severities), correct in %, n = {summary.examples}"
    lines = [("none (clean images)", *[""] * 5, f"{100 * summary.clean.value:.1f}")]
    for corruption, shares in summary.accuracy.items():
        values = [each.value for each in shares]
        lines.append((corruption, *(f"{100 * each:.1f}" for each in (*values, sum(values) / len(values)))))
    severities = zip(*summary.accuracy.values(), strict=True)
    means = (sum(each.value for each in same) / len(same) for same in severities)
    lines.append(("all", *(f"{100 * mean:.1f}" for mean in (*means, summary.mean))))
    _print(console, f"{name}{': ' * bool(name)}{title}", ("severity", *map(str, range(1, 6)), "mean"), lines)
    console.print(Text(f"left out: {', '.join(summary.left_out)}", style="dim"))


def _print_grids(console: Console, grids: Mapping[str, ThreatMatrix]) -> None:
    """Print networks as rows, and norms and radii as columns, or a row for each if that is too wide."""
    first = next(iter(grids.values()))
    engine = first.evaluations[0]
    others = "" if engine.engine == "package" else f", {engine.engine} engine"
    by = f"AutoAttack {engine.level} ({engine.package}{others}), correct in % [95 %]"
    threats = ("clean", *map(str, first.grid.threats), "every one")
    cells = {
        name: tuple(map(_shown, (matrix.clean_accuracy, *matrix.robust_accuracies, matrix.every)))
        for name, matrix in grids.items()
    }
    heads = ("arm", *threats, "n")
    lines = [(name, *shown, str(grids[name].every.n)) for name, shown in cells.items()]
    widths = [max(map(cell_len, column)) + _GAP for column in zip(heads, *lines, strict=True)]
    if len(grids) == 1 or sum(widths) - _GAP > console.width:
        heads = ("arm", "threat model", "correct % [95 %]", "n")
        lines = [
            (name, threat, each, str(grids[name].every.n))
            for name, shown in cells.items()
            for threat, each in zip(threats, shown, strict=True)
        ]
    _print(console, by, heads, lines)
    warnings = dict.fromkeys(text for grid in grids.values() for each in grid.evaluations for text in each.warnings)
    for warning in warnings:
        console.print(f"warning: {printable(warning)}", markup=False)


def _print(console: Console, title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table with numbers to the right. Of networks without a name, the column "arm" is left out."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0), show_edge=False)
    shown = [place for place, head in enumerate(heads) if head != "arm" or any(line[place] for line in lines)]
    for place in shown:
        is_text = heads[place] in ("arm", "images", "severity", "threat model")
        table.add_column(
            Text(heads[place]), justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text
        )
    for line in lines:
        table.add_row(*(Text(printable(line[place])) for place in shown))
    console.print()
    console.print(Text(printable(title), style="bold"))
    console.print(table)


def _shown(accuracy: Accuracy) -> str:
    return f"{100 * accuracy.value:.1f} [{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]"
