"""What a study costs before it runs: gradient evaluations, FLOPs, hours and memory, for each training and in all."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any, final

import attrs

from sat_core.run_folder import RANKING
from sat_core.study import Study
from sat_evaluation.plan.facts import Facts, facts_of
from sat_evaluation.plan.rates import Parts, Rates, RateSource, nothing_known
from sat_evaluation.plan.units import HEAD, UnitWork, study_units

START = 3.0
"""Seconds that a process of an arm takes until it trains: framework, data and network."""


@final
@attrs.frozen(kw_only=True)
class PlannedUnit:
    """One training of a plan.

    Attributes:
        unit: Settings and work.
        flops: None for a network that is not one of ours, and was not measured.
        rates: What its seconds are from; None where nothing is known.
    """

    unit: UnitWork
    flops: Parts | None
    rates: Rates | None

    @property
    def seconds(self) -> Parts | None:
        """Expected seconds, without the start of its process; None where nothing is known."""
        return None if self.rates is None else self.rates.seconds(self.unit.work)

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in ``plan.json``."""
        unit, work, seconds = self.unit, self.unit.work, self.seconds
        return {
            "name": unit.name,
            "kind": unit.kind,
            "target": unit.target or None,
            "size": unit.size,
            "share": unit.share,
            "training_gradients": work.training_gradients,
            "attack_gradients": work.attack_gradients,
            "queries": {"checks": round(work.checks.queries), "report": round(work.report.queries)},
            "flops": None if self.flops is None else attrs.asdict(self.flops),
            "seconds": None if seconds is None else {k: round(v, 3) for k, v in attrs.asdict(seconds).items()},
            "memory_bytes": unit.memory,
        }


@final
@attrs.frozen(kw_only=True)
class Plan:
    """What a study, or several, will cost.

    Attributes:
        units: Ranking, arms and heads, in the order of the study.
        facts: Of the data.
        jobs: How many run side by side.
        wall_seconds: From start to end, the starts of processes among it; None where a unit's time is not known.
        room: Bytes of memory that the device has; None where it is not known.
    """

    units: tuple[PlannedUnit, ...]
    facts: tuple[Facts, ...]
    jobs: int
    wall_seconds: float | None
    room: int | None = None

    @property
    def hours(self) -> float | None:
        """From start to end."""
        return None if self.wall_seconds is None else self.wall_seconds / 3600

    @property
    def gradients(self) -> int:
        """Gradient evaluations of all trainings, attacks in them included, without AutoAttack."""
        return sum(each.unit.work.gradients for each in self.units)

    @property
    def queries(self) -> float:
        """Queries of AutoAttack, over all images."""
        return sum(each.unit.work.checks.queries + each.unit.work.report.queries for each in self.units)

    @property
    def evaluations(self) -> float:
        """How often a network is evaluated on an image: gradients of trainings, and queries of AutoAttack."""
        return self.gradients + self.queries

    @property
    def flops(self) -> Parts | None:
        """All units together; None if the network of one of them is not known."""
        parts = [each.flops for each in self.units]
        return None if None in parts else sum((each for each in parts if each is not None), Parts())

    @property
    def seconds(self) -> Parts | None:
        """All units one after the other, without the starts of processes; None where one is not known."""
        parts = [each.seconds for each in self.units]
        return None if None in parts else sum((each for each in parts if each is not None), Parts())

    @property
    def autoattack(self) -> float | None:
        """AutoAttack's share, in [0, 1]: of the seconds, or of the FLOPs where no seconds are known."""
        seconds, passes = self.seconds, sum(each.unit.work.passes for each in self.units)
        if seconds is not None:
            return seconds.autoattack / seconds.total if seconds.total else None
        flops = self.flops
        if flops is not None:
            return flops.autoattack / flops.total if flops.total else None
        trained = sum(each.unit.work.training_passes for each in self.units)
        return 1 - trained / passes if passes else None

    @property
    def memory(self) -> int | None:
        """Bytes of the largest training step or batch of AutoAttack; None if one of the networks is not known."""
        sizes = [each.unit.memory for each in self.units]
        return None if None in sizes else max((size for size in sizes if size is not None), default=0)

    @property
    def rates(self) -> tuple[Rates, ...]:
        """The different rates that the seconds are from."""
        return tuple(dict.fromkeys(each.rates for each in self.units if each.rates is not None))

    @property
    def factor(self) -> float | None:
        """Within which factor, either way, the time is expected in most cases; None where nothing is known."""
        return None if self.wall_seconds is None else max((rates.factor for rates in self.rates), default=1.0)

    def heads(self, target: str) -> Plan:
        """Return the plan of the heads for one target by themselves."""
        return _plan([each for each in self.units if each.unit.target == target], self.jobs)

    def to_json(self) -> dict[str, Any]:
        """Return it as ``plan.json`` has it; docs/results.md lists the fields."""
        flops, seconds = self.flops, self.seconds
        return {
            "jobs": self.jobs,
            "wall_seconds": None if self.wall_seconds is None else round(self.wall_seconds, 1),
            "factor": self.factor,
            "rates": [{"source": rates.source, "detail": rates.detail, "factor": rates.factor} for rates in self.rates],
            "gradients": self.gradients,
            "queries": round(self.queries),
            "flops": None if flops is None else attrs.asdict(flops),
            "seconds": None if seconds is None else {k: round(v, 3) for k, v in attrs.asdict(seconds).items()},
            "autoattack_share": self.autoattack,
            "memory_bytes": self.memory,
            "data": [attrs.asdict(facts) for facts in self.facts],
            "units": [each.to_json() for each in self.units],
        }


def plan_study(study: Study, rates: RateSource = nothing_known, *, jobs: int = 1, facts: Facts | None = None) -> Plan:
    """Return what a study costs.

    Args:
        study: What is to be run.
        rates: How fast the device is.
        jobs: How many trainings run side by side.
        facts: Of the study's data; by default `facts_of` looks them up.

    Raises:
        SatError: Settings do not fit the data, or a data set does not exist.
    """
    return plan_units(study_units(study, facts or facts_of(study.base.data.name)), rates, jobs=jobs)


def plan_units(units: Sequence[UnitWork], rates: RateSource = nothing_known, *, jobs: int = 1) -> Plan:
    """Return what some units cost; arguments as in `plan_study`. Heads wait for all arms, arms for their ranking."""
    return _plan([_planned(unit, rates(unit.spec, unit.facts)) for unit in units], jobs)


def _plan(units: Sequence[PlannedUnit], jobs: int) -> Plan:
    facts = tuple(dict.fromkeys(each.unit.facts for each in units))
    return Plan(units=tuple(units), facts=facts, jobs=jobs, wall_seconds=_wall_seconds(units, jobs))


def _planned(unit: UnitWork, rates: Rates | None) -> PlannedUnit:
    if unit.cost is None and rates is not None:
        unit = attrs.evolve(unit, cost=rates.cost)
    return PlannedUnit(unit=unit, flops=_flops(unit), rates=rates)


def _flops(unit: UnitWork) -> Parts | None:
    if unit.cost is None:
        return None
    each, work = float(unit.cost.forward_flops), unit.work
    return Parts(
        training=each * work.training_passes, checks=each * work.checks.passes, report=each * work.report.passes
    )


def _wall_seconds(units: Sequence[PlannedUnit], jobs: int) -> float | None:
    """Return how long units take side by side, the longest first, as executors start them."""
    if any(each.rates is None for each in units):
        return None
    times = [(each.unit, START + each.rates.seconds(each.unit.work).total) for each in units if each.rates]
    end = 0.0
    for arms in (True, False):
        part = [(unit, seconds) for unit, seconds in times if (unit.kind != HEAD) == arms]
        end = _scheduled(part, jobs, end)
    return end


def _scheduled(times: Sequence[tuple[UnitWork, float]], jobs: int, begin: float) -> float:
    ranking = [seconds for unit, seconds in times if unit.kind == RANKING]
    ranked = begin + sum(ranking)
    free = [ranked, *[begin] * (jobs - 1)]
    heapq.heapify(free)
    # arms that wait for no ranking start beside it
    for ready, after in ((begin, False), (ranked, True)):
        arms = [seconds for unit, seconds in times if unit.kind != RANKING and unit.after_ranking == after]
        for seconds in sorted(arms, reverse=True):
            heapq.heapreplace(free, max(free[0], ready) + seconds)
    return max(free)
