"""After which epochs of a training robust accuracy on the selection split is measured."""

from __future__ import annotations

from sat_core.protocols import PROTOCOLS, dataset_name
from sat_core.schedules import parse_schedule
from sat_core.spec import Spec


def check_epochs(spec: Spec, examples: int, *, head: bool = False) -> tuple[int, ...]:
    """Return the epochs (from 1) after which the selection split is attacked; those past the end mean the last.

    Args:
        spec: Of the arm.
        examples: N, the number of training examples.
        head: Whether it is the training of a head on frozen features.
    """
    t, listed = spec.training, spec.evaluation.selection_epochs
    if not isinstance(listed, str):
        return tuple(sorted({min(e, t.epochs) for e in listed}))
    drops = parse_schedule(t.schedule).drop_epochs(t.epochs, examples // t.batch_size)
    return PROTOCOLS.get(spec.protocol).check_epochs(dataset_name(spec.to_tables()), t.epochs, drops, head=head)
