"""Tables of arms: one line for each, and of several seeds one for their mean with its deviation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import attrs

from sat_evaluation.report.gather import Run
from sat_evaluation.report.table import Cell, Table
from sat_evaluation.report.words import arm_names, with_deviation
from sat_evaluation.results.csv_file import csv_records, interval_columns
from sat_evaluation.results.curves import Group, group, listed_classes, of_seeds, spread, varied
from sat_evaluation.results.rows import Row, reported_levels
from sat_evaluation.results.table import EVER_ATTACKED, cost_unit, robust_head, stage_seconds
from sat_evaluation.results.text import duration, percent, shown

_MISSING: Cell = ("–", -1.0)
"""-1 sorts below every accuracy."""
_TIMES = "times of training (attacks included), checks (that choose the epoch) and report (attacks on the test images)"


def arms_tables(run: Run) -> Iterator[Table]:
    """Make the table of the means over seeds, where an arm has several, and that of all arms."""
    groups = group(run.rows)
    several = any(len(g.rows) > 1 for g in groups)
    if several:
        yield _means(run, groups)
    yield attrs.evolve(arms_table(run), title="Arm by arm" * several)


def arms_table(run: Run) -> Table:
    """Make a table with a line for each finished arm; its CSV is that of ``summary.csv``."""
    records = csv_records(run.rows)
    arms = [(row.arm, Group((row,))) for row in run.rows]
    return _table(
        run, arms, records, file=".csv", caption=f"Every finished arm. Robust %: [ ] 95 % Wilson interval; {_TIMES}"
    )


def _means(run: Run, groups: Sequence[Group]) -> Table:
    named = list(zip(arm_names(groups), groups, strict=True))
    return _table(
        run,
        named,
        [_record(name, g) for name, g in named],
        file="-means.csv",
        caption=f"±: {of_seeds(groups)}, how much one training differs from the next; [ ]: {spread(groups)}; {_TIMES}",
        title="Means over seeds",
    )


def _table(
    run: Run,
    arms: Sequence[tuple[str, Group]],
    records: Sequence[Mapping[str, Any]],
    *,
    file: str,
    caption: str,
    title: str = "",
) -> Table:
    rows = _rows(run.rows, arms)
    heads = [head for head in (rows[0] if rows else ()) if any(row[head][0] not in ("", "–") for row in rows)]
    whose = " of the source" * bool(run.rows and run.rows[0].source)
    return Table(
        heads=tuple(heads),
        rows=tuple(tuple(row[head] for head in heads) for row in rows),
        columns=tuple(records[0]) if records else ("arm",),
        lines=tuple(tuple(record.values()) for record in records),
        file=f"{run.name.replace('/', '-')}{file}",
        caption=f"{caption}. Cost %: gradient evaluations of training{whose}, {cost_unit(run.rows)}.",
        title=title,
    )


def _rows(rows: Sequence[Row], arms: Sequence[tuple[str, Group]]) -> list[dict[str, Cell]]:
    """Heads of columns to cells, for each of `arms`."""
    keys, levels, head = varied(rows), reported_levels(rows), robust_head(rows)
    several = len({row.chosen for row in rows if not row.baseline}) > 1
    moving = any(row.moving for row in rows)
    means = any(len(g.rows) > 1 for _, g in arms)

    def cells(name: str, g: Group) -> Iterator[tuple[str, Cell]]:
        row = g.rows[0]
        yield "arm", (name, name)
        yield "|A|", (f"{row.size:,}", row.size)
        yield "share %", (f"{100 * row.share:.3g}", row.share)
        # names of means have strategy and settings in them
        if several and not means:
            strategy = "" if row.baseline else listed_classes(row) or row.chosen
            yield "strategy", (strategy, strategy)
        for key in () if means else keys:
            value = shown(row.settings.get(key, ""), 40)
            yield key, (value, value)
        if moving:
            yield f"{EVER_ATTACKED} %", _share([row.attacked for row in g.rows])
        number = len(g.rows) if means else row.spec["training.seed"]
        yield "seeds" if means else "seed", (str(number), number)
        yield head, _accuracy(g, "robust", interval=True)
        for level in levels:
            at = g.at(level)
            yield f"robust % ({level})", _accuracy(at, "robust", interval=True) if at else _MISSING
        yield "clean %", _accuracy(g, "clean")
        yield "on A", _accuracy(g, "robust_a")
        yield "on B", _accuracy(g, "robust_b")
        epochs = sorted({row.epoch for row in g.rows})
        yield "epoch", ("–".join(map(str, dict.fromkeys((epochs[0], epochs[-1])))), epochs[0])
        yield "cost %", (percent(g.mean("cost")).removesuffix(" %"), g.mean("cost"))
        for stage, seconds in zip(("training", "checks", "report"), stage_seconds(g.rows), strict=True):
            yield stage, (duration(seconds), seconds)

    return [dict(cells(*arm)) for arm in arms]


def _accuracy(g: Group, name: str, *, interval: bool = False) -> Cell:
    accuracy = g.part(name)
    if accuracy is None:
        return _MISSING
    ends = f" [{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]" if interval else ""
    return f"{with_deviation(accuracy.value, g.deviation(name))}{ends}", accuracy.value


def _share(values: Sequence[float | None]) -> Cell:
    known = [value for value in values if value is not None]
    return (f"{100 * fmean(known):.3g}", fmean(known)) if known and len(known) == len(values) else _MISSING


def _record(name: str, g: Group) -> dict[str, Any]:
    row = g.rows[0]
    record = {"arm": name, "strategy": row.strategy, "size": row.size, "share": row.share, "seeds": len(g.rows)}
    for column, measure in (
        ("robust_all", "robust"),
        ("clean_all", "clean"),
        ("robust_A", "robust_a"),
        ("robust_B", "robust_b"),
    ):
        record |= {**interval_columns(column, g.part(measure)), f"{column}_deviation": g.deviation(measure)}
    stages = zip(("training", "selection", "evaluation"), stage_seconds(g.rows), strict=True)
    return {**record, "n": row.n, "cost": g.mean("cost"), **{f"{stage}_seconds": seconds for stage, seconds in stages}}
