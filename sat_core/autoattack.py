"""Names of AutoAttack's attacks, the sets in which they run, and whose implementation runs them."""

from __future__ import annotations

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
