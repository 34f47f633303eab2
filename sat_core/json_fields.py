"""Objects that are saved as JSON: each field says once what it must be, and reading a file checks all of them.

A class of such fields is turned into tables by `to_json` and back by `from_json`, which raises a DataError of one line
that begins with the wrong field: ``robust_accuracy.all.low: expected a number in [0, 1], got 'x'``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from sat_core.errors import DataError, quoted
from sat_core.fields import whole

T = TypeVar("T")
Reader = Callable[[Any, str], Any]
"""Returns the value that a JSON value stands for; DataError names the field, its second argument, if it is wrong."""


def json_field(
    reader: Reader, default: Any = attrs.NOTHING, *, key: str = "", omit: bool = False, inline: bool = False
) -> Any:
    """Return an attrs field that `reader` reads and checks.

    Args:
        reader: how to read it, such as `text` or `number()`.
        default: value where the file does not have the field; without one a file has to have it.
        key: name in the file, where that is not the name of the attribute.
        omit: whether the field is left out of the file where it has its default.
        inline: whether the fields of this object stand among those of the object that it is in.
    """
    return attrs.field(default=default, metadata={"reader": reader, "key": key, "omit": omit, "inline": inline})


def from_json(kind: type[T], content: Any, at: str = "", *, strict: bool = False) -> T:
    """Return the object of class `kind` that the table `content` stands for.

    Args:
        kind: an attrs class whose fields are made by `json_field`.
        content: what `json.loads` returned.
        at: where the table stands, for messages.
        strict: whether to refuse fields that `kind` does not have; by default they are ignored.

    Raises:
        DataError: a field is missing or wrong.
    """
    if not isinstance(content, dict):
        raise _wrong(at or "content", "a table", content)
    values: dict[str, Any] = {}
    for field in attrs.fields(kind):  # type: ignore[arg-type]
        name = field.metadata["key"] or field.name
        place = f"{at}.{name}" if at else name
        if field.metadata["inline"]:
            values[field.name] = field.metadata["reader"](content, at)
        elif name in content:
            values[field.name] = field.metadata["reader"](content[name], place)
        elif field.default is attrs.NOTHING:
            raise DataError(f"{place}: missing")
    if strict and (unknown := content.keys() - to_json(kind(**values)).keys()):
        raise DataError(f"{at or 'content'}: unknown field {min(unknown)!r}")
    return kind(**values)


def to_json(value: Any) -> Any:
    """Return `value` as `json.dumps` takes it: tables for objects, lists for tuples."""
    if attrs.has(type(value)):
        table: dict[str, Any] = {}
        for field in attrs.fields(type(value)):
            item = getattr(value, field.name)
            if field.metadata["inline"]:
                table |= to_json(item)
            elif not (field.metadata["omit"] and item == field.default):
                table[field.metadata["key"] or field.name] = to_json(item)
        return table
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value


def number(low: float = -math.inf, high: float = math.inf) -> Reader:
    """Read a finite number in [low, high]; an integer stays one."""
    words = "a finite number"
    if low > -math.inf:
        words = f"a finite number >= {low:g}" if high == math.inf else f"a number in [{low:g}, {high:g}]"

    def read(value: Any, at: str) -> Any:
        fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not fine or not low <= value <= high:
            raise _wrong(at, words, value)
        return value

    return read


def integer(low: int = 0) -> Reader:
    """Read an integer >= `low`."""

    def read(value: Any, at: str) -> Any:
        if not whole(value, low):
            raise _wrong(at, f"an integer >= {low}", value)
        return value

    return read


def text(value: Any, at: str) -> str:
    """Read text."""
    if not isinstance(value, str):
        raise _wrong(at, "text", value)
    return value


def table(value: Any, at: str) -> dict[str, Any]:
    """Read a table of anything."""
    if not isinstance(value, dict):
        raise _wrong(at, "a table", value)
    return value


def part(kind: type[T]) -> Callable[[Any, str], T]:
    """Read an object of class `kind`."""
    return lambda value, at: from_json(kind, value, at)


def optional(reader: Reader) -> Reader:
    """Read null as None, and anything else by `reader`."""
    return lambda value, at: None if value is None else reader(value, at)


def sequence(reader: Reader, length: int | None = None) -> Reader:
    """Read a list, of `length` items if that is given, as a tuple."""
    words = "a list" if length is None else f"a list of {length}"

    def read(value: Any, at: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or length not in (None, len(value)):
            raise _wrong(at, words, value)
        return tuple(reader(item, f"{at}[{place}]") for place, item in enumerate(value))

    return read


def mapping(reader: Reader) -> Reader:
    """Read a table of values that are all of one kind."""
    return lambda value, at: {key: reader(item, f"{at}.{key}") for key, item in table(value, at).items()}


def _wrong(at: str, expected: str, value: Any) -> DataError:
    return DataError(f"{at}: expected {expected}, got {quoted(value)}")
