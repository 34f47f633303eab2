"""Objects that are saved as JSON: each field says once what it must be, and reading a file checks all of them.

A class of such fields is turned into tables by `to_json` and back by `from_json`, which raises a DataError of one line
that begins with the wrong field: ``robust_accuracy.all.low: expected a number in [0, 1], got 'x'``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import attrs

from sat_core.errors import DataError, quoted
from sat_core.fields import whole

T = TypeVar("T")
_LARGEST = sys.float_info.max
Reader = Callable[[Any], Any]
"""Return the value that a JSON value stands for; raise Unfit if it is not what the field must be."""


class Unfit(Exception):
    """A value that is not what its field must be; `from_json` makes a DataError of it.

    Args:
        expected: What the field must be, in words.
        value: What it is.
    """

    def __init__(self, expected: str, value: Any) -> None:
        super().__init__(f"expected {expected}, got {quoted(value)}")
        self.path = ""

    def below(self, place: str) -> Unfit:
        """Return this error as seen from one level up, where the value is at `place`: a key, or ``[0]`` in a list."""
        self.path = place + ("." if self.path and not self.path.startswith("[") else "") + self.path
        return self


class _Missing(Unfit):
    def __str__(self) -> str:
        return "missing"


def json_field(
    reader: Reader, default: Any = attrs.NOTHING, *, key: str = "", omit: bool = False, inline: bool = False
) -> Any:
    """Return an attrs field that `reader` reads and checks.

    Args:
        reader: How to read it, such as `text` or `number()`.
        default: Value where the file does not have the field; without one a file has to have it.
        key: Name in the file, where that is not the name of the attribute.
        omit: Whether the field is left out of the file where it has its default.
        inline: Whether the fields of this object stand among those of the object that it is in.
    """
    return attrs.field(default=default, metadata={"reader": reader, "key": key, "omit": omit, "inline": inline})


def from_json(kind: type[T], content: Any, *, strict: bool = False) -> T:
    """Return the object of class `kind` that the table `content` stands for.

    Args:
        kind: An attrs class whose fields are made by `json_field`.
        content: What `json.loads` returned.
        strict: Whether to refuse fields that `kind` does not have; by default they are ignored.

    Raises:
        DataError: A field is missing or wrong.
    """
    try:
        made = part(kind)(content)
    except Unfit as error:
        raise DataError(f"{error.path or 'content'}: {error}") from error
    if strict and (unknown := content.keys() - to_json(made).keys()):
        raise DataError(f"unknown field {min(unknown)!r}")
    return made


def to_json(value: Any) -> Any:
    """Return `value` as `json.dumps` takes it: tables for objects, lists for tuples."""
    if attrs.has(type(value)):
        content: dict[str, Any] = {}
        for field in attrs.fields(type(value)):
            item = getattr(value, field.name)
            if field.metadata["inline"]:
                content |= to_json(item)
            elif not (field.metadata["omit"] and item == field.default):
                content[field.metadata["key"] or field.name] = to_json(item)
        return content
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value


def part(kind: type[T]) -> Callable[[Any], T]:
    """Read an object of class `kind`."""

    def read(value: Any) -> T:
        content, values = table(value), {}
        for name, key, reader, required in _readers(kind):  # type: ignore[arg-type]  # a class has a hash
            if not key:
                values[name] = reader(content)
                continue
            try:
                if key in content:
                    values[name] = reader(content[key])
                elif required:
                    raise _Missing(key, None)
            except Unfit as error:
                raise error.below(key) from None
        return kind(**values)

    return read


@cache
def _readers(kind: type) -> tuple[tuple[str, str, Reader, bool], ...]:
    """Name, key (empty if inline), reader of each field, and whether it is required; looked up once per class."""
    return tuple(
        (
            field.name,
            "" if field.metadata["inline"] else field.metadata["key"] or field.name,
            field.metadata["reader"],
            field.default is attrs.NOTHING,
        )
        for field in attrs.fields(kind)
    )


def number(low: float = -math.inf, high: float = math.inf) -> Reader:
    """Read a finite number in [low, high]; an integer stays one."""
    words = "a finite number"
    if low > -math.inf:
        words = f"a finite number >= {low:g}" if high == math.inf else f"a number in [{low:g}, {high:g}]"

    def read(value: Any) -> Any:
        # The type of True is bool. Integers beyond the floats, which JSON allows, have no isfinite.
        if type(value) in (int, float) and max(low, -_LARGEST) <= value <= min(high, _LARGEST):
            return value
        raise Unfit(words, value)

    return read


def integer(low: int = 0) -> Reader:
    """Read an integer >= `low`."""

    def read(value: Any) -> Any:
        if not whole(value, low):
            raise Unfit(f"an integer >= {low}", value)
        return value

    return read


def text(value: Any) -> str:
    """Read text."""
    if not isinstance(value, str):
        raise Unfit("text", value)
    return value


def flag(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise Unfit("true or false", value)
    return value


def table(value: Any) -> dict[str, Any]:
    """Read a table of anything."""
    if not isinstance(value, dict):
        raise Unfit("a table", value)
    return value


def optional(reader: Reader) -> Reader:
    """Read null as None, and anything else by `reader`."""
    return lambda value: None if value is None else reader(value)


def sequence(reader: Reader, length: int | None = None) -> Reader:
    """Read a list, of `length` items if that is given, as a tuple."""
    words = "a list" if length is None else f"a list of {length}"

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or length not in (None, len(value)):
            raise Unfit(words, value)
        items = []
        for place, item in enumerate(value):
            try:
                items.append(reader(item))
            except Unfit as error:
                raise error.below(f"[{place}]") from None
        return tuple(items)

    return read


def mapping(reader: Reader) -> Reader:
    """Read a table of values that are all of one kind."""

    def read(value: Any) -> dict[str, Any]:
        items = {}
        for key, item in table(value).items():
            try:
                items[key] = reader(item)
            except Unfit as error:
                raise error.below(key) from None
        return items

    return read
