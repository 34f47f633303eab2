"""Settings that are right alone and have no meaning together."""

from __future__ import annotations

from sat_core.attack_kinds import ATTACKS
from sat_core.attack_spec import AttackSpec
from sat_core.autoattack import check_norm
from sat_core.difficulty import DIFFICULTIES
from sat_core.errors import SpecError
from sat_core.loss_spec import LossSpec
from sat_core.member_losses import LOSSES
from sat_core.sections import RankingSpec, SubsetSpec
from sat_core.selection import LOOKING, SELECTION_RULES
from sat_core.threat import THREAT_MODELS
from sat_core.training_spec import TrainingSpec


def check_combinations(loss: LossSpec, attack: AttackSpec, training: TrainingSpec) -> None:
    """Raise SpecError for settings of a training that have no meaning together."""
    kind = LOSSES.get(loss.kind)
    if not kind.soft and (loss.label_smoothing or training.mixing != "none"):
        raise SpecError(
            f"loss.kind: {loss.kind!r} needs one label per image; expected loss.label_smoothing = 0 and "
            'training.mixing = "none"'
        )
    if training.mixing != "none" and attack.loss in ("dlr", "margin"):
        raise SpecError(
            f"attack.loss: expected ce or kl with training.mixing, got {attack.loss!r}, which needs one label per image"
        )
    if training.mixing != "none" and training.micro_batches > 1:
        raise SpecError(
            f"training.micro_batches: expected 1 with training.mixing, got {training.micro_batches}: images are mixed "
            "with others of the whole batch"
        )
    if attack.free and (kind.pairs or training.awp or training.micro_batches > 1):
        raise SpecError(
            "attack.kind: 'free' needs a loss of one forward: expected loss.kind = \"ce\", training.awp = 0 and "
            "training.micro_batches = 1"
        )
    if training.compile and (kind.pairs or training.awp):
        raise SpecError(
            "training.compile: expected false with training.awp, or a loss that takes clean images of the members, too"
        )


def check_functions(loss: LossSpec, attack: AttackSpec, backend: str, engine: str | None) -> None:
    """Raise SpecError for a loss, an attack or a threat model that is not there where it is needed.

    Args:
        loss, attack: Of the training.
        backend: Needs the functions of plug-ins.
        engine: Of AutoAttack, which has few norms; None for an evaluator of the user's.
    """
    for each in (LOSSES.get(loss.kind), ATTACKS.get(attack.kind), THREAT_MODELS.get(attack.norm)):
        each.check_function(backend)
    if engine is not None:
        check_norm(attack.norm, engine)


def check_subset(subset: SubsetSpec, ranking: RankingSpec, loss: LossSpec) -> None:
    """Raise SpecError for ways of choosing A that have no meaning with the other settings."""
    if subset.rerank and not DIFFICULTIES.get(ranking.metric).once:
        once = ", ".join(name for name in DIFFICULTIES if DIFFICULTIES.get(name).once)
        raise SpecError(
            f"subset.rerank: A is chosen anew by one evaluation, of which there is no {ranking.metric!r}; expected "
            f"ranking.metric to be one of {once}"
        )
    if SELECTION_RULES.get(subset.strategy).online in LOOKING and loss.class_weights != "none":
        raise SpecError(
            f'loss.class_weights: expected "none" with {subset.strategy!r}, got {loss.class_weights!r}: weights are '
            "planned before it is known who is where in a batch"
        )
