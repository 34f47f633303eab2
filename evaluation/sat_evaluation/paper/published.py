"""The numbers that have been published, with their sources: percent in `published.toml`, shares in [0, 1] here."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from sat_evaluation.figures.class_data import PublishedClasses
from sat_evaluation.figures.share_data import PublishedCurve
from sat_evaluation.paper.scales import TENTHS

STRATEGIES = ("hardest", "easiest", "random")
RULES = ("uniform", "balanced", "emphasised")


@cache
def tables() -> dict[str, Any]:
    """The file as it is."""
    return tomllib.loads(files("sat_evaluation.paper").joinpath("published.toml").read_text(encoding="utf-8"))


def weights(figure: str) -> str:
    """The weighting rule of a figure's arms; empty for Fig. 7, which compares all rules."""
    found: dict[str, str] = tables()["weights"]
    return "" if figure == "fig7" else found.get(figure, found["others"])


def examples(data: str) -> int:
    """Of how many test images the accuracies on a data set are (recipe, section 1.3)."""
    return {"caltech256": 4122, "flowers102": 1020}.get(data, 8000)


def curves(figure: str, data: str, target: str = "") -> list[PublishedCurve]:
    """What has been published of a figure's panel; roles as in `sat_evaluation.paper.experiments.Panel`."""
    found = []
    for table in _of("curves", figure, data, target):
        values = {name: dict(zip(TENTHS, _shares(table[name]), strict=True)) for name in STRATEGIES if name in table}
        full = _shares([table["full"]])[0] if "full" in table else None
        found.append(_curve(table, values, full))
    for table in _of("points", figure, data, target):
        values = {name: {table["share"]: table[name] / 100} for name in RULES if name in table}
        found.append(_curve(table, values, None))
    return found


def classes(figure: str, data: str) -> PublishedClasses | None:
    """Of Fig. 2; None for other data."""
    for table in _of("classes", figure, data, ""):
        if "variant" not in table:
            matrix = _of("matrix", figure, data, "")
            whole = next(matrix)
            parts = {name: tuple(_shares(table[name])) for name in ("clean", "robust_a", "robust_b")}
            rows = tuple(tuple(_shares(row)) for row in whole["robust"])
            full = tuple(_shares(whole["full"]))
            return PublishedClasses(source=_source(table), weights=weights(figure), matrix=rows, full=full, **parts)
    return None


def _curve(table: dict[str, Any], values: dict[str, dict[float, float]], full: float | None) -> PublishedCurve:
    return PublishedCurve(
        measure=table["measure"],
        source=_source(table),
        values=values,
        weights=weights(table["figure"]),
        full=full,
        variant=table.get("variant", ""),
    )


def _of(kind: str, figure: str, data: str, target: str) -> Iterator[dict[str, Any]]:
    for table in tables()[kind]:
        if (table["figure"], table["data"], table.get("target", "")) == (figure, data, target):
            yield table


def _source(table: dict[str, Any]) -> str:
    return str(tables()["sources"][table["source"]])


def _shares(values: list[float]) -> list[float]:
    return [value / 100 for value in values]
