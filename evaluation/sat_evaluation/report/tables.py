"""Tables of a report, each with its CSV file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isnan
from typing import Any, final

import attrs

from sat_core.accuracy import Accuracy
from sat_core.agreement import SHARES, shown_rho
from sat_core.ranking import Ranking
from sat_evaluation.report.charts import Bars, Curve, Matrix, Plot
from sat_evaluation.report.gather import Run
from sat_evaluation.report.words import with_interval
from sat_evaluation.results.csv_file import csv_lines, csv_text
from sat_evaluation.results.curves import listed_classes, varied
from sat_evaluation.results.rows import Row, reported_levels
from sat_evaluation.results.table import EVER_ATTACKED, robust_head
from sat_evaluation.results.text import duration, percent, shown


@final
@attrs.frozen(kw_only=True)
class Table:
    """A table that readers can sort and download.

    Attributes:
        heads: Names of the columns.
        rows: Cells as (text, value that they are sorted by).
        csv: The same, or more, as CSV.
        file: Name of the CSV file.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[tuple[str, str | float], ...], ...]
    csv: str
    file: str


def arms_table(run: Run) -> Table:
    """Make a table with a line for each finished arm; its CSV is that of ``summary.csv``."""
    keys = varied(run.rows)
    several = len({row.chosen for row in run.rows if not row.baseline}) > 1
    heads = ("arm", "|A|", "share %", *(["strategy"] * several), *keys)
    levels = reported_levels(run.rows)
    moving = any(row.moving for row in run.rows)
    heads += (
        *([f"{EVER_ATTACKED} %"] * moving),
        "seed",
        robust_head(run.rows),
        *(f"robust % ({level})" for level in levels),
        "clean %",
        "on A",
        "on B",
        "epoch",
        "cost %",
        "training",
        "time",
    )
    rows = [_arm(row, keys, several, moving, levels) for row in run.rows]
    filled = [n for n, head in enumerate(heads) if any(row[n][0] not in ("", "–") for row in rows)]
    return Table(
        heads=tuple(heads[n] for n in filled),
        rows=tuple(tuple(row[n] for n in filled) for row in rows),
        csv=csv_text(run.rows),
        file=f"{run.name.replace('/', '-')}.csv",
    )


def _arm(
    row: Row, keys: Sequence[str], several: bool, moving: bool, levels: Sequence[str]
) -> tuple[tuple[str, str | float], ...]:
    strategy = "" if row.baseline else listed_classes(row) or row.chosen
    settings = [shown(row.settings.get(key, ""), 40) for key in keys]
    return (
        (row.arm, row.arm),
        (f"{row.size:,}", row.size),
        (f"{100 * row.share:.3g}", row.share),
        *([(strategy, strategy)] if several else []),
        *((text, text) for text in settings),
        *([_ever_attacked(row)] if moving else []),
        (str(row.spec["training.seed"]), row.spec["training.seed"]),
        _robust(row),
        *(_robust(row.at(level)) for level in levels),
        (f"{100 * row.clean.value:.1f}", row.clean.value),
        _part(row.robust_a),
        _part(row.robust_b),
        (str(row.epoch), row.epoch),
        (percent(row.cost).removesuffix(" %"), row.cost),
        (duration(row.training_seconds), row.training_seconds),
        (duration(row.seconds), row.seconds),
    )


def _ever_attacked(row: Row) -> tuple[str, float]:
    return ("–", -1.0) if row.attacked is None else (f"{100 * row.attacked:.3g}", row.attacked)


def _robust(row: Row | None) -> tuple[str, float]:
    if row is None:
        return _part(None)
    return with_interval(row.robust).replace(" %", ""), row.robust.value


def _part(accuracy: Accuracy | None) -> tuple[str, float]:
    # -1 sorts below every accuracy
    return ("–", -1.0) if accuracy is None else (f"{100 * accuracy.value:.1f}", accuracy.value)


def agreement_table(name: str, ranking: Ranking) -> Table:
    """Make a table of how far every two scores of a ranking agree; its CSV has a line for each pair.

    Args:
        name: Of the run.
        ranking: With scores.
    """
    agreement = ranking.agreement()
    pairs = [(one, *other) for number, one in enumerate(agreement.metrics) for other in agreement.rows(one)[number:]]
    heads = ("score", "other", "ρ", *(f"hardest {share:.0%} in common" for share in SHARES))
    lines = [(one, other, None if isnan(rho) else rho, *overlaps) for one, other, rho, overlaps in pairs]
    rows: list[tuple[tuple[str, str | float], ...]] = [
        # -2 sorts below every ρ
        ((score, score), *((shown_rho(value), -2.0 if isnan(value) else float(value)) for value in values))
        for score, values in zip(agreement.metrics, agreement.rho, strict=True)
    ]
    file = f"{name.replace('/', '-')}-agreement.csv"
    return Table(heads=("ρ", *agreement.metrics), rows=tuple(rows), csv=csv_lines(heads, lines), file=file)


def numbers(chart: Plot | Matrix | Bars) -> Table:
    """Make a table of the numbers behind a chart."""
    heads: tuple[str, ...]
    lines: list[tuple[Any, ...]]
    if isinstance(chart, Plot):
        heads = ("curve", chart.x.label, chart.y.label, "low", "high")
        lines = [(_curve_name(c, chart), m.x, m.y, m.low, m.high) for c in chart.curves for m in c.marks]
        lines += [(level.name, "", level.y, "", "") for level in chart.levels]
    elif isinstance(chart, Matrix):
        heads = ("A", *chart.columns)
        percents = [[None if c.value is None else 100 * c.value for c in cells] for cells in chart.cells]
        lines = [(name, *values) for name, values in zip(chart.lines, percents, strict=True)]
    else:
        heads = ("", "part", chart.unit)
        lines = [(name, part.tip, part.value) for name, parts, _ in chart.lines for part in parts]
    shown_heads = heads
    cells = tuple(tuple(_cell(value) for value in line) for line in lines)
    if chart.measured:  # the page says it below the chart, and the file has to say it, too
        heads, lines = (*heads, "attacks"), [(*line, chart.measured) for line in lines]
    return Table(
        heads=shown_heads, rows=cells, csv=csv_lines(heads, lines), file=f"{chart.title}.csv".replace("/", " ")
    )


def _curve_name(curve: Curve, chart: Plot) -> str:
    return f"{curve.name}, {chart.fillings[curve.hollow]}" if chart.styles and not curve.style else curve.name


def _cell(value: Any) -> tuple[str, str | float]:
    if isinstance(value, int | float):
        return f"{value:.4g}", float(value)
    return ("–", -1.0) if value is None else (str(value), str(value))


def provenance(run: Run) -> Table:
    """Make a table of versions, seeds, devices and data; where arms differ, it has all values."""
    values_of: dict[str, dict[str, None]] = {}

    def add(name: str, value: object) -> None:
        values_of.setdefault(name, {})[value if isinstance(value, str) else json.dumps(value)] = None

    for row in run.rows:
        results = row.full
        data, source = results.data, results.source
        for name, version in results.versions.items():
            add(name, version)
        add("backend", results.backend)
        add("device", results.device)
        for key in ("precision", "batches", "compile"):
            add(f"training, {key}", row.spec[f"training.{key}"])
        for attacks in (results.attacks, *(each.attacks for each in results.levels)):
            add("attacks", f"{attacks.level}: {attacks.package}, engine {attacks.engine}")
        for name, seed in results.seeds.items():
            add(f"seed, {name.replace('_', ' ')}", seed)
        add("data", f"{data.name}, {data.train:,} + {data.test:,} examples")
        add("data, SHA-256", data.fingerprint)
        if source is not None:
            # the study, not the arm: else each arm adds a value of its own
            add("features from", f"{source.data.name}, {source.run.rsplit('/arms/')[0]}")
        if results.reused:
            add("taken over from", results.reused.rsplit("/arms/")[0])
    rows = [(name, shown(" / ".join(values), 160)) for name, values in values_of.items()]
    lines = tuple(((name, name), (value, value)) for name, value in rows)
    return Table(heads=("what", "value"), rows=lines, csv=csv_lines(("what", "value"), rows), file="provenance.csv")
