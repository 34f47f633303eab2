"""Published numbers with their sources: percent in ``plan/published.toml``, shares in [0, 1] here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sat_evaluation.figures.class_data import PublishedClasses
from sat_evaluation.figures.class_entropy_data import PublishedTransfer
from sat_evaluation.figures.share_data import PublishedCurve
from sat_evaluation.paper.scales import TENTHS
from sat_evaluation.plan.numbers import source_of, tables

STRATEGIES = ("hardest", "easiest", "random")
RULES = ("uniform", "balanced", "emphasised")


def weights(figure: str) -> str:
    """Return the weighting rule of a figure's arms; empty for Fig. 7, which compares all rules."""
    rules: dict[str, str] = tables()["weights"]
    return "" if figure == "fig7" else rules.get(figure, rules["others"])


def examples(data: str) -> int:
    """Return the number of test images behind the published accuracies on a data set (recipe, section 1.3)."""
    # the authors' code reports on positions 1000 to 8999 of the images, of Caltech-256 on 1000 to 5121
    return {"caltech256": 4122, "flowers102": 1020}.get(data, 8000)


def has_numbers(figure: str) -> bool:
    """Return whether any numbers of a figure have been published, on whatever data set."""
    kinds = ("curves", "points", "classes")
    return any(figure in (table["figure"], *table.get("also", ())) for kind in kinds for table in tables()[kind])


def curves(figure: str, data: str, target: str = "") -> list[PublishedCurve]:
    """Return the published curves and points of one panel.

    Args:
        figure: Name of the figure, such as ``fig6``.
        data: Role of the data set, or of the source.
        target: Role of the target; empty without a transfer.
    """
    found = []
    for table in _tables_of("curves", figure, data, target):
        values = {name: dict(zip(TENTHS, _shares(table[name]), strict=True)) for name in STRATEGIES if name in table}
        full = _shares([table["full"]])[0] if "full" in table else None
        found.append(_curve(table, values, full))
    for table in _tables_of("points", figure, data, target):
        values = {name: {table["share"]: table[name] / 100} for name in RULES if name in table}
        found.append(_curve(table, values, None))
    return found


def classes(figure: str, data: str) -> PublishedClasses | None:
    """Return the published accuracies by class, those of Fig. 2 on CIFAR-10; None for all else."""
    for table in _tables_of("classes", figure, data, ""):
        if "variant" not in table:
            matrix = next(_tables_of("matrix", figure, data, ""))
            return PublishedClasses(
                source=source_of(table),
                matrix_source=source_of(matrix),
                weights=weights(figure),
                clean=tuple(_shares(table["clean"])),
                robust_a=tuple(_shares(table["robust_a"])),
                robust_b=tuple(_shares(table["robust_b"])),
                matrix=tuple(tuple(_shares(row)) for row in matrix["robust"]),
                full=tuple(_shares(matrix["full"])),
            )
    return None


def class_transfer(data: str) -> PublishedTransfer | None:
    """Return the published class entropies beside the robust accuracies on B of Fig. 2; None but for CIFAR-10."""
    numbers = classes("fig2", data)
    table = next(_tables_of("difficulty", "class-entropy", data, ""), None)
    if numbers is None or table is None:
        return None
    return PublishedTransfer(
        source=f"entropy: {source_of(table)}; accuracy: {numbers.source}",
        weights=numbers.weights,
        entropy=tuple(table["entropy"]),
        robust_b=numbers.robust_b,
    )


def _curve(table: dict[str, Any], values: dict[str, dict[float, float]], full: float | None) -> PublishedCurve:
    return PublishedCurve(
        measure=table["measure"],
        source=source_of(table),
        values=values,
        weights=weights(table["figure"]),
        loss=table.get("loss", "ce"),
        full=full,
        variant=table.get("variant", ""),
    )


def _tables_of(kind: str, figure: str, data: str, target: str) -> Iterator[dict[str, Any]]:
    for table in tables()[kind]:
        figures = (table["figure"], *table.get("also", ()))
        if figure in figures and (table["data"], table.get("target", "")) == (data, target):
            yield table


def _shares(percents: list[float]) -> list[float]:
    return [percent / 100 for percent in percents]
