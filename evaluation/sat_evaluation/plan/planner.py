"""Which |A|, how many seeds and which level of evaluation fit into some hours, or into a share of full AT's cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, final

import attrs

from sat_core.attack_spec import AttackSpec
from sat_core.autoattack import LEVELS, strength
from sat_core.errors import SpecError, quoted
from sat_evaluation.plan.recovery import Evidence, Recovery
from sat_evaluation.results.text import duration

SEEDS = (1, 3, 5)
"""Numbers of seeds that are proposed."""
REPORTED = "standard"
"""The level of evaluation that numbers are reported at."""
ENOUGH = 0.95
"""A recovery that is as good as full AT for most purposes."""
_WORTH_SEEDS = 0.02
"""Expected recovery that may be given up for more seeds: one seed differs from the next by as much (Fig. 6)."""


class Hours(Protocol):
    """What a comparison costs in hours: plain training, full AT and one |A| between them, with their ranking."""

    def __call__(self, share: float | None, seeds: int, level: str) -> float | None:
        """Return the hours of everything for |A|/N = `share`; of the ranking and the baselines alone for None.

        None where the speed of the device is not known, then for all of them.

        Args:
            share: In (0, 1), or None.
            seeds: Trainings of every arm, the baselines among them.
            level: Of the evaluation, one of `sat_core.autoattack.LEVELS`.
        """


@final
@attrs.frozen(kw_only=True)
class Option:
    """One comparison that could be run.

    Attributes:
        share: |A|/N.
        seeds: Trainings of each arm.
        level: Of the evaluation.
        hours: Of everything, the baselines and the ranking among it; None where that is not known.
        baseline_hours: Of the ranking, plain training and full AT.
        recovery: What is expected of the arm.
        evaluations: Of the network, of everything: gradients of trainings and queries of AutoAttack; None where nobody
            counts them.
        baseline_evaluations: Those of the ranking, plain training and full AT.
    """

    share: float
    seeds: int
    level: str
    hours: float | None
    baseline_hours: float | None
    recovery: Recovery
    evaluations: float | None = None
    baseline_evaluations: float | None = None

    def covers(self, other: Option) -> bool:
        """Whether this has all that the other one has, at the same level."""
        return self.level == other.level and self.share >= other.share and self.seeds >= other.seeds


@final
@attrs.frozen(kw_only=True)
class Proposal:
    """What fits, and what is recommended of it.

    Attributes:
        options: What fits, by level and seeds; within hours, none of a level has all that another one has.
        recommended: One of them.
        reason: Why, in a sentence.
        enough: The same seeds and level with the smallest A that is expected to recover `ENOUGH`; None unless that is
            smaller than the recommended one.
        evidence: What the expected recoveries are from.
        hours: The budget; None where only |A| was bounded.
        of_full_at: The bound of |A|, in gradient evaluations of full AT; None without one.
        level_keys: Keys of a study that take the level.
        fixed: Settings of the study, by dotted key, that all options have beside their own: a comparison has one
            strategy, and one value of every other key of the grid.
    """

    options: tuple[Option, ...]
    recommended: Option
    reason: str
    enough: Option | None
    evidence: Evidence
    hours: float | None
    of_full_at: float | None
    level_keys: tuple[str, ...] = ("evaluation.attacks",)
    fixed: Mapping[str, Any] = attrs.field(factory=dict)

    def settings(self, option: Option) -> dict[str, Any]:
        """Return the settings, by dotted key, that make the study this comparison; for `Study.set` and ``--set``."""
        levels = dict.fromkeys(self.level_keys, option.level)
        return {**self.fixed, "subset.size": [0.0, option.share, 1.0], "seeds": option.seeds, **levels}


def propose(
    cost: Hours,
    evidence: Evidence,
    shares: Sequence[float],
    *,
    hours: float | None = None,
    of_full_at: float | None = None,
    attack: AttackSpec | None = None,
    levels: Iterable[str] = tuple(LEVELS),
    seeds: Iterable[int] = SEEDS,
) -> Proposal:
    """Return for each level and number of seeds the largest |A| that fits, and recommend one.

    Args:
        cost: What a comparison takes; not less for a larger A.
        evidence: What is known of recoveries.
        shares: |A|/N that can be had, ascending, inside (0, 1).
        hours: The budget; everything counts, the baselines and the ranking among it.
        of_full_at: Gradient evaluations that the arm may take, as a share of those of full AT; see `share_at_cost`.
        attack: Of the training; needed with `of_full_at`.
        levels: Levels of evaluation that may be taken, the weakest first.
        seeds: Numbers of seeds that may be taken.

    Raises:
        SpecError: Neither bound is given, a bound is no positive number, or nothing fits.
    """
    if hours is None and of_full_at is None:
        raise SpecError('hours: expected a budget, or a share of full AT in of_full_at, as "50%"; got neither')
    if hours is not None and not 0 < hours < float("inf"):
        raise SpecError(f"hours: expected a number above 0, got {hours!r}")
    levels, seeds = [*levels], sorted(seeds)
    if hours is not None and cost(None, seeds[0], levels[0]) is None:
        raise SpecError(
            "hours: how long a training takes is not known of this network and device\n"
            "measure it first with `sat plan STUDY --measure`"
        )
    if of_full_at is not None:
        if attack is None:
            raise SpecError("attack: expected that of the training beside of_full_at, got none")
        most = share_at_cost(of_full_at, attack)
        allowed = [share for share in shares if share <= most + 1e-9]
        if not allowed:
            raise SpecError(
                f"of_full_at: the smallest A, {100 * shares[0]:.3g} % of the training set, costs "
                f"{100 * cost_of_share(shares[0], attack):.3g} % of full AT, and {100 * of_full_at:.3g} % was given"
            )
        shares = allowed
    options = []
    for level in levels:
        for number in seeds:
            share = _largest(cost, shares, number, level, hours)
            if share is not None:
                options.append(_option(cost, evidence, share, number, level))
    if not options:
        raise SpecError(_too_little(cost, hours or 0.0, shares[0], seeds[0], levels[0]))
    if hours is not None:
        options = [each for each in options if not any(other is not each and other.covers(each) for other in options)]
    recommended, reason = _recommend(options, bounded=hours is not None)
    enough = evidence.smallest(ENOUGH, shares)
    cheaper = None
    if enough is not None and enough < recommended.share:
        cheaper = _option(cost, evidence, enough, recommended.seeds, recommended.level)
    return Proposal(
        options=tuple(options),
        recommended=recommended,
        enough=cheaper,
        reason=reason,
        evidence=evidence,
        hours=hours,
        of_full_at=of_full_at,
    )


def _option(cost: Hours, evidence: Evidence, share: float, seeds: int, level: str) -> Option:
    return Option(
        share=share,
        seeds=seeds,
        level=level,
        hours=cost(share, seeds, level),
        baseline_hours=cost(None, seeds, level),
        recovery=evidence.at(share),
    )


def _too_little(cost: Hours, hours: float, share: float, seeds: int, level: str) -> str:
    least, baselines = (duration(3600 * (cost(each, seeds, level) or 0.0)) for each in (share, None))
    return (
        f"hours: nothing fits into {duration(3600 * hours)}; the least, {seeds} seed at the level {level} with |A| = "
        f"{100 * share:.3g} %, takes {least}\n{baselines} of it are the ranking, plain training and full AT, beside "
        "which it is told what A recovers\ntake fewer epochs, fewer test images, or a smaller network"
    )


def cost_of_share(share: float, attack: AttackSpec) -> float:
    """Return the gradient evaluations of training and attack at |A|/N = `share`, where those of full AT are 1.

    With PGD of 7 steps, (1 + 7 · share) / 8: plain training costs 12.5 %.
    """
    return (attack.replays + attack.passes * share) / (attack.replays + attack.passes)


def share_at_cost(cost: float, attack: AttackSpec) -> float:
    """Return the |A|/N whose training and attack take `cost` of full AT's gradient evaluations, the inverse of that.

    Raises:
        SpecError: Plain training costs as much already, or full AT no more; or all A cost the same (Free-AT).
    """
    least = cost_of_share(0.0, attack)
    if attack.passes == 0:
        raise SpecError(
            f"of_full_at: with the attack {quoted(attack.kind)} every A costs as much as full AT; give hours"
        )
    if not least < cost < 1:
        raise SpecError(
            f"of_full_at: expected more than {100 * least:.3g} %, which is plain training, and less than 100 %, "
            f"got {100 * cost:.3g} %"
        )
    return (cost - least) / (1 - least)


def parse_share(text: str | float, name: str = "of_full_at") -> float:
    """Read a share such as ``"50%"``, ``"50 %"`` or ``0.5``; SpecError, which names the argument, if it is none.

    >>> parse_share("50%"), parse_share("12.5 %"), parse_share(0.25)
    (0.5, 0.125, 0.25)
    """
    words = str(text).strip()
    in_percent = words.endswith("%")
    try:
        number = float(words.removesuffix("%"))
    except ValueError:
        number = float("nan")
    share = number / 100 if in_percent else number
    if not 0 < share < 1:
        hint = f', as "{number:g}%"' if not in_percent and 1 <= number < 100 else ', as "50%" or 0.5'
        raise SpecError(f"{name}: expected a share between 0 and 100 %{hint}, got {quoted(text)}")
    return share


def candidates(kind: str, classes: int) -> tuple[float, ...]:
    """Return the |A|/N that are proposed: whole percent up to 90 %, or every number of classes but none and all."""
    if kind == "classes":
        return tuple(round(number / classes, 6) for number in range(1, classes))
    return tuple(percent / 100 for percent in range(1, 91))


def _largest(cost: Hours, shares: Sequence[float], seeds: int, level: str, hours: float | None) -> float | None:
    """The largest of ascending shares that fits, by bisection, as each cost takes some milliseconds."""
    low, high, middle = 0, len(shares), len(shares) - 1  # where much fits, the largest does
    while low < high:
        fits = hours is None or (cost(shares[middle], seeds, level) or 0.0) <= hours
        low, high = (middle + 1, high) if fits else (low, middle)
        middle = (low + high) // 2
    return shares[low - 1] if low else None


def _recommend(options: Sequence[Option], *, bounded: bool) -> tuple[Option, str]:
    """bounded: whether hours were given."""
    levels = sorted({each.level for each in options}, key=strength)
    level, why = REPORTED, f"{REPORTED} is the level that numbers are reported at"
    if REPORTED not in levels:
        level = levels[-1]
        why = f"{REPORTED}, the level that numbers are reported at, {'does not fit' if bounded else 'was left out'}"
    at_level = [each for each in options if each.level == level]
    if not bounded:  # all have the same |A|
        chosen = next((each for each in at_level if each.seeds > 1), at_level[0])
        return chosen, f"{why}, and {_seeds(chosen)}."
    best = max(each.recovery.value for each in at_level)
    chosen = max((each for each in at_level if each.recovery.value >= best - _WORTH_SEEDS), key=lambda each: each.seeds)
    more = [each.recovery.value for each in at_level if each.seeds > chosen.seeds]
    lost = 100 * (best - chosen.recovery.value)
    if more:
        why_seeds = (
            f"with more seeds, A would have to be so small that {100 * (best - max(more)):.0f} points less are expected"
        )
    elif lost:
        why_seeds = f"{_seeds(chosen)}, for {lost:.1f} points of expected recovery"
    else:
        why_seeds = _seeds(chosen)
    return chosen, f"{why}, and {why_seeds}."


def _seeds(option: Option) -> str:
    return f"{option.seeds} seeds show how far they differ" if option.seeds > 1 else "more seeds do not fit"
