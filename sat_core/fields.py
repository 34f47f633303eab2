"""Fields of the spec objects: what a value must be, said once. Errors read ``section.key: expected ..., got ...``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from sat_core.errors import SpecError, quoted
from sat_core.registry import nearest

Check = Callable[[Any], str | None]
"""Returns what was expected if the value is wrong, else None."""


def field(
    check: Check,
    default: Any = attrs.NOTHING,
    converter: Callable[[Any], Any] | None = None,
    eq: bool | Callable[[Any], Any] = True,
    init: bool = True,
) -> Any:
    """An attrs field whose value is converted, then held to `check`; `eq` and `init` as in `attrs.field`."""

    def validate(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        expected = check(value)
        if expected is not None:
            raise SpecError(f"{instance.SECTION}.{attribute.name}: expected {expected}, got {quoted(value)}")

    return attrs.field(default=default, validator=validate, converter=converter, eq=eq, init=init)


def asked() -> Any:
    """What was given for a derived field of the same name without the underscore; None: derive it.

    `attrs.evolve` passes this on, not the derived value, which would be stale.
    """
    return attrs.field(default=None, eq=False, repr=False)


def integer(minimum: int, default: Any = attrs.NOTHING, *, init: bool = True) -> Any:
    """A whole number from `minimum` to what 64 bits hold; True and 3.0 are not whole numbers."""
    return field(lambda v: None if whole(v, minimum) else f"an integer >= {minimum}", default, init=init)


def real(minimum: float = 0.0, below: float = math.inf, default: Any = attrs.NOTHING, *, init: bool = True) -> Any:
    """A finite number in [minimum, below); text like "8/255" is read as a fraction."""
    words = f"a finite number >= {minimum:g}" if below == math.inf else f"a number in [{minimum:g}, {below:g})"

    def check(value: Any) -> str | None:
        return None if isinstance(value, float) and minimum <= value < below else words

    return field(check, default, fraction, init=init)


def choice(names: Callable[[], Iterable[str]] | Iterable[str], default: Any = attrs.NOTHING) -> Any:
    """One of `names` (a registry is looked at when the value is checked)."""

    def check(value: Any) -> str | None:
        known = list(names() if callable(names) else names)
        if isinstance(value, str) and value in known:
            return None
        hint = nearest(value, known) if isinstance(value, str) else ""
        return f"one of {', '.join(known)}{hint}"

    return field(check, default)


def flag(default: Any = attrs.NOTHING, *, init: bool = True) -> Any:
    """True or false."""
    return field(lambda v: None if isinstance(v, bool) else "true or false", default, init=init)


def text(default: Any = attrs.NOTHING) -> Any:
    """Any text."""
    return field(lambda v: None if isinstance(v, str) else "text", default)


def fraction(value: Any) -> Any:
    """ "8/255" → 8/255 and 1 → 1.0; what is no number is returned as it is, for the validator to refuse."""
    try:
        if isinstance(value, str):
            above, slash, below = value.partition("/")
            return float(above) / float(below if slash else 1)
        return float(value) if _is_int(value) else value
    except (ValueError, ZeroDivisionError, OverflowError):
        return value


def tuples(value: Any) -> Any:
    """Lists become tuples, so that a spec can be hashed and compared."""
    return tuple(tuples(v) for v in value) if isinstance(value, list | tuple) else value


def whole(value: Any, minimum: int) -> bool:
    """Whether it is a whole number from `minimum` to what 64 bits hold."""
    return _is_int(value) and minimum <= value < 2**63


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
