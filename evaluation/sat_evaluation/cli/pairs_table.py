"""Pairs of arms on the terminal: difference, p-value, and what was found."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sat_evaluation.results.conclusions import Conclusions
from sat_evaluation.results.verdicts import Comparison, Share, p_number

_MOST = 12
"""Pairs that are printed below the table of a study; `sat compare` prints all."""


def print_conclusions(made: Conclusions, console: Console, *, folder: str = "", most: int = _MOST) -> None:
    """Print the pairs of a study, the first `most` of them, and what could not be compared.

    Args:
        made: Of the study.
        console: Where to.
        folder: What `sat compare` is to be given for the others.
        most: Pairs at most.
    """
    if made.comparisons:
        print_pairs(made.comparisons[:most], console)
        if len(made.comparisons) > most:
            more = f"{len(made.comparisons) - most} more pairs: sat compare {folder}"
            console.print(Text(more, style="dim"), soft_wrap=True)
    if made.overall and made.overall.arms > 2:
        console.print(Text(made.overall.sentence, style="dim"))
    for note in made.notes:
        console.print(Text(note), soft_wrap=True)


def print_shares(shares: Sequence[Share], console: Console) -> None:
    """Print what each arm recovers of the robust accuracy that full adversarial training brings."""
    if shares:
        recovered = "; ".join(f"{share.name} {share.text}" for share in shares)
        over = " or ".join(dict.fromkeys(share.over for share in shares))
        console.print(Text(f"recovered of full AT: {recovered}"))
        console.print(Text(f"[ ]: 95 % by Fieller over {over}", style="dim"))


def print_pairs(pairs: Sequence[Comparison], console: Console) -> None:
    """Print a line per pair, and below how they were compared."""
    several = pairs[0].tests > 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("difference", overflow="fold")
    table.add_column("points [ ]", justify="right", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    if several:
        table.add_column("Holm", justify="right", no_wrap=True)
    table.add_column("found")
    table.add_column("could see", justify="right", no_wrap=True)
    for pair in pairs:
        numbers = [p_number(pair.estimate.p), *([p_number(pair.adjusted)] if several else [])]
        found, visible = "yes" if pair.found else "no", f"{100 * pair.estimate.visible:.1f}"
        cells = (f"{pair.one} - {pair.other}", str(pair.estimate.difference), *numbers, found, visible)
        table.add_row(*map(Text, cells))
    console.print(table)
    for note in _notes(pairs):
        console.print(Text(note, style="dim"))


def _notes(pairs: Sequence[Comparison]) -> list[str]:
    ways: dict[tuple[str, str], list[Comparison]] = {}
    for pair in pairs:
        ways.setdefault((pair.estimate.how, pair.estimate.over), []).append(pair)
    notes = []
    for (how, over), same in ways.items():
        counts = sorted({n for pair in same for n in pair.estimate.n})
        n = f"n = {counts[0]:,}" + (f" to {counts[-1]:,}" if len(counts) > 1 else "")
        which = f"{len(same)} of {len(pairs)}: " if len(ways) > 1 else ""
        notes.append(f"{which}{pairs[0].measure} accuracy, {n} images; {how}; [ ]: 95 % over {over}")
    what = "p" if pairs[0].tests == 1 else f"Holm, which is p for {pairs[0].tests} pairs together,"
    notes.append(f"found: {what} is below 5 %; could see: points that are found with a chance of 80 %")
    return notes
