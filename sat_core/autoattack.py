"""AutoAttack's attacks: their names, their settings, the sets in which they run, and whose implementation runs them."""

from __future__ import annotations

from typing import Any, final

import attrs

from sat_core.json_fields import from_json, integer, json_field, optional, text, to_json

AUTOATTACK = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")
"""The attacks of AutoAttack (Croce & Hein 2020) by their names there."""
ATTACK_SETS: dict[str, tuple[str, ...]] = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
}
"""Versions of AutoAttack, in the order in which they attack."""

ENGINES = ("package", "folded", "fast")
"""Whose attacks: those of AutoAttack's package, which every reported number uses; the same on a copy of the model with
BatchNorm inside the convolutions, which is faster and differs in rounding; or our own, on that copy."""


@final
@attrs.frozen(kw_only=True)
class AttackSettings:
    """One attack and its budget.

    Attributes:
        name: One of `AUTOATTACK`, or of an evaluator's own attack.
        iterations: Steps of each restart; None for `square`.
        queries: Forward passes of each restart of `square`, None for the others.
        restarts: How often it starts; of targeted attacks, for each target class.
        target_classes: How many classes a targeted attack tries, the likeliest first; None for the others.
    """

    name: str = json_field(text)
    iterations: int | None = json_field(optional(integer()), None, omit=True)
    queries: int | None = json_field(optional(integer()), None, omit=True)
    restarts: int = json_field(integer(1), 1)
    target_classes: int | None = json_field(optional(integer(1)), None, omit=True)

    def to_table(self) -> dict[str, Any]:
        """Return the settings that this attack has, as they stand in files."""
        table: dict[str, Any] = to_json(self)
        return table

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> AttackSettings:
        """Return the settings in `table`; DataError names what is wrong."""
        return from_json(cls, table)
