"""How arms differ on the same test images: paired tests, and what each arm recovers of full adversarial training."""

from __future__ import annotations

from collections.abc import Iterator

from sat_evaluation.report.blocks import Note
from sat_evaluation.report.gather import Run
from sat_evaluation.report.table import Cell, Table
from sat_evaluation.results.conclusions import Conclusions
from sat_evaluation.results.text import percent, shown
from sat_evaluation.results.verdicts import Comparison, Share, p_number

_NOTES = 5
"""Lines on what could not be compared; the others are counted."""


def differences(run: Run, found: Conclusions) -> Iterator[Table | Note]:
    """Make the tables of a run's pairs of arms, and of the shares that they recover.

    Args:
        run: With at least one arm.
        found: What the test images say of its arms.
    """
    if found.overall:
        yield Note(text=_sentence(found.overall.sentence))
    name = run.name.replace("/", "-")
    if found.comparisons:
        records = found.records()
        how = " / ".join(dict.fromkeys(each.estimate.how for each in found.comparisons))
        yield Table(
            heads=("arm", "against", "robust %", "against %", "difference, points", "p", "p adjusted", "conclusion"),
            rows=tuple(map(_pair, found.comparisons)),
            columns=tuple(records[0]),
            lines=tuple(tuple(record.values()) for record in records),
            file=f"{name}-pairs.csv",
            caption=f"Pairs of arms on the test images that they have in common; [ ] 95 % interval. {how}. Adjusted: "
            f"Holm's correction for {len(records):,} {'pairs' if len(records) > 1 else 'pair'}; a difference is found "
            "below 0.05. Could have seen: the difference that is found with a chance of 80 %.",
            title="Pair by pair",
        )
    if found.shares:
        yield _recovered(found.shares, name)
    for text in found.notes[:_NOTES]:
        # a page that is sent around must not have the folders of whoever ran it
        yield Note(text=_sentence(shown(text.replace(f"{run.folder.path}/", ""), 300)), small=True)
    if len(found.notes) > _NOTES:
        yield Note(text=f"And {len(found.notes) - _NOTES:,} more lines like these.", small=True)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _pair(one: Comparison) -> tuple[Cell, ...]:
    found = one.estimate
    value, low, high = (100 * end for end in (found.difference.value, found.difference.low, found.difference.high))
    return (
        (one.one, one.one),
        (one.other, one.other),
        (f"{100 * one.one_value:.1f}", one.one_value),
        (f"{100 * one.other_value:.1f}", one.other_value),
        (f"{value:+.1f} [{low:+.1f}, {high:+.1f}]", value),
        (p_number(found.p), found.p),
        (p_number(one.adjusted), one.adjusted),
        (one.verdict, one.verdict),
    )


def _recovered(shares: tuple[Share, ...], name: str) -> Table:
    over = " / ".join(dict.fromkeys(share.over for share in shares))
    intervals = [share.recovered.interval for share in shares]
    return Table(
        heads=("arm", "|A| %", "recovered"),
        rows=tuple(
            (
                (share.name, share.name),
                (percent(share.row.share), share.row.share),
                # NaN has no place in an order
                (share.text, interval.value if interval.value == interval.value else -1e9),
            )
            for share, interval in zip(shares, intervals, strict=True)
        ),
        columns=("arm", "share_of_examples", "recovered", "low", "high", "n"),
        lines=tuple(
            (share.name, share.row.share, interval.value, interval.low, interval.high, share.recovered.n)
            for share, interval in zip(shares, intervals, strict=True)
        ),
        file=f"{name}-recovered.csv",
        caption="What an arm recovers of the robust accuracy that full adversarial training brings over plain one; "
        f"[ ] 95 % interval over {over} (Fieller).",
        title="Share of full adversarial training",
    )
