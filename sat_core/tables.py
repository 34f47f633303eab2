"""Settings as nested tables, and the same as dotted keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sat_core.errors import SpecError, quoted
from sat_core.files import parse_toml


def flatten(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Convert nested tables to dotted keys.

    >>> flatten({"training": {"lr": 0.1}, "protocol": "paper"})
    {'training.lr': 0.1, 'protocol': 'paper'}
    """
    flat: dict[str, Any] = {}
    for section, table in tables.items():
        flat |= {f"{section}.{k}": v for k, v in table.items()} if isinstance(table, Mapping) else {section: table}
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Convert dotted keys to nested tables.

    >>> nest({"training.lr": 0.1, "protocol": "paper"})
    {'training': {'lr': 0.1}, 'protocol': 'paper'}
    """
    tables: dict[str, Any] = {}
    for key, value in flat.items():
        section, dot, name = key.partition(".")
        if dot:
            tables.setdefault(section, {})[name] = value
        else:
            tables[section] = value
    return tables


def lists(value: Any) -> Any:
    """Return the value with lists in place of its tuples, as TOML has them.

    >>> lists((1, (2, 3)))
    [1, [2, 3]]
    """
    return [lists(v) for v in value] if isinstance(value, list | tuple) else value


def parse_setting(text: str) -> tuple[str, Any]:
    """Split ``key=value`` of the command line; the value is read as TOML, or else as text (``8/255``, ``cosine``)."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SpecError(f"--set: expected key=value, got {quoted(text)}")
    try:
        return key.strip(), parse_toml(f"value = {value}")["value"]
    except ValueError:
        return key.strip(), value.strip()
