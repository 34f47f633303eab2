"""Fields of the spec objects: what a value must be, said once. Errors read ``section.key: expected ..., got ...``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from sat_core.errors import SpecError, quoted
from sat_core.registry import Registry, nearest

Check = Callable[[Any], str | None]
"""Return what was expected if the value is wrong, else None."""
SHAPE = "shape"
"""Key of a field's metadata: a function that returns the JSON Schema of its values, see `sat_core.study_schema`."""
FRACTION = r"^\s*[0-9.eE+-]+\s*(/\s*[0-9.eE+-]+\s*)?$"
"""Regular expression of text that `fraction` reads, as "8/255"."""


def field(
    check: Check,
    default: Any = attrs.NOTHING,
    converter: Callable[[Any], Any] | None = None,
    eq: bool | Callable[[Any], Any] = True,
    init: bool = True,
    shape: Callable[[], dict[str, Any]] | None = None,
) -> Any:
    """Return an attrs field whose value is converted, then checked; `eq` and `init` are those of `attrs.field`."""

    def validate(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        expected = check(value)
        if expected is not None:
            raise SpecError(f"{instance.SECTION}.{attribute.name}: expected {expected}, got {quoted(value)}")

    metadata = {} if shape is None else {SHAPE: shape}
    return attrs.field(default=default, validator=validate, converter=converter, eq=eq, init=init, metadata=metadata)


def given() -> Any:
    """Return a field for the value that was given for a derived field of the same name without the underscore.

    None means that the value is derived. `attrs.evolve` passes this field on, not the derived value, which would be
    stale.
    """
    return attrs.field(default=None, eq=False, repr=False)


def integer(minimum: int, default: Any = attrs.NOTHING, *, init: bool = True) -> Any:
    """Return a field for an integer from `minimum` to the largest that 64 bits hold; True and 3.0 are refused."""

    def check(value: Any) -> str | None:
        return None if whole(value, minimum) else f"an integer >= {minimum}"

    return field(check, default, init=init, shape=lambda: {"type": "integer", "minimum": minimum})


def real(minimum: float = 0.0, below: float = math.inf, default: Any = attrs.NOTHING, *, init: bool = True) -> Any:
    """Return a field for a finite number in [minimum, below); text like "8/255" is read as a fraction."""
    words = f"a finite number >= {minimum:g}" if below == math.inf else f"a number in [{minimum:g}, {below:g})"

    def check(value: Any) -> str | None:
        # NaN fails every comparison, and infinity is not below infinity.
        return None if isinstance(value, float) and minimum <= value < below else words

    def shape() -> dict[str, Any]:
        number = {"type": "number", "minimum": minimum, "exclusiveMaximum": below}
        if below == math.inf:
            del number["exclusiveMaximum"]
        return {"anyOf": [number, {"type": "string", "pattern": FRACTION}]}

    return field(check, default, fraction, init=init, shape=shape)


def choice(names: Callable[[], Iterable[str]] | Iterable[str], default: Any = attrs.NOTHING) -> Any:
    """Return a field for one of `names`; a function is called when a value is checked, as for a registry that grows."""

    def check(value: Any) -> str | None:
        choices = names() if callable(names) else names
        if isinstance(value, str) and value in choices:
            if isinstance(choices, Registry):
                choices.get(value)  # one of another package: what is wrong with it is said here
            return None
        choices = list(choices)
        hint = nearest(value, choices) if isinstance(value, str) else ""
        return f"one of {', '.join(choices)}{hint}"

    return field(check, default, shape=lambda: {"enum": list(names() if callable(names) else names)})


def flag(default: Any = attrs.NOTHING, *, init: bool = True) -> Any:
    """Return a field for true or false."""

    def check(value: Any) -> str | None:
        return None if isinstance(value, bool) else "true or false"

    return field(check, default, init=init, shape=lambda: {"type": "boolean"})


def text(default: Any = attrs.NOTHING) -> Any:
    """Return a field for any text."""
    return field(lambda v: None if isinstance(v, str) else "text", default, shape=lambda: {"type": "string"})


def part() -> Any:
    """Return a field for the name of a part, or its number, which is kept as text; empty by default."""
    return field(
        lambda v: None if isinstance(v, str) else "text, or a number from 0",
        "",
        lambda v: str(v) if whole(v, 0) else v,
        shape=lambda: {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]},
    )


def fraction(value: Any) -> Any:
    """Return "8/255" as 8/255 and 1 as 1.0; anything else is returned as it is, for the validator to refuse."""
    try:
        if isinstance(value, str):
            above, slash, below = value.partition("/")
            # Not fractions.Fraction: the integer that it makes of "1e999999999" fills the memory.
            return float(above) / float(below if slash else 1)
        return float(value) if _is_int(value) else value
    except (ValueError, ZeroDivisionError, OverflowError):
        return value


def tuples(value: Any) -> Any:
    """Return lists as tuples, so that a spec can be hashed and compared."""
    return tuple(tuples(v) for v in value) if isinstance(value, list | tuple) else value


def floats(value: Any) -> Any:
    """Return a list of numbers as a tuple of floats; anything else is left for the validator to refuse."""
    return tuple(fraction(v) for v in value) if isinstance(value, list | tuple) else value


def whole(value: Any, minimum: int) -> bool:
    """Return whether `value` is an integer from `minimum` to the largest that 64 bits hold."""
    # TOML's integers, and numpy's int64, end there.
    return _is_int(value) and minimum <= value < 2**63


def _is_int(value: Any) -> bool:
    # bool is a subclass of int: `true` would pass for the count 1.
    return isinstance(value, int) and not isinstance(value, bool)
