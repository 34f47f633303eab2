"""Tables of arms, of scores, of the numbers behind charts, and of what a run was made with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isnan
from typing import Any

import attrs

from sat_core.accuracy import Accuracy
from sat_core.agreement import SHARES, Agreement, shown_rho
from sat_core.ranking import Ranking
from sat_evaluation.report.charts import Bars, Curve, Matrix, Plot
from sat_evaluation.report.gather import Run
from sat_evaluation.report.table import Table, plain_table
from sat_evaluation.report.words import with_interval
from sat_evaluation.results.csv_file import csv_records
from sat_evaluation.results.curves import listed_classes, varied
from sat_evaluation.results.rows import Row, reported_levels
from sat_evaluation.results.table import EVER_ATTACKED, cost_unit, robust_head
from sat_evaluation.results.text import duration, percent, public_name, shown


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
    records = csv_records(run.rows)
    whose = " of the source" * bool(run.rows and run.rows[0].source)
    return Table(
        heads=tuple(heads[n] for n in filled),
        rows=tuple(tuple(row[n] for n in filled) for row in rows),
        columns=tuple(records[0]) if records else ("arm",),
        lines=tuple(tuple(record.values()) for record in records),
        file=f"{run.name.replace('/', '-')}.csv",
        caption=f"Every finished arm. Robust %: [ ] 95 % Wilson interval; cost %: gradient evaluations of "
        f"training{whose}, {cost_unit(run.rows)}; training: its time, with the attacks in it.",
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


def numbers(chart: Plot | Matrix | Bars) -> Table:
    """Make a table of the numbers behind a chart."""
    heads: tuple[str, ...]
    lines: list[tuple[Any, ...]]
    if isinstance(chart, Plot):
        heads = ("curve", chart.x.label, chart.y.label, "low", "high")
        # a value without an interval has two equal ends
        lines = [
            (_curve_name(c, chart), m.x, m.y, *((m.low, m.high) if m.high > m.low else ("", "")))
            for c in chart.curves
            for m in c.marks
        ]
        lines += [(level.name, "", level.y, "", "") for level in chart.levels]
        lines += [(band.name, x, "", low, high) for band in chart.bands for x, low, high in band.points]
    elif isinstance(chart, Matrix):
        heads = (chart.corner, *chart.columns)
        percents = [[None if c.value is None else 100 * c.value for c in cells] for cells in chart.cells]
        lines = [(name, *values) for name, values in zip(chart.lines, percents, strict=True)]
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
