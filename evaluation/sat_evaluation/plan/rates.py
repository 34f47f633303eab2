"""How fast a device computes: what turns work into seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import attrs

from sat_core.errors import DataError
from sat_core.network_cost import NetworkCost
from sat_core.spec import Spec
from sat_evaluation.plan.facts import Facts
from sat_evaluation.plan.queries import Queries
from sat_evaluation.plan.work import Work

MEASURED, HISTORY, TABLE = "measured", "history", "table"
"""Where rates come from, the surest first."""


@final
@attrs.frozen(kw_only=True)
class Parts:
    """What a unit takes, in seconds apart from the start of its process, or in FLOPs, a multiply-add as 2.

    Attributes:
        training: Of training steps and attacks in them, or of a ranking; of a head, its features, too.
        checks: Of AutoAttack on the images that pick the epoch.
        report: Of AutoAttack on the reported images.
    """

    training: float = 0.0
    checks: float = 0.0
    report: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.training + self.autoattack

    @property
    def autoattack(self) -> float:
        """That of AutoAttack, in checks and report."""
        return self.checks + self.report

    def __add__(self, other: Parts) -> Parts:
        return Parts(
            training=self.training + other.training,
            checks=self.checks + other.checks,
            report=self.report + other.report,
        )


@final
@attrs.frozen(kw_only=True)
class Rates:
    """Seconds of each kind of work, for one network, image shape and batch size on one device.

    Attributes:
        step, training: Seconds of a training step, and of each gradient evaluation in it.
        attack_step, attack: Seconds of a step of an attack in training, and of each gradient evaluation in it.
        forward: Seconds of a forward pass of one image in training.
        call, query: Seconds of a batch that AutoAttack sends through the network, and of each of its forward passes of
            one image.
        attacks: Names of attacks with a `call` and a `query` of their own.
        source: `MEASURED`, `HISTORY` or `TABLE`.
        detail: What it is from, for a reader.
        cost: Of the network, where it was measured; None elsewhere.
        factor: The expected time is within this factor of what is taken, either way, in most cases; at least 1.
    """

    step: float = 0.0
    training: float
    attack_step: float = 0.0
    attack: float
    forward: float
    call: float = 0.0
    query: float
    attacks: tuple[tuple[str, float, float], ...] = ()
    source: str
    detail: str
    factor: float
    cost: NetworkCost | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("step", "training", "attack_step", "attack", "forward", "call", "query"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise DataError(f"rates: {name}: expected seconds >= 0, got {getattr(self, name)!r}")

    def seconds(self, work: Work) -> Parts:
        """Return what work takes."""
        # a head computes next to nothing beside the fixed cost of its steps
        of_images = 0.0 if work.on_features else self.training * work.training_gradients
        training = of_images + self.step * work.steps + self.forward * work.forwards
        attack = self.attack * work.attack_gradients + self.attack_step * work.attack_steps
        return Parts(training=training + attack, checks=self._asked(work.checks), report=self._asked(work.report))

    def _asked(self, queries: Queries) -> float:
        own = {attack: (call, query) for attack, call, query in self.attacks}
        rates = [(*own.get(part.attack, (self.call, self.query)), part) for part in queries.parts]
        return sum(call * part.calls + query * part.passes for call, query, part in rates)


RateSource = Callable[[Spec, Facts], Rates | None]
"""Returns the rates for trainings with the model, batch size, precision and threads of a spec on such data; None where
nothing is known."""


def nothing_known(spec: Spec, facts: Facts) -> Rates | None:
    """Know no rates: plans then have gradient evaluations and FLOPs, and no hours."""
    return None


CostSource = Callable[[Spec, Facts], NetworkCost | None]
"""Returns the measured cost of the model of a spec on such data; None where it was not measured."""


def nothing_measured(spec: Spec, facts: Facts) -> NetworkCost | None:
    """Know no costs: those of networks that are not ours are then not known."""
    return None


def first_of(*sources: RateSource) -> RateSource:
    """Return a source that asks others in this order; each setting is asked for once."""
    known: dict[object, Rates | None] = {}

    def rates(spec: Spec, facts: Facts) -> Rates | None:
        key = setting_of(spec, facts)
        if key not in known:
            known[key] = next((found for source in sources if (found := source(spec, facts)) is not None), None)
        return known[key]

    return rates


def surest_of(*sources: RateSource) -> RateSource:
    """Return a source that asks all others, and takes the rates with the smallest factor; of equal ones the first."""

    def rates(spec: Spec, facts: Facts) -> Rates | None:
        known = (source(spec, facts) for source in sources)
        return min((found for found in known if found is not None), key=lambda found: found.factor, default=None)

    return rates


def with_costs(source: RateSource, *measured: RateSource) -> RateSource:
    """Return a source whose rates have the cost of the network by the first of `measured` that knows it."""

    def rates(spec: Spec, facts: Facts) -> Rates | None:
        found = source(spec, facts)
        if found is None or found.cost is not None:
            return found
        costs = (known.cost for each in measured if (known := each(spec, facts)) is not None)
        return attrs.evolve(found, cost=next((cost for cost in costs if cost is not None), None))

    return rates


@final
@attrs.frozen
class Setting:
    """What rates depend on, beside the device and the backend."""

    model: str
    image_shape: tuple[int, int, int]
    classes: int
    batch_size: int
    precision: str
    threads: int
    compile: bool
    engine: str


def setting_of(spec: Spec, facts: Facts) -> Setting:
    """Return what the rates of an arm depend on."""
    training = spec.training
    return Setting(
        model=spec.model.name,
        image_shape=facts.image_shape,
        classes=facts.classes,
        batch_size=training.batch_size,
        precision=training.precision,
        threads=training.threads,
        compile=bool(training.compile),
        engine=spec.evaluation.engine,
    )
