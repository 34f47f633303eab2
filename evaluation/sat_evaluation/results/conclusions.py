"""What may be concluded from a study: its pairs of arms, all arms at once, and what each recovers of full AT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, final

import attrs

from sat_core.errors import DataError
from sat_core.run_folder import RunFolder
from sat_evaluation.results.baseline import Baseline
from sat_evaluation.results.curves import Group, group, listed_classes, method_name, series, varied
from sat_evaluation.results.pairs import GroupFlags, line_up, read_flags
from sat_evaluation.results.rows import Row
from sat_evaluation.results.text import percent, shown
from sat_evaluation.results.verdicts import Comparison, Overall, Share
from sat_evaluation.statistics.cochran import cochran_q
from sat_evaluation.statistics.estimate import Estimate, estimate
from sat_evaluation.statistics.holm import holm
from sat_evaluation.statistics.mcnemar import LEVEL
from sat_evaluation.statistics.recovered import recovered
from sat_evaluation.statistics.variance import means

LIMIT = 300
"""Pairs that are compared; beyond, arms of the same |A| are compared with the baselines alone."""
_NAMED = 3
"""Groups without flags, or ways to measure, that are named each."""
Key = tuple[str, ...]
"""Names of the arms of a group."""


@final
@attrs.frozen(kw_only=True)
class Conclusions:
    """What the test images say of the arms of a study.

    Attributes:
        measure: ``robust`` or ``clean``.
        comparisons: Pairs of arms: each with the baselines of its curve, and those of the same |A| with each other.
        shares: What each arm recovers of the robust accuracy of full adversarial training, where both baselines are
            there.
        overall: Whether the arms differ at all; None of less than two, or where they have no images, no threat model or
            no attacks in common.
        notes: What could not be compared and why, in lines.
    """

    measure: str
    comparisons: tuple[Comparison, ...]
    shares: tuple[Share, ...]
    overall: Overall | None
    notes: tuple[str, ...]

    def share(self, group: Group) -> Share | None:
        """Return what the arms of a group recover; None where it is not known."""
        return next((share for share in self.shares if share.arms == key_of(group)), None)

    def records(self) -> list[dict[str, Any]]:
        """Return one record per pair for CSV and JSON."""
        return [comparison.record() for comparison in self.comparisons]


def conclude(rows: Sequence[Row], folder: RunFolder, *, measure: str = "robust") -> Conclusions:
    """Compare the arms of a study on the test images that they have in common.

    Args:
        rows: Of the finished arms, as `sat_evaluation.results.rows.collect` returns them.
        folder: Of the study or transfer. An arm whose flags cannot be read is left out, and a note says so. Of more
            than `LIMIT` groups of seeds, only those of the compared pairs are read.
        measure: ``robust`` or ``clean``.
    """
    groups, names = {key_of(g): g for g in group(rows)}, labels(rows)
    notes = list[str]()
    wanted = _pairs(rows, notes, measure)
    kinds = dict.fromkeys(_measured(row, measure) for row in rows)
    if len(kinds) > 1:
        notes.append(f"not compared with each other: arms on {' / '.join(map(', '.join, [*kinds][:_NAMED]))}")
    # thousands of arms have thousands of files: those of the pairs are read, which are LIMIT at most
    every = len(groups) <= LIMIT
    needed = {*groups} if every else {key for pair in wanted for key in pair}
    needed |= {key for _, *baselines in _triples(rows) for key in baselines}
    flags, missing = dict[Key, GroupFlags](), list[tuple[str, DataError]]()
    for key in filter(needed.__contains__, groups):
        try:
            flags[key] = read_flags(groups[key], folder)
        except DataError as error:
            missing.append((names[key], error))
    notes += _missing(missing, len(groups))
    pairs = [(one, other) for one, other in wanted if one in flags and other in flags]
    comparisons = compare_all(
        [(flags[one], flags[other]) for one, other in pairs],
        [(names[one], names[other]) for one, other in pairs],
        measure,
    )
    shares = []
    if measure == "robust":
        for some, plain, full in _triples(rows):
            if {some, plain, full} <= {*flags}:
                made = _share(names[some], flags[plain], flags[some], flags[full])
                shares += [made] if made else []
    return Conclusions(
        measure=measure,
        comparisons=tuple(comparisons),
        shares=tuple(shares),
        overall=_overall(list(flags.values()), measure) if every and len(kinds) == 1 else None,
        notes=tuple(notes),
    )


def compare_all(
    pairs: Sequence[tuple[GroupFlags, GroupFlags]], names: Sequence[tuple[str, str]], measure: str, *, of: int = 1
) -> list[Comparison]:
    """Compare pairs of groups, and correct their p-values for the number of pairs (Holm).

    What a pair in which nothing was found could have shown is that at the level of this correction: 5 % over the number
    of pairs in which nothing was found, as its own p-value would have been the lowest of theirs.

    Args:
        pairs: Flags of two groups each. Where the two have no image in common, they are compared without pairs.
        names: What the two of each pair are called.
        measure: ``robust`` or ``clean``.
        of: From how many each pair was picked by its accuracy; p-values are multiplied by that (Bonferroni), too.
    """
    lined = [line_up(pair) for pair in pairs]
    flags = [both or pair for both, pair in zip(lined, pairs, strict=True)]

    def estimated(number: int, level: float = LEVEL) -> Estimate:
        one, other = flags[number]
        return estimate(one.of(measure), other.of(measure), same=lined[number] is not None, level=level)

    estimates = [estimated(number) for number in range(len(pairs))]
    adjusted = [min(1.0, of * p) for p in holm([each.p for each in estimates])]
    tests = of * sum(p >= LEVEL for p in adjusted)
    if tests > 1:
        for number, p in enumerate(adjusted):
            if p >= LEVEL:
                estimates[number] = estimated(number, LEVEL / tests)
    return [
        Comparison(
            one=called[0],
            other=called[1],
            one_arms=key_of(one.group),
            other_arms=key_of(other.group),
            measure=measure,
            one_value=float(one.of(measure).mean()),
            other_value=float(other.of(measure).mean()),
            estimate=each,
            adjusted=p,
            tests=of * len(pairs),
        )
        for (one, other), called, each, p in zip(flags, names, estimates, adjusted, strict=True)
    ]


def recovered_share(plain: Group, some: Group, full: Group, folder: RunFolder) -> Share | None:
    """Return what arms recover of the robust accuracy of full AT; None where flags are missing or damaged."""
    try:
        return _share("", *(read_flags(g, folder) for g in (plain, some, full)))
    except DataError:
        return None


def compare_to(one: Group, other: Group, folder: RunFolder, *, of: int = 1) -> Comparison | None:
    """Compare the robust accuracies of two groups alone; None where flags are missing or damaged.

    Args:
        one, other: The groups.
        folder: Of their study.
        of: From how many pairs this one was picked by its accuracy; p is multiplied by that (Bonferroni), as the best
            of many is good by chance, too.
    """
    try:
        pair = read_flags(one, folder), read_flags(other, folder)
    except DataError:
        return None
    return compare_all([pair], [(method_name(one.rows[0], ()), method_name(other.rows[0], ()))], "robust", of=of)[0]


def _share(name: str, plain: GroupFlags, some: GroupFlags, full: GroupFlags) -> Share | None:
    lined = line_up([plain, some, full])
    if lined is None:
        return None
    found = recovered(*(each.robust for each in lined))
    return Share(name=name, arms=key_of(some.group), row=some.group.rows[0], recovered=found)


def _overall(flags: Sequence[GroupFlags], measure: str) -> Overall | None:
    lined = line_up(flags) if len(flags) > 1 else None
    if lined is None:
        return None
    tables = [each.of(measure) for each in lined]
    if all(len(table) == 1 for table in tables):
        test = cochran_q([table[0] for table in tables])
        return Overall(how="Cochran's Q", arms=test.arms, n=test.n, statistic=test.q, p=test.p, measure=measure)
    every = means(tables)
    statistic, _, _, p = every.overall()
    how = "F over images and seeds" if every.over_seeds else "F over images"
    return Overall(how=how, arms=len(tables), n=every.n, statistic=statistic, p=p, measure=measure)


def key_of(group: Group) -> Key:
    """Return the names of the arms of a group."""
    return tuple(row.arm for row in group.rows)


def labels(rows: Sequence[Row]) -> dict[Key, str]:
    """Return what sentences call each group of seeds: method and |A|, or the classes in A.

    Where two are called alike, the first arm stands behind.
    """
    keys, names = varied(rows), dict[Key, str]()
    groups = group(rows)
    for g in groups:
        row = g.rows[0]
        name = method_name(row, keys)
        if not row.baseline and not listed_classes(row):
            method, comma, rest = name.partition(", ")
            name = f"{method} {percent(row.share)}{comma}{rest}"
        names[key_of(g)] = name
    count = Counter(names.values())
    return {key: f"{name} ({shown(key[0])})" if count[name] > 1 else name for key, name in names.items()}


def _triples(rows: Sequence[Row]) -> Iterator[tuple[Key, Key, Key]]:
    """Each group of a curve with its plain and its full training."""
    for curve in series(rows):
        if curve.plain and curve.full:
            for g in curve.groups:
                yield key_of(g), key_of(curve.plain), key_of(curve.full)


def _measured(row: Row, measure: str) -> tuple[str, ...]:
    """What an accuracy is on: of different ones, the difference says nothing of the trainings."""
    return (row.data,) if measure == "clean" else (row.data, row.threat, row.level)


def _pairs(rows: Sequence[Row], notes: list[str], measure: str) -> list[tuple[Key, Key]]:
    """Which groups are compared; the first is the one that a sentence is about."""
    groups, pairs = group(rows), dict[tuple[Key, Key], None]()
    for curve in series(rows):
        for baseline in filter(None, (curve.full, curve.plain)):
            pairs |= dict.fromkeys((key_of(g), key_of(baseline)) for g in curve.groups)
    plain, full = ([g for g in groups if g.rows[0].baseline is which] for which in Baseline)
    if len(plain) == len(full) == 1 and len({_measured(g.rows[0], measure) for g in (*plain, *full)}) == 1:
        pairs[key_of(full[0]), key_of(plain[0])] = None
    by_size: dict[tuple[str | int, ...], list[Group]] = {}
    for g in groups:
        row = g.rows[0]
        size = row.size if row.baseline else -row.units
        by_size.setdefault((row.kind, size, *_measured(row, measure)), []).append(g)
    alike = sum(len(same) * (len(same) - 1) // 2 for same in by_size.values())
    if alike and len(pairs) + alike > LIMIT:
        notes.append(f"{alike:,} pairs of arms with the same |A| are not compared; `sat compare RUN ARM ARM` does it")
    else:
        pairs |= dict.fromkeys((key_of(a), key_of(b)) for same in by_size.values() for a, b in combinations(same, 2))
    if len(pairs) > LIMIT:
        notes.append(f"{len(pairs) - LIMIT:,} pairs with baselines are not compared")
    return list(pairs)[:LIMIT]


def _missing(errors: Sequence[tuple[str, DataError]], total: int) -> list[str]:
    """Which groups are not compared, in a line each, or of many in one."""
    lines = [f"{name} is not compared, only its Wilson interval is known: {_line(error)}" for name, error in errors]
    if len(lines) <= _NAMED:
        return lines
    return [
        f"{len(lines):,} of {total:,} are not compared, only their Wilson intervals are known; "
        f"{errors[0][0]}: {_line(errors[0][1])}"
    ]


def _line(error: DataError) -> str:
    return shown("; ".join(str(error).splitlines()), 300)
