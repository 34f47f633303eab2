"""A study in a sentence or two, and its title in one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sat_core.run_folder import RunFolder
from sat_evaluation.results.conclusions import compare_to, recovered_share
from sat_evaluation.results.curves import Group, listed_classes, series
from sat_evaluation.results.rows import Row, attacks_of, reported_levels
from sat_evaluation.results.text import percent, public_name, shown
from sat_evaluation.results.verdicts import more, p_text, seen

_ALIKE = 0.02
"""Shares that differ by less count as the same: classes are not all equally large."""


def headline(rows: Sequence[Row], folder: RunFolder | None = None) -> str:
    """Say what attacking about half of the examples brings; empty without both baselines.

    If some arms were evaluated at a stronger level than all are, it is about these if they suffice. It is about the
    strategy `hardest` if that was run, else the first one, at the share nearest to 0.5. Of several subsets of that
    share, such as single classes, it takes the most robust one.
    """
    for level in reported_levels(rows):
        reported = [at for row in rows if (at := row.at(level)) is not None]
        if sentence := _sentence(reported, folder, say_attacks=True):
            return sentence
    # standard is what robust accuracy means without more words
    unusual = attacks_of(rows) != "AutoAttack standard" or bool(reported_levels(rows))
    return _sentence(rows, folder, say_attacks=unusual)


def _sentence(rows: Sequence[Row], folder: RunFolder | None, *, say_attacks: bool) -> str:
    curves = [(c, c.plain, c.full) for c in series(rows) if c.plain and c.full]
    if not curves:
        return ""
    curve, plain, full = next((c for c in curves if c[0].chosen == "hardest"), curves[0])
    nearest = min((group.rows[0].share for group in curve.groups), key=lambda share: abs(share - 0.5))
    alike = [group for group in curve.groups if abs(group.rows[0].share - nearest) < _ALIKE]
    half = max(alike, key=lambda group: group.accuracy("robust").value)
    lowest, some, highest = (g.accuracy("robust").value for g in (plain, half, full))
    row = half.rows[0]
    best = f"the best of {len(alike)} subsets" if len(alike) > 1 else ""
    how = ", ".join(filter(None, [listed_classes(row) or curve.chosen, best, curve.settings]))
    against_full = _against_full(half, full, folder, len(alike))
    seeds = f", means of {len(half.rows)} seeds" if len(half.rows) > 1 else ""
    whose = " of the source" if row.source else ""
    # of those of the same attack on all examples; the unit of the rows may be a dearer attack's
    cost = f"{percent(half.mean('cost') / full.mean('cost'))} of the gradient evaluations{whose}"
    if row.cost_with_ranking > row.cost:
        cost += f" ({percent(half.mean('cost_with_ranking') / full.mean('cost'))} with the ranking)"
    if say_attacks:
        cost += f"; robust accuracy by {row.attacks}"
    # nothing is recovered: the part would be negative, or divided by 0
    if some < lowest or highest <= lowest:
        return (
            f"{percent(row.share)} of the examples ({how}) bring {percent(some, 1)} robust accuracy, all of them "
            f"{percent(highest, 1)}, none {percent(lowest, 1)}{seeds}, at {cost}.{against_full}"
        )
    return (
        f"{percent(row.share)} of the examples ({how}) recover {_recovered(plain, half, full, folder)} of the "
        f"robust accuracy that attacking all of them brings ({percent(some, 1)} against {percent(highest, 1)}, "
        f"{percent(lowest, 1)} without{seeds}), at {cost}.{against_full}"
    )


def _recovered(plain: Group, some: Group, full: Group, folder: RunFolder | None) -> str:
    """The share of full AT that is recovered, with its interval where the flags of the images are at hand."""
    lowest, reached, highest = (g.accuracy("robust").value for g in (plain, some, full))
    value = percent((reached - lowest) / (highest - lowest))
    if folder is None:
        return value
    share = recovered_share(plain, some, full, folder)
    if share is None:
        return f"{value} (no interval: flags of test images are missing)"
    return f"{share.text} (95 % interval over {share.over})" if share.recovered.interval.bounded else share.text


def _against_full(some: Group, full: Group, folder: RunFolder | None, best_of: int) -> str:
    """Whether full AT is better, as a sentence; empty where the flags of the images are not at hand."""
    found = compare_to(full, some, folder, of=best_of) if folder is not None else None
    if found is None:
        return ""
    if not found.found:
        return f" No difference to full AT found; {seen(found.estimate)}."
    adjusted = f", adjusted for {best_of} subsets" if best_of > 1 else ""
    return f" Full AT is {more(found.estimate.difference)} robust ({p_text(found.adjusted)}{adjusted})."


def title(rows: Sequence[Row]) -> str:
    """Return data set, model, threat model, unusual precision, attacks and number of test examples in one line."""
    counts = sorted({row.n for row in rows})
    n = f"n = {counts[0]:,}" + (f" to {counts[-1]:,}" if len(counts) > 1 else "")
    return " · ".join([trained(rows), _joined(row.attacks for row in rows), n])


def trained(rows: Sequence[Row]) -> str:
    """Return data set, model, threat model and unusual precision in one line, whatever they were attacked by."""
    precision = _joined(row.spec["training.precision"] for row in rows)
    return " · ".join(
        [
            _joined(" → ".join(map(public_name, filter(None, (row.source, row.data)))) for row in rows),
            _joined(row.spec["model.name"] for row in rows),
            _joined(row.threat for row in rows),
            *([] if precision == "float32" else [f"trained in {precision}"]),
        ]
    )


def _joined(values: Iterable[str]) -> str:
    return " / ".join(shown(value, 80) for value in dict.fromkeys(values))
