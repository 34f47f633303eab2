"""Rows as groups of seeds and as curves over |A|, with the baselines that belong to each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any, final

import attrs

from sat_core.accuracy import Accuracy
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import shown


@final
@attrs.frozen
class Group:
    """Arms that differ only in training.seed, one per seed."""

    rows: tuple[Row, ...]

    def mean(self, name: str) -> float:
        """Mean of a field of `Row` over the seeds."""
        return fmean(getattr(row, name) for row in self.rows)

    def accuracy(self, name: str) -> Accuracy:
        """`clean` or `robust`: of the one seed with its interval, or the mean with the range over seeds."""
        found = self.part(name)
        if found is None:
            raise KeyError(name)
        return found

    def part(self, name: str) -> Accuracy | None:
        """The same of any accuracy, such as `robust_a`; None if a seed has none."""
        found: list[Accuracy | None] = [getattr(row, name) for row in self.rows]
        if len(found) == 1:
            return found[0]
        values = [a.value for a in found if a is not None]
        return Accuracy(fmean(values), self.rows[0].n, min(values), max(values)) if len(values) == len(found) else None

    def on_part_of(self, other: Group, name: str) -> float | None:
        """Accuracy of these arms on the A or the B of `other`, where A is made of classes: what a baseline reaches on
        the same test images. name: as `robust_b`. Mean over the seeds of both; None where a part has no test image.
        """
        accuracy, _, part = name.partition("_")
        values = []
        for theirs in other.rows:
            classes = [c for c in range(len(theirs.class_names)) if (c in theirs.classes) == (part == "a")]
            values += [row.over(accuracy, classes) for row in self.rows]
        known = [value for value in values if value is not None]
        return fmean(known) if len(known) == len(values) else None


@final
@attrs.frozen
class Series:
    """One curve: the groups that differ only in |A|, smallest first, and the baselines that belong to them.

    settings: ``key = value`` for those in which the curves of a study differ, empty if there are none.
    """

    strategy: str
    settings: str
    groups: tuple[Group, ...]
    plain: Group | None
    full: Group | None

    @property
    def points(self) -> tuple[Group, ...]:
        """The groups between their baselines."""
        return tuple(group for group in (self.plain, *self.groups, self.full) if group is not None)


def group(rows: Iterable[Row]) -> list[Group]:
    """Rows that differ only in training.seed together, in order of appearance; of equal ones the first counts."""
    found: dict[str, dict[int, Row]] = {}
    for row in rows:
        chosen = row.classes if row.strategy == "listed" and not row.baseline else ()
        key = json.dumps([row.settings, row.size if row.baseline else row.units, chosen])
        found.setdefault(key, {}).setdefault(row.spec["training.seed"], row)
    return [Group(tuple(seeds.values())) for seeds in found.values()]


def series(rows: Sequence[Row]) -> list[Series]:
    """The curves over |A|; a baseline belongs to every curve whose settings it shares."""
    groups = group(rows)
    curves: dict[str, list[Group]] = {}
    for g in groups:
        if not g.rows[0].baseline:
            curves.setdefault(json.dumps(g.rows[0].settings), []).append(g)
    keys = varied(rows)
    result = []
    for found in curves.values():
        first = found[0].rows[0]
        shared = {
            g.rows[0].baseline: g for g in groups if g.rows[0].baseline and _within(g.rows[0].settings, first.settings)
        }
        settings = ", ".join(f"{key} = {shown(first.settings.get(key))}" for key in keys)
        ordered = tuple(sorted(found, key=lambda g: g.rows[0].share))
        result.append(Series(first.strategy, settings, ordered, shared.get(Baseline.PLAIN), shared.get(Baseline.FULL)))
    return result


def _within(part: dict[str, Any], whole: dict[str, Any]) -> bool:
    return all(key in whole and whole[key] == value for key, value in part.items())


def varied(rows: Sequence[Row]) -> list[str]:
    """Settings besides the strategy in which arms differ, without those that follow from one already there."""
    tables = [{key: repr(value) for key, value in row.settings.items()} for row in rows]
    kept: list[str] = []
    for key in dict.fromkeys(key for table in tables for key in table if key != "subset.strategy"):
        having = [table for table in tables if key in table]
        follows = any(
            len({(t.get(other), t[key]) for t in having}) == len({t.get(other) for t in having}) for other in kept
        )
        if len({t[key] for t in having}) > 1 and not follows:
            kept.append(key)
    return kept


def spread(groups: Iterable[Group]) -> str:
    """What the intervals of these groups are, in words."""
    seeds = sorted({len(g.rows) for g in groups})
    several = f"mean, lowest and highest of {'–'.join(str(s) for s in seeds if s > 1)} seeds"
    return " or ".join(["95 % Wilson interval"] * (seeds[0] == 1) + [several] * (seeds[-1] > 1))


def listed_classes(row: Row) -> str:
    """The names of the classes in A if they were listed by hand, else empty."""
    return ", ".join(shown(row.class_names[c], 16) for c in row.classes) if row.strategy == "listed" else ""
