"""The block of YAML on top of a model card, which hubs read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "bsd", "isc", "mpl-2.0", "unlicense", "zlib", "wtfpl"),
    *("gpl-2.0", "gpl-3.0", "gpl", "lgpl-2.1", "lgpl-3.0", "lgpl", "agpl-3.0", "eupl-1.2", "epl-2.0", "artistic-2.0"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-3.0", "cc-by-sa-4.0", "cc-by-sa-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    *("cc-by-nd-4.0", "cc-by-nc-nd-4.0", "odbl", "odc-by", "pddl", "openrail", "bigscience-openrail-m", "other"),
)
"""Identifiers that Hugging Face's hub takes as they are; any other licence is ``other`` with a name."""


def licence_fields(licence: str) -> dict[str, str]:
    """Return the fields that say under which licence a network is.

    Args:
        licence: An identifier, or any name; empty where nobody has chosen one.

    >>> licence_fields("MIT"), licence_fields("")
    ({'license': 'mit'}, {'license': 'other', 'license_name': 'unknown'})
    """
    if licence.lower() in LICENCES:
        return {"license": licence.lower()}
    # The hub takes small letters, digits, dots and dashes.
    name = re.sub(r"[^a-z0-9.-]+", "-", licence.lower()).strip("-")
    return {"license": "other", "license_name": name or "unknown"}


def front_matter(fields: Mapping[str, Any]) -> str:
    """Return fields as a block of YAML between lines of dashes; texts are quoted as in JSON, which YAML reads alike."""
    return "\n".join(["---", *_lines(fields, ""), "---", ""])


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, Mapping | list | tuple) and item:
                yield f"{indent}{key}:"
                yield from _lines(item, indent + "  ")
            else:
                yield f"{indent}{key}: {_scalar(item)}"
        return
    for item in value:
        if isinstance(item, Mapping):
            first, *rest = _lines(item, indent + "  ")
            yield f"{indent}- {first.strip()}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(item)}"


def _scalar(value: Any) -> str:
    # Escapes of JSON are those of YAML's double quotes; a plain word needs none.
    plain = isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9]*([.-][a-z0-9]+)*", value)
    return (
        value
        if plain and value not in ("true", "false", "null", "yes", "no", "on", "off")
        else json.dumps(value, ensure_ascii=False)
    )
