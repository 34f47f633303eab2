"""Tables of scores, of the numbers behind charts, and of what a run was made with."""

from __future__ import annotations

import json
from math import isnan
from typing import Any

import attrs

from sat_core.agreement import SHARES, Agreement, shown_rho
from sat_core.ranking import Ranking
from sat_evaluation.report.blocks import Chart
from sat_evaluation.report.charts import Curve, Matrix, Plot
from sat_evaluation.report.forest import Forest
from sat_evaluation.report.gather import Run
from sat_evaluation.report.table import Table, plain_table
from sat_evaluation.results.text import public_name, shown


def agreement_table(name: str, ranking: Ranking) -> Table:
    """Make a table of how far every two scores of a ranking agree; its CSV has a line for each pair.

    Args:
        name: Of the run.
        ranking: With scores.
    """
    caption = "Spearman's ρ of the scores of the ranking. The files also have which share of the hardest examples "
    caption += "they have in common."
    file = f"{name.replace('/', '-')}-agreement.csv"
    return scores_table(ranking.agreement(), file=file, caption=caption, title="Agreement of scores")


def scores_table(agreement: Agreement, *, file: str, caption: str, title: str = "") -> Table:
    """Make a table of Spearman's ρ of every two scores; the arguments after the first are as of `Table`."""
    pairs = [(one, *other) for number, one in enumerate(agreement.metrics) for other in agreement.rows(one)[number:]]
    heads = ("score", "other", "ρ", *(f"hardest {share:.0%} in common" for share in SHARES))
    lines = [(one, other, None if isnan(rho) else rho, *overlaps) for one, other, rho, overlaps in pairs]
    rows: list[tuple[tuple[str, str | float], ...]] = [
        # -2 sorts below every ρ
        ((score, score), *((shown_rho(value), -2.0 if isnan(value) else float(value)) for value in values))
        for score, values in zip(agreement.metrics, agreement.rho, strict=True)
    ]
    return Table(
        heads=("ρ", *agreement.metrics),
        rows=tuple(rows),
        columns=heads,
        lines=tuple(lines),
        file=file,
        caption=caption,
        title=title,
    )


def numbers(chart: Chart) -> Table:
    """Make a table of the numbers behind a chart."""
    heads: tuple[str, ...]
    lines: list[tuple[Any, ...]]
    if isinstance(chart, Plot):
        marks = [(_curve_name(c, chart), m) for c in chart.curves for m in c.marks]
        seeds = ("deviation",) * any(m.deviation for _, m in marks)
        heads = ("curve", chart.x.label, chart.y.label, "low", "high", *seeds)
        # a value without an interval has two equal ends
        lines = [
            (m.label.name if m.label else name, m.x, m.y, *((m.low, m.high) if m.high > m.low else ("", "")))
            + (m.deviation or "",) * len(seeds)
            for name, m in marks
        ]
        none = ("",) * len(seeds)
        lines += [(level.name, "", level.y, "", "", *none) for level in chart.levels]
        lines += [(band.name, x, "", low, high, *none) for band in chart.bands for x, low, high in band.points]
    elif isinstance(chart, Matrix):
        heads = (chart.corner, *chart.columns)
        percents = [[None if c.value is None else 100 * c.value for c in cells] for cells in chart.cells]
        lines = [(name, *values) for name, values in zip(chart.lines, percents, strict=True)]
    elif isinstance(chart, Forest):
        heads = (chart.what, chart.x.label, "low", "high", "n")
        lines = [(one.name, one.value, one.low, one.high, one.n) for one in chart.lines]
    else:
        heads = ("", "part", chart.unit)
        lines = [(name, part.tip, part.value) for name, parts, _ in chart.lines for part in parts]
    file, caption = f"{chart.title}.csv".replace("/", " "), f"The numbers of: {chart.title}"
    table = plain_table(heads, lines, file=file, caption=caption)
    if not chart.measured:
        return table
    # the page says it below the chart, and the files have to say it, too
    measured = tuple((*line, chart.measured) for line in lines)
    return attrs.evolve(table, columns=(*heads, "attacks"), lines=measured)


def _curve_name(curve: Curve, chart: Plot) -> str:
    return f"{curve.name}, {chart.fillings[curve.hollow]}" if chart.styles and not curve.style else curve.name


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
        add("data", f"{public_name(data.name)}, {data.train:,} + {data.test:,} examples")
        add("data, SHA-256", data.fingerprint)
        if source is not None:
            # the study, not the arm: else each arm adds a value of its own
            add("features from", f"{public_name(source.data.name)}, {_folder(source.run)}")
        if results.reused:
            add("taken over from", _folder(results.reused))
    rows = [(name, shown(" / ".join(values), 160)) for name, values in values_of.items()]
    caption = "Versions, seeds, devices and data; where arms differ, all values."
    return plain_table(("what", "value"), rows, file="provenance.csv", caption=caption)


def _folder(arm: str) -> str:
    """Name of the folder of the study that an arm is in, from the path of the arm: without folders above it."""
    return arm.rsplit("/arms/", 1)[0].rpartition("/")[2]
