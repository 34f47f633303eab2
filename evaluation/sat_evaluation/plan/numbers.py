"""Published numbers as they were published: percent, by figure and data set."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def tables() -> dict[str, Any]:
    """Return ``published.toml``, whose comments say what is in it; accuracies are in percent."""
    return tomllib.loads(files("sat_evaluation.plan").joinpath("published.toml").read_text(encoding="utf-8"))


def source_of(table: dict[str, Any]) -> str:
    """Return where a table of ``published.toml`` was published, in words."""
    return str(tables()["sources"][table["source"]])
