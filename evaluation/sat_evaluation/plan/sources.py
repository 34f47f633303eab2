"""Where rates come from, the surest first: earlier runs on this machine, a measurement of it, a table of cards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import final

import attrs

from sat_core.study import Study
from sat_evaluation.plan.cache import Taken, read_taken
from sat_evaluation.plan.cards import Card, find_card, table_rates
from sat_evaluation.plan.devices import device_name
from sat_evaluation.plan.history import ENOUGH, history_rates
from sat_evaluation.plan.kept_rates import kept_costs, kept_rates, read_kept
from sat_evaluation.plan.plan import Plan, plan_study, plan_units
from sat_evaluation.plan.rates import RateSource, first_of, nothing_known, surest_of, with_costs
from sat_evaluation.plan.units import UnitWork


@final
@attrs.frozen(kw_only=True)
class Planning:
    """How plans are made on one device.

    Attributes:
        rates: How fast it is.
        jobs: How many trainings run side by side.
        notes: Lines for the user, as on a damaged cache.
        card: A card of the table, by which it has its memory; None for other devices.
    """

    rates: RateSource
    jobs: int
    notes: tuple[str, ...] = ()
    card: Card | None = None

    def study(self, study: Study) -> Plan:
        """Return the plan of a study."""
        return self._with_room(plan_study(study, self.rates, jobs=self.jobs))

    def units(self, units: Sequence[UnitWork]) -> Plan:
        """Return the plan of some units."""
        return self._with_room(plan_units(units, self.rates, jobs=self.jobs))

    def _with_room(self, plan: Plan) -> Plan:
        return attrs.evolve(plan, room=int(self.card.memory * 1e9)) if self.card else plan


def planning(
    *,
    backend: str | None = None,
    device: str = "cpu",
    jobs: int = 1,
    card: str = "",
    here: bool = True,
    measured: RateSource | None = None,
    finished: Sequence[Taken] = (),
) -> Planning:
    """Return how plans are made on a device.

    Args:
        backend: Name of the backend; by default that of the environment variable SAT_BACKEND, else torch.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        jobs: How many trainings run side by side.
        card: A GPU of the table that stands for this machine's, as ``A100``; then nothing else counts, but
            for the FLOPs of networks that are not ours, which a measurement of any device has kept.
        here: Whether the device is one of this machine; of others nothing is known.
        measured: Rates that were measured just now, which count before all others.
        finished: What trainings took that may not be in the cache yet, as the finished ones of a run that goes on.
    """
    if card:
        from sat_core.errors import SpecError
        from sat_evaluation.plan.cards import cards

        if find_card(card) is None:
            raise SpecError(f"--card: expected one of {', '.join(each.title for each in cards())}, got {card!r}")
        kept, damaged = read_kept()
        rates = first_of(table_rates(card, kept_costs(kept)))
        return Planning(rates=rates, jobs=jobs, notes=tuple(filter(None, (damaged,))), card=find_card(card))
    if not here:
        return Planning(rates=nothing_known, jobs=jobs)
    name, (taken, of_runs), (kept, of_measurements) = device_name(device), read_taken(), read_kept()
    own = backend or os.environ.get("SAT_BACKEND") or "torch"
    taken += [each for each in finished if each not in taken]
    before = kept_rates(kept, name, own)
    sources = [
        *([measured] if measured else []),
        # runs beside other programs differ so much that a measurement tells more
        surest_of(history_rates(taken, name, own, enough=ENOUGH), before),
        history_rates(taken, name, own),
        table_rates(name, kept_costs(kept)),
    ]
    rates = with_costs(first_of(*sources), *([measured] if measured else []), before)
    notes = tuple(filter(None, (of_runs, of_measurements)))
    return Planning(rates=rates, jobs=jobs, notes=notes, card=find_card(name))
