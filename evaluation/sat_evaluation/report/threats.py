"""Robust accuracy under several threat models side by side, as ``sat evaluate --grid`` measured it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sat_core.accuracy import Accuracy
from sat_core.threat_grid import ThreatGrid
from sat_core.threat_matrix import ThreatSummary
from sat_evaluation.report.charts import Cell, Matrix
from sat_evaluation.report.gather import Run
from sat_evaluation.report.measured import measured
from sat_evaluation.report.words import with_interval
from sat_evaluation.results.text import shown

_CLEAN, _EVERY = "clean", "under every one"


def threats(run: Run) -> Matrix | None:
    """Draw a line for each arm, a column for each threat model, and one for images that survive all of the arm's."""
    found = [(name, summary) for name, _, summary in measured(run, "grid", ThreatSummary.from_json)]
    if not found:
        return None
    accuracies = [dict(_accuracies(summary)) for _, summary in found]
    columns = dict.fromkeys(column for own in accuracies for column in own if column != _EVERY)
    ordered = (*columns, _EVERY)
    levels = dict.fromkeys(each.attacks.level for _, summary in found for each in summary.threats)
    names = [name for name, _ in found]
    return Matrix(
        title="Several threat models (robust accuracy, %)",
        text="lines: arms; columns: threat models, and the share of the images that survive all of those of the arm",
        lines=tuple(names),
        columns=ordered,
        cells=tuple(tuple(_cells(name, own, ordered)) for name, own in zip(names, accuracies, strict=True)),
        corner="arm",
        measured=f"AutoAttack, {' / '.join(shown(level) for level in levels)}",
    )


def _accuracies(summary: ThreatSummary) -> Iterator[tuple[str, Accuracy]]:
    yield _CLEAN, summary.clean.all
    for threat, results in zip(ThreatGrid.parse(summary.grid).threats, summary.threats, strict=False):
        yield str(threat), results.robust.all
    yield _EVERY, summary.every.all


def _cells(name: str, own: dict[str, Accuracy], columns: Sequence[str]) -> Iterator[Cell]:
    for column in columns:
        accuracy = own.get(column)
        value = "not measured" if accuracy is None else f"{with_interval(accuracy)}, n = {accuracy.n:,}"
        yield Cell(value=accuracy and accuracy.value, tip=f"{name}, {column}: {value}")
