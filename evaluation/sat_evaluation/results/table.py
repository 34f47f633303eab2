"""The table of a study: one line per group of seeds, the baselines first and last."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.compared import full_costs
from sat_evaluation.results.curves import Group, group, listed_classes, method_name, series, varied
from sat_evaluation.results.rows import Row, reported_levels
from sat_evaluation.results.text import duration, percent, shown

METHOD = "method"
"""Head of the column with strategy and settings together, where there is no room for one of each."""
EVER_ATTACKED = "ever attacked"
"""Head of the column with the share of the training examples that were attacked at least once."""

TIMES = "training | checks | report"
"""Head of the column with the times of the training, of choosing the epoch, and of the reported evaluation."""
TIME = "time"
"""Head of the column with their sum, the time of the ranking included, where there is no room for `TIMES`."""


def table_cells(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the heads of the table's columns with their cells, one per group of seeds."""
    return _columns(rows, [g for block in table_blocks(rows) for g in block])


def with_methods(columns: dict[str, list[str]], rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the columns of `table_cells` with one, `METHOD`, in place of those of strategy and settings."""
    keys = varied(rows)
    own = [head for head in columns if head in ("strategy", "classes", *keys)]
    if len(own) < 2:
        return columns
    firsts = [g.rows[0] for block in table_blocks(rows) for g in block]
    merged = {METHOD: [method_name(row, keys) for row in firsts]}
    result = {"|A|": [row.baseline or f"{row.size:,}" for row in firsts]}  # a baseline is named by its method
    for head, cells in columns.items():
        result |= merged if head in own else {} if head == "|A|" else {head: cells}
    return result


def with_total_time(columns: dict[str, list[str]], rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the columns of `table_cells` with one, `TIME`, in place of `TIMES`."""
    cells = [duration(g.mean("seconds")) for block in table_blocks(rows) for g in block]
    return {TIME if head == TIMES else head: cells if head == TIMES else own for head, own in columns.items()}


def stage_seconds(rows: Sequence[Row]) -> tuple[float, float, float]:
    """Return the mean seconds of the training, of the checks that choose the epoch, and of the reported evaluation.

    Of a transfer, those of the head; the features of its images count as training. Watching an arm counts as a check.
    """
    stages = (("features", "training"), ("watch", "selection"), ("evaluation",))
    times = [row.results.cost.seconds for row in rows]
    training, checks, report = (fmean(sum(t.get(name) or 0.0 for name in names) for t in times) for names in stages)
    return training, checks, report


def table_blocks(rows: Sequence[Row]) -> list[list[Group]]:
    """Return groups of seeds as they stand in the table: plain training, each curve over |A|, full AT."""
    baselines = [g for g in group(rows) if g.rows[0].baseline]
    # `Baseline` has plain training first
    plain, full = ([g for g in baselines if g.rows[0].baseline is which] for which in Baseline)
    return [plain, *(list(curve.groups) for curve in series(rows)), full]


def _columns(rows: Sequence[Row], groups: Sequence[Group]) -> dict[str, list[str]]:
    """Heads to cells, without empty columns."""
    firsts = [g.rows[0] for g in groups]
    chosen = {row.chosen for row in firsts if not row.baseline}
    how = [row.baseline.label if row.baseline else listed_classes(row) or row.chosen for row in firsts]
    several, listed = len(chosen) > 1, chosen == {"listed"}
    names = [row.baseline or f"{row.size:,}" for row in firsts]
    if not several and not listed:
        names = [
            f"{name} ({what})" if row.baseline else name for name, what, row in zip(names, how, firsts, strict=True)
        ]
    columns = {
        "|A|": names,
        "share": [percent(row.share) for row in firsts],
        "classes" if listed else "strategy": how if several or listed else [],
        **{key: [shown(row.settings.get(key, ""), 24) for row in firsts] for key in varied(rows)},
        EVER_ATTACKED: [_ever_attacked(g) for g in groups] if any(row.moving for row in rows) else [],
        robust_head(rows): [_interval(g) for g in groups],
        **{f"robust % ({level})": [_interval(g.at(level)) for g in groups] for level in reported_levels(rows)},
        "clean %": [f"{100 * g.accuracy('clean').value:.1f}" for g in groups],
        "on A": [_part(g, "robust_a") for g in groups],
        "on B": [_part(g, "robust_b") for g in groups],
        "epoch": [_span([row.epoch for row in g.rows]) for g in groups],
        "cost": [percent(g.mean("cost")) for g in groups],
        TIMES: [" | ".join(map(duration, stage_seconds(g.rows))) for g in groups],
    }
    return {head: cells for head, cells in columns.items() if any(cells)}


def robust_head(rows: Sequence[Row]) -> str:
    """Return the head of the column of robust accuracies: with their level where some arms have another one, too."""
    return f"robust % ({rows[0].level})" if reported_levels(rows) else "robust %"


def cost_unit(rows: Sequence[Row]) -> str:
    """Return in words which cost is 100 %: with several attacks in a study, full AT by that of most gradients."""
    several = len(full_costs(row.results for row in rows)) > 1
    return f"{Baseline.FULL.label}{' with the most expensive attack' if several else ''} = 100 %"


def _ever_attacked(g: Group) -> str:
    shares = [row.attacked for row in g.rows if row.attacked is not None]
    return percent(fmean(shares)) if len(shares) == len(g.rows) else ""


def _interval(g: Group | None) -> str:
    if g is None:
        return ""
    robust, deviation = g.accuracy("robust"), g.deviation("robust")
    seeds = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return f"{100 * robust.value:.1f}{seeds} [{100 * robust.low:.1f}, {100 * robust.high:.1f}]"


def _part(g: Group, name: str) -> str:
    accuracy = g.part(name)
    return "" if accuracy is None else f"{100 * accuracy.value:.1f}"


def _span(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"
