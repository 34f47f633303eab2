"""A plan in lines of text."""

from __future__ import annotations

from sat_evaluation.plan.plan import Plan
from sat_evaluation.plan.rates import HISTORY, MEASURED, TABLE
from sat_evaluation.plan.units import ARM, HEAD
from sat_evaluation.results.text import percent, shown

_SOURCES = {MEASURED: "a measurement", HISTORY: "earlier runs", TABLE: "the table of cards"}


def summary(plan: Plan) -> list[str]:
    """Return the sum of a plan, and where its hours are from, in lines."""
    arms = sum(each.unit.kind == ARM for each in plan.units)
    heads = sum(each.unit.kind == HEAD for each in plan.units)
    rankings = len(plan.units) - arms - heads
    parts = [
        f"{number:,} {word}{'s' if number != 1 else ''}"
        for number, word in ((rankings, "ranking"), (arms, "arm"), (heads, "head"))
        if number
    ]
    asked = f", {quantity(round(plan.queries))} queries of AutoAttack" if plan.queries else ""
    lines = [f"in all: {', '.join(parts)}; {plan.gradients:,} gradient evaluations{asked}"]
    if plan.flops is not None:
        flops = plan.flops
        text = f"{quantity(flops.total, 'FLOP')} of training"
        if flops.autoattack:
            text = (
                f"{quantity(flops.total, 'FLOP')}: {quantity(flops.training, 'FLOP')} of training, "
                f"{quantity(flops.autoattack, 'FLOP')} of AutoAttack ({percent(flops.autoattack / flops.total)})"
            )
        lines.append(text)
    if plan.memory:
        largest = "a training step or a batch of AutoAttack" if plan.queries else "a training step"
        lines.append(f"memory: {quantity(plan.memory, 'B')} for {largest}, beside what the framework and the data take")
        if plan.room and plan.memory > plan.room:
            lines.append(f"more than the {quantity(plan.room, 'B')} of this card: training.micro_batches saves memory")
    return [*lines, *time_lines(plan)]


def assumed_lines(plan: Plan) -> list[str]:
    """Return what was taken for granted of data that are not there, a line for each data set."""
    return [facts.assumed for facts in plan.facts if facts.assumed]


def time_lines(plan: Plan) -> list[str]:
    """Return the expected time and where it is from, or how to come by one."""
    networks = dict.fromkeys(each.unit.spec.model.name for each in plan.units if each.flops is None)
    unknown = "FLOPs and memory" if plan.wall_seconds is not None else "FLOPs, memory and hours"
    lines = [
        f"{unknown}: not known of {shown(name, 60)}; `sat plan STUDY --measure` measures it, for --card too"
        for name in networks
    ]
    if plan.wall_seconds is not None:
        return [*lines, f"expected: {expected_words(plan)}", *source_lines(plan)]
    return lines or ["hours: nothing is known of this device yet; `sat plan STUDY --measure` measures it"]


def expected_words(plan: Plan) -> str:
    """Return the expected time of a plan that has one, and AutoAttack's share; empty where nothing is known."""
    if plan.wall_seconds is None or plan.factor is None:
        return ""
    side = f", {plan.jobs} side by side" if plan.jobs > 1 else ""
    share = f"; AutoAttack {percent(plan.autoattack)} of the work" if plan.autoattack else ""
    low, high = plan.wall_seconds / plan.factor, plan.wall_seconds * plan.factor
    return f"{time_words(plan.wall_seconds)}{side} (between {time_words(low)} and {time_words(high)}){share}"


def source_lines(plan: Plan) -> list[str]:
    """Return where the hours of a plan are from, a line for each of at most three sources."""
    return [
        f"from {_SOURCES[rates.source]}, {rates.detail}, within a factor of {rates.factor:.3g}"
        for rates in plan.rates[:3]
    ]


def quantity(value: float, unit: str = "") -> str:
    """Return a number with a prefix.

    >>> quantity(4.4e20, "FLOP"), quantity(3.2e7, "B"), quantity(12, "B")
    ('440 EFLOP', '32 MB', '12 B')
    """
    for power, prefix in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10**power:
            number = value / 10**power
            return f"{number:.0f} {prefix}{unit}" if number >= 9.95 else f"{number:.1f} {prefix}{unit}"
    return f"{value:.0f} {unit}".strip()


def time_words(seconds: float) -> str:
    """Return a time in its own size.

    >>> time_words(3.2), time_words(400), time_words(40000), time_words(4e6)
    ('3.2 s', '6.7 min', '11 h', '46 days')
    """
    for size, word, limit in ((1, "s", 90), (60, "min", 90), (3600, "h", 100)):
        if seconds < size * limit:
            return f"{seconds / size:.1f} {word}" if seconds / size < 9.95 else f"{seconds / size:.0f} {word}"
    days = seconds / 86400
    return f"{days:.1f} days" if days < 9.95 else f"{days:,.0f} days"
