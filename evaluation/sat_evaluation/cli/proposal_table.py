"""What fits into some hours, as a table on the terminal with a recommendation and the settings to copy."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sat_core.tables import parse_setting
from sat_evaluation.cli.lines import GAP, print_lines, without
from sat_evaluation.plan.plan import Plan
from sat_evaluation.plan.planner import ENOUGH, Option, Proposal
from sat_evaluation.plan.recovery import Recovery, RecoveryCurve
from sat_evaluation.plan.words import assumed_lines, quantity, time_lines
from sat_evaluation.results.text import duration, percent

_HEADS = ("", "|A|", "seeds", "level", "recovers", "95 % interval", "in all", "baselines")
_NUMBERS = ("|A|", "seeds", "recovers", "95 % interval", "in all", "baselines")
_SPARE = ("baselines", "95 % interval")
"""Columns that go where the terminal is too narrow, the first one first."""


def print_proposal(
    proposal: Proposal,
    study: str,
    plan: Plan | None = None,
    console: Console | None = None,
    given: Sequence[str] = (),
) -> None:
    """Print a row for each choice that fits, which one is recommended and why, and what the numbers are from.

    Args:
        proposal: What fits.
        study: File of the study, for the command to copy.
        plan: Of what is recommended, for where its hours are from.
        console: Where to print.
        given: Options of ``sat plan`` that the command needs, too, as ``--set``.
    """
    console = console or Console()
    lines = [_cells(option, option == proposal.recommended) for option in proposal.options]
    columns = {head: [line[place] for line in lines] for place, head in enumerate(_HEADS)}
    hidden = without(columns, console.width, _SPARE)
    print_lines(console, _title(proposal), "bold")
    for line in assumed_lines(plan) if plan is not None else ():
        print_lines(console, line, "yellow")
    console.print(_table({head: cells for head, cells in columns.items() if head not in hidden}, console.width))
    for line in _lines(proposal):
        print_lines(console, line)
    left_out = [f"only with --json for lack of room: {', '.join(hidden)}"] if hidden else []
    for line in (*left_out, *_notes(proposal), *(time_lines(plan) if plan is not None else ())):
        print_lines(console, line, "dim")
    console.print()
    for line in command_lines(proposal, study, console.width, given):
        console.print(Text(line), soft_wrap=True)


def _table(columns: Mapping[str, Sequence[str]], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, GAP - 1, 0, 0), show_edge=False)
    whole = not without(columns, width, columns)  # narrower terminals break cells between words
    for head in columns:
        side: Literal["left", "right"] = "right" if head in _NUMBERS else "left"
        table.add_column(head, justify=side, overflow="fold", no_wrap=whole)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table


def command_lines(proposal: Proposal, study: str, width: int, given: Sequence[str] = ()) -> list[str]:
    """Return `command` for a shell; where it is longer than `width`, a line for each of its options."""
    whole = command(proposal, study, given)
    if len(whole) <= width:
        return [whole]
    first, *options = whole.split(" --")
    return [f"{first} \\", *(f"  --{each} \\" for each in options[:-1]), f"  --{options[-1]}"]


def command(proposal: Proposal, study: str, given: Sequence[str] = ()) -> str:
    """Return the command that runs what is recommended; arguments as in `print_proposal`."""
    settings = proposal.settings(proposal.recommended)
    words = [word for key, value in settings.items() for word in ("--set", _setting(key, value))]
    return shlex.join(["sat", "run", study, *given, *words, "--out", "runs/planned"])


def _title(proposal: Proposal) -> str:
    bounds = []
    if proposal.hours is not None:
        bounds.append(f"in {duration(3600 * proposal.hours)}")
    if proposal.of_full_at is not None:
        bounds.append(f"with {percent(proposal.of_full_at)} of full AT's gradient evaluations")
    return f"What fits {' and '.join(bounds)}"


def _cells(option: Option, recommended: bool) -> tuple[str, ...]:
    return (
        "→" if recommended else "",
        size_text(option.share),
        str(option.seeds),
        option.level,
        f"{percent(option.recovery.value)}{'*' if option.recovery.extrapolated else ''}",
        interval_text(option.recovery),
        _cost(option.hours, option.evaluations),
        _cost(option.baseline_hours, option.baseline_evaluations),
    )


def size_text(share: float) -> str:
    """Return |A|/N in percent, with a digit only where it is no whole number."""
    return percent(share, 0 if abs(100 * share - round(100 * share)) < 0.05 else 1)


def interval_text(recovery: Recovery) -> str:
    """Return the interval of a recovery in percent, or that it is not known."""
    if recovery.low is None or recovery.high is None:
        return "not known"
    return f"{100 * recovery.low:.0f} to {100 * recovery.high:.0f}"


def _lines(proposal: Proposal) -> list[str]:
    chosen = proposal.recommended
    lines = [f"→ {size_text(chosen.share)} in A, {_seeds(chosen)}, {chosen.level}: {proposal.reason}"]
    if proposal.enough is not None:
        less = proposal.enough
        lines.append(
            f"  |A| = {size_text(less.share)} is the smallest that is expected to recover {percent(ENOUGH)}: "
            f"{_cost(less.hours, less.evaluations)} with the same seeds and level"
        )
    return lines


def _notes(proposal: Proposal) -> list[str]:
    evidence, share = proposal.evidence, proposal.recommended.share
    lines = [
        "recovers: of what full AT gains over plain training in robust accuracy",
        "in all: ranking, A, and the baselines that a comparison needs, plain training and full AT; all seeds",
    ]
    if proposal.recommended.hours is None:
        lines.append(
            "  evaluations of the network, as no hours are known: gradients in training, queries of AutoAttack"
        )
    if any(option.recovery.extrapolated for option in proposal.options):
        lines.append("*: a smaller A, or a larger one, than any that was measured")
    if evidence.same:
        lines.append("interval: for one more training on this data set, from")
        lines += _curves(evidence.same, share)
        if evidence.elsewhere is not None:
            alone = evidence.elsewhere.at(share)
            expected = f"{percent(alone.value)} ({interval_text(alone)})"
            lines.append(f"and from other data sets, n = {len(evidence.others)}, which alone predict {expected}:")
    else:
        lines.append(f"interval: for one more data set, from the spread of n = {len(evidence.others)}:")
    return [*lines, *_curves(evidence.others, share), *evidence.notes]


def _curves(curves: Sequence[RecoveryCurve], share: float) -> list[str]:
    """Robust accuracies at the arms nearest to `share`, a line for each curve, with the source at the last of its."""
    lines = []
    for number, curve in enumerate(curves):
        near = int(np.argmin(np.abs(np.array(curve.shares) - share)))
        numbers = f"{100 * curve.robust[near]:.1f} of {100 * curve.full:.1f} % with {size_text(curve.shares[near])}"
        last = number + 1 == len(curves) or curves[number + 1].source != curve.source
        lines.append(f"  {curve.name} {numbers}")
        if last:
            lines.append(f"  from {curve.source}")
    return lines


def _cost(hours: float | None, evaluations: float | None) -> str:
    if hours is None:
        return "?" if evaluations is None else quantity(evaluations)
    return duration(3600 * hours)


def _seeds(option: Option) -> str:
    return "1 seed" if option.seeds == 1 else f"{option.seeds} seeds"


def _setting(key: str, value: Any) -> str:
    """Return the words that `sat_core.tables.parse_setting` reads as this setting; text stands there as it is."""
    plain = f"{key}={value}"
    return plain if parse_setting(plain)[1] == value else f"{key}={json.dumps(value, ensure_ascii=False)}"
