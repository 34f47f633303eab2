"""The section [evaluation] of a spec: how an epoch is picked and how the result is measured."""

from __future__ import annotations

from typing import Any, ClassVar, final

import attrs

from sat_core import fields
from sat_core.autoattack import AUTOATTACK, ENGINES, LEVELS
from sat_core.errors import SpecError, quoted
from sat_core.registry import nearest

LEVEL = "level"
"""Key of this section that stands for the two in `ATTACK_KEYS`."""
ATTACK_KEYS = ("attacks", "selection_attacks")
"""Keys that take a level or a list of attacks."""


def set_level(table: dict[str, Any]) -> None:
    """Replace the key ``level`` of `table`, a section of settings, by those of `ATTACK_KEYS` that it does not have.

    Raises:
        SpecError: It is no level.
    """
    if LEVEL not in table:
        return
    level = table.pop(LEVEL)
    if not isinstance(level, str) or level not in LEVELS:
        hint = nearest(level, LEVELS) if isinstance(level, str) else "; evaluation.attacks takes a list of attacks"
        raise SpecError(f"evaluation.level: expected one of {', '.join(LEVELS)}, got {quoted(level)}{hint}")
    for key in ATTACK_KEYS:
        table.setdefault(key, level)


def _check_attacks(value: Any) -> str | None:
    if isinstance(value, str) and value in LEVELS:
        return None
    if isinstance(value, tuple) and value and all(v in AUTOATTACK for v in value) and len(set(value)) == len(value):
        return None
    hint = nearest(value, (*LEVELS, *AUTOATTACK)) if isinstance(value, str) else ""
    return f"one of {', '.join(LEVELS)}, or a list of {', '.join(AUTOATTACK)}{hint}"


def _check_examples(value: Any) -> str | None:
    share = isinstance(value, float) and 0 < value <= 1
    return (
        None
        if value == "rest" or share or fields.whole(value, 1)
        else 'a count >= 1, a share of the validation set in (0, 1], or "rest"'
    )


def _check_share(value: Any) -> str | None:
    # At least a tenth is left to report.
    share = isinstance(value, float) and 0 < value <= 0.9
    return None if share or fields.whole(value, 1) else "a share in (0, 0.9], or a count >= 1"


def _check_epochs(value: Any) -> str | None:
    good = isinstance(value, tuple) and value and all(fields.whole(v, 1) for v in value)
    return None if value == "protocol" or good else 'a list of epochs >= 1, or "protocol"'


@final
@attrs.frozen(kw_only=True)
class EvaluationSpec:
    """How an epoch is picked and how the result is measured, under the threat model of `AttackSpec`.

    Attributes:
        examples: Test examples to report on: a count, a share, or "rest".
        attacks: Of the report: one of `sat_core.autoattack.LEVELS`, or names.
        selection_attacks: Of the checks that pick the epoch, likewise.
        selection_epochs: After which epochs to check, counted from 1, or "protocol".
        selection_share: The part of the test set that picks the epoch (share or count). A data set with validation
            examples uses all of these instead.
        watch: How many images of the selection split are attacked by PGD-10 after each epoch; 0 for none.
        engine: ``package`` for the attacks of AutoAttack's package, ``folded`` or ``fast``; see docs/study.md.
    """

    SECTION: ClassVar[str] = "evaluation"
    examples: int | float | str = fields.field(_check_examples, "rest")
    attacks: str | tuple[str, ...] = fields.field(_check_attacks, "standard", fields.tuples)
    selection_attacks: str | tuple[str, ...] = fields.field(_check_attacks, "standard", fields.tuples)
    selection_epochs: str | tuple[int, ...] = fields.field(_check_epochs, "protocol", fields.tuples)
    selection_share: int | float = fields.field(_check_share, 0.1)
    watch: int = fields.integer(0, 0)
    engine: str = fields.choice(ENGINES, "package")
