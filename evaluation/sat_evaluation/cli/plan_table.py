"""A plan on the terminal: what each training costs, and what all of it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sat_evaluation.cli.lines import GAP, print_lines, without
from sat_evaluation.plan.plan import Plan, PlannedUnit
from sat_evaluation.plan.units import ARM, HEAD
from sat_evaluation.plan.words import quantity, summary, time_words
from sat_evaluation.results.text import percent

SHOWN = 20
"""Trainings that have a row each; of more, those of one |A| share a row."""
_NAME, _LEAST_NAME = "training", 12
_TIMES = ("train", "checks", "report", "total")
_SPARE = ("memory", "FLOPs", "report", "checks", "train", "gradients")
"""Columns that go where the terminal is too narrow, the first one first."""


def print_plan(plan: Plan, title: str, console: Console | None = None) -> None:
    """Print the rows of a plan, its sum, and where its hours are from."""
    console = console or Console()
    print_lines(console, title, "bold")
    for facts in plan.facts:
        shape = " x ".join(map(str, facts.image_shape))
        own = f", {facts.validation:,} to pick the epoch" if facts.validation else ""
        size = f"{facts.train:,} training and {facts.test:,} test images{own}"
        print_lines(console, f"{facts.name}: {size}, {facts.classes} classes, {shape}")
        if facts.assumed:
            print_lines(console, f"  {facts.assumed}", "yellow")
    columns = _columns(plan)
    hidden = without({**columns, _NAME: ["-" * _LEAST_NAME]}, console.width, _SPARE)
    console.print(_table({head: cells for head, cells in columns.items() if head not in hidden}))
    if hidden:
        print_lines(console, f"only with --json for lack of room: {', '.join(hidden)}", "dim")
    for line in summary(plan):
        print_lines(console, line)


def _columns(plan: Plan) -> dict[str, list[str]]:
    timed = plan.seconds is not None
    memories = {each.unit.memory for each in plan.units}
    heads = (_NAME, "|A|", "gradients", "FLOPs", *(_TIMES if timed else ["AutoAttack"]), "memory")
    lines = [_cells(name, units, timed) for name, units in _rows(plan.units)]
    columns = {head: [line[place] for line in lines] for place, head in enumerate(heads)}
    if len(memories) <= 1:
        del columns["memory"]  # the line below the table has it
    return columns


def _table(columns: Mapping[str, Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False, show_edge=False)
    for head in columns:
        if head == _NAME:
            table.add_column(head, overflow="fold", min_width=_LEAST_NAME)
        else:
            table.add_column(head, justify="right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _rows(units: Sequence[PlannedUnit]) -> Iterator[tuple[str, list[PlannedUnit]]]:
    if len(units) <= SHOWN:
        for each in units:
            yield f"{each.unit.name} → {each.unit.target}" if each.unit.kind == HEAD else each.unit.name, [each]
        return
    groups: dict[tuple[str, str, str, int], list[PlannedUnit]] = {}
    for each in units:
        unit = each.unit
        groups.setdefault((unit.kind, unit.facts.name, unit.target, unit.size), []).append(each)
    several = len({unit.unit.facts.name for unit in units}) > 1
    for (kind, data, target, _), group in groups.items():
        words = {ARM: "arm", HEAD: "head"}.get(kind, kind)
        number = f"{len(group)} {words}{'s' if len(group) > 1 else ''}" if kind in (ARM, HEAD) else words
        yield f"{number}{f' → {target}' if target else f' · {data}' if several else ''}", group


def _cells(name: str, units: Sequence[PlannedUnit], timed: bool) -> list[str]:
    flops = [each.flops for each in units if each.flops is not None]
    known = len(flops) == len(units)
    first = units[0].unit
    if first.kind not in (ARM, HEAD):
        size = "–"
    elif first.share in (0, 1):
        size = "all" if first.share else "none"
    else:
        size = percent(first.share)
    memory = max((each.unit.memory or 0 for each in units), default=0)
    cells = [
        name,
        size,
        quantity(sum(each.unit.work.gradients for each in units)),
        quantity(sum(each.total for each in flops)) if known else "?",
    ]
    if timed:
        seconds = [each.seconds for each in units if each.seconds is not None]
        parts = [sum(getattr(each, part) for each in seconds) for part in ("training", "checks", "report", "total")]
        cells += [time_words(part) if part else "–" for part in parts]
    else:
        passes = sum(each.unit.work.passes for each in units)
        asked = sum(each.unit.work.checks.passes + each.unit.work.report.passes for each in units)
        cells.append(percent(asked / passes) if asked else "–")
    return [*cells, f"{quantity(memory, 'B')}" if memory else "?"]
