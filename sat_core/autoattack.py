"""AutoAttack's attacks: names, settings, the levels of evaluation at which they run, and whose implementation runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import attrs

from sat_core.errors import SpecError, quoted
from sat_core.json_fields import from_json, integer, json_field, optional, text, to_json

AUTOATTACK = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")
"""The attacks of AutoAttack (Croce & Hein 2020) by their names there."""
ENGINES = ("package", "folded", "fast")
"""Whose attacks: those of AutoAttack's package, which every reported number uses; the same on a copy of the model with
BatchNorm inside the convolutions, which is faster and differs in rounding; or our own, on that copy."""
NORMS = {"package": ("L2", "Linf", "L1"), "fast": ("L2", "Linf")}
"""Norms in which AutoAttack's package, and our own attacks, look for adversarial images."""


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


def _settings(name: str, restarts: int = 1) -> AttackSettings:
    if name == "square":
        return AttackSettings(name=name, queries=5000)
    targets = 9 if name.endswith("-t") else None
    return AttackSettings(name=name, iterations=100, restarts=restarts, target_classes=targets)


CUSTOM = {name: _settings(name, 5 if name in ("apgd-ce", "apgd-dlr", "fab") else 1) for name in AUTOATTACK}
"""Attacks that are named one by one: the settings of the package's version ``custom``."""
_STANDARD = tuple(_settings(name) for name in ("apgd-ce", "apgd-t", "fab-t", "square"))
CUSTOM_LEVEL = "custom"
"""Stands for the level of attacks that were named one by one."""
LEVELS: dict[str, tuple[AttackSettings, ...]] = {
    # The first two attacks of the standard level with its settings: robust accuracy at `screening` is what is left
    # after them there. FAB-T and Square took 87 % of the queries of 1,000 images, and broke none that was left.
    "screening": _STANDARD[:2],
    "standard": _STANDARD,
    "plus": tuple(CUSTOM[name] for name in ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t")),
}
"""Levels of evaluation: attacks in the order in which they run, the weakest level first. ``standard`` and ``plus`` are
versions of AutoAttack. Target classes are at most those that the data has besides the label."""


def check_norm(norm: str, engine: str) -> None:
    """Raise SpecError for a norm in which an engine has no attacks."""
    norms = NORMS["fast" if engine == "fast" else "package"]
    if norm in norms:
        return
    hint = "\ntake the engine 'package'" if norm in NORMS["package"] else ""
    raise SpecError(f"norm: expected {' or '.join(norms)} with the engine {engine!r}, got {quoted(norm)}{hint}")


def attacks_of(level: str, norm: str) -> tuple[AttackSettings, ...]:
    """Return the attacks of a level: in L1, AutoAttack's ``standard`` has five restarts of APGD-CE, and five targets.

    Args:
        level: One of `LEVELS`.
        norm: Name of the threat model.
    """
    if norm != "L1" or level == "plus":
        return LEVELS[level]
    changed: dict[str, Any] = {"apgd-ce": {"restarts": 5}, "apgd-t": {"target_classes": 5}}
    return tuple(attrs.evolve(attack, **changed.get(attack.name, {})) for attack in LEVELS[level])


def strength(level: str) -> int:
    """Return the place of `level` in `LEVELS`, the weakest first; -1 for `CUSTOM_LEVEL`."""
    return list(LEVELS).index(level) if level in LEVELS else -1


def begins_with(level: str) -> list[str]:
    """Return the weaker levels that are how `level` begins: its evaluation has their results, too."""
    attacks = LEVELS.get(level, ())
    return [name for name, weaker in LEVELS.items() if len(weaker) < len(attacks) and attacks[: len(weaker)] == weaker]


def level_of(attacks: Sequence[AttackSettings], norm: str) -> str:
    """Return the level that consists of these attacks in a norm, whatever their target classes, or `CUSTOM_LEVEL`."""

    def untargeted(settings: Sequence[AttackSettings]) -> list[AttackSettings]:
        return [attrs.evolve(each, target_classes=None) for each in settings]

    chosen = untargeted(attacks)
    return next((name for name in LEVELS if untargeted(attacks_of(name, norm)) == chosen), CUSTOM_LEVEL)
