"""The trainings of a study: its ranking, its arms, and the heads of its transfers, each with its work."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import final

import attrs

from sat_core.network_cost import NetworkCost, head_cost, network_cost
from sat_core.precision import OF_NETWORK
from sat_core.ranking import needs_ranking
from sat_core.run_folder import RANKING
from sat_core.sections import ModelSpec
from sat_core.spec import Spec
from sat_core.study import Study
from sat_core.transfer import transfer_spec
from sat_evaluation.plan.facts import Facts, target_facts
from sat_evaluation.plan.queries import BATCH_SIZE
from sat_evaluation.plan.work import Work, arm_work, evaluated_images, head_work, ranking_work, subset_size

ARM, HEAD = "arm", "head"
"""Kinds of units beside `RANKING`."""


@final
@attrs.frozen(kw_only=True)
class UnitWork:
    """One training, with what it computes.

    Attributes:
        name: Of its folder.
        kind: ``ranking``, ``arm`` or ``head``.
        target: Of a head, the data set that it is trained for.
        after_ranking: Whether an arm waits for the ranking.
        spec: Its settings; of the ranking, those of the study's base with the ranking's network.
        facts: Of its data.
        size: |A|; of a head, that of its source.
        share: |A|/N.
        work: What it computes.
        cost: Of its network; None for a network that is not one of ours, until a measurement tells it.
        same: Equal for units of several studies that are the same, so that one is taken over.
    """

    name: str
    kind: str
    target: str = ""
    after_ranking: bool = False
    spec: Spec
    facts: Facts
    size: int
    share: float
    work: Work
    cost: NetworkCost | None
    same: Hashable

    @property
    def memory(self) -> int | None:
        """Bytes of a training step, or of a batch of AutoAttack if that takes more; None if the network is not known.

        Without what a framework needs itself.
        """
        if self.cost is None:
            return None
        attacked = self._attacked_at_once
        return max(self._training_memory(self.cost), self.cost.gradient_bytes(attacked) if attacked else 0)

    def _training_memory(self, cost: NetworkCost) -> int:
        training = self.spec.training
        precision = training.precision if training.precision in OF_NETWORK else "float32"
        images = training.batch_size // training.micro_batches
        if not (self.work.on_features and cost.features):
            return cost.training_bytes(images, precision, training.optimizer)
        # of the frozen network, nothing is kept for a backward pass
        head = head_cost(cost.features, self.facts.classes)
        return cost.gradient_bytes(0) + head.training_bytes(images, precision, training.optimizer)

    @property
    def _attacked_at_once(self) -> int:
        if not self.work.report.parts:  # of a ranking
            return 0
        return min(BATCH_SIZE, max(evaluated_images(self.spec.evaluation, self.facts)))


def study_units(study: Study, facts: Facts, *, only_ranking: bool = False) -> list[UnitWork]:
    """Return the units of a study: the ranking, if one is trained, the arms, and the heads of transfers.

    Args:
        study: What is to be run.
        facts: Of its data.
        only_ranking: Whether nothing but the ranking is run.

    Raises:
        SatError: Settings do not fit the data, or a target does not exist.
    """
    return [*_units(study, facts, only_ranking)]


def _units(study: Study, facts: Facts, only_ranking: bool) -> Iterator[UnitWork]:
    base = study.base
    ranked = only_ranking or any(needs_ranking(arm.spec) for arm in study.arms)
    if ranked:
        yield _ranking(base, facts)
    if only_ranking:
        return
    shares = {}
    for arm in study.arms:
        spec, size = arm.spec, subset_size(arm.spec, facts)
        after = needs_ranking(spec)
        shares[arm.name] = size, size / facts.train
        yield UnitWork(
            name=arm.name,
            kind=ARM,
            after_ranking=after,
            spec=spec,
            facts=facts,
            size=size,
            share=size / facts.train,
            work=arm_work(spec, facts, size),
            cost=_cost(spec.model, facts),
            same=(spec, _ranked_by(base) if after else None),
        )
    for target in study.transfer.get("targets", ()):
        of_target = target_facts(study.base.protocol, target, facts.image_shape)
        for arm in study.arms:
            spec = transfer_spec(arm.spec, target, study.head_settings)
            size, share = shares[arm.name]
            yield UnitWork(
                name=arm.name,
                kind=HEAD,
                target=target,
                spec=spec,
                facts=of_target,
                size=size,
                share=share,
                work=head_work(spec, of_target, share),
                cost=_cost(arm.spec.model, of_target, head=True),
                same=(spec, arm.spec, _ranked_by(base) if needs_ranking(arm.spec) else None),
            )


def _ranking(base: Spec, facts: Facts) -> UnitWork:
    model = ModelSpec(name=base.ranking.model) if base.ranking.model else base.model
    return UnitWork(
        name=RANKING,
        kind=RANKING,
        spec=attrs.evolve(base, model=model),
        facts=facts,
        size=0,
        share=0.0,
        work=ranking_work(base, facts),
        cost=_cost(model, facts),
        same=_ranked_by(base),
    )


def _ranked_by(base: Spec) -> Hashable:
    """Return what makes a ranking: equal for bases that share one."""
    training = attrs.evolve(
        base.training, epochs=base.ranking.epochs, awp=0.0, averaging="none", mixing="none", patience=0
    )
    model = ModelSpec(name=base.ranking.model) if base.ranking.model else base.model
    return base.data, model, attrs.evolve(base.ranking, model=""), training


def _cost(model: ModelSpec, facts: Facts, *, head: bool = False) -> NetworkCost | None:
    key = model.name, facts.image_shape, facts.classes, head
    if key not in _COSTS:
        _COSTS[key] = network_cost(model.name, facts.image_shape, facts.classes, head=head)
    return _COSTS[key]


_COSTS: dict[Hashable, NetworkCost | None] = {}


def without_repeats(units: Sequence[UnitWork], seen: set[Hashable]) -> list[UnitWork]:
    """Return the units that are not among those `seen`, which are added: arms of several studies are run once."""
    new = []
    for unit in units:
        key = unit.kind, unit.same
        if key not in seen:
            seen.add(key)
            new.append(unit)
    return new
