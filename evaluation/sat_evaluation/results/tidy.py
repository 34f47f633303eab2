"""Tidy tables of a study: one row per arm, class, check, test image or training example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import attrs
import numpy as np

from sat_core.accuracy import Accuracy
from sat_core.errors import SpecError
from sat_core.ranking import Ranking
from sat_core.registry import unknown
from sat_core.run_folder import RunFolder
from sat_evaluation.results.csv_file import csv_records, interval_columns
from sat_evaluation.results.flags import image_flags, members
from sat_evaluation.results.rows import Row

Column = Sequence[Any] | np.ndarray


@final
@attrs.frozen(eq=False)
class Tidy:
    """A table of which a part is in memory at a time.

    Attributes:
        columns: Type of the values of each column, in order: str, int, float or bool. A value may be None.
        parts: Rows, as values by column; those of one arm where a study has many.
    """

    columns: dict[str, type]
    parts: Iterator[Mapping[str, Column]]


def table(what: str, rows: Sequence[Row], folder: RunFolder) -> Tidy:
    """Return a table of the finished arms of a study or a transfer.

    Args:
        what: One of `TABLES`.
        rows: The arms, as `sat_evaluation.results.rows.collect` returns them.
        folder: Of the study; the tables ``images`` and ``examples`` read its files, those of one arm after another.

    Raises:
        SpecError: There is no such table.
        DataError: A file that is needed is missing or damaged; also while `parts` are read.
    """
    if what not in TABLES:
        raise SpecError(unknown("table", what, TABLES))
    return TABLES[what](rows, folder)


def _arms(rows: Sequence[Row], _folder: RunFolder) -> Tidy:
    records = arm_records(rows)
    names = list(records[0]) if records else ["arm"]
    columns = {name: [record[name] for record in records] for name in names}
    kinds = {name: _kind(values) for name, values in columns.items()}
    # of several types, as the name of a set of attacks and a list of attacks are: their text
    whole = {name: _texts(column) if kinds[name] is str else column for name, column in columns.items()}
    return Tidy(kinds, iter([whole] if records else []))


def arm_records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one record per arm: the columns of ``summary.csv``, then data, threat model, seeds and warnings."""
    return [
        {
            **record,
            "data": row.data,
            "source": row.source,
            "device": row.results.device,
            "norm": row.results.attacks.norm,
            "eps": row.results.attacks.eps,
            "engine": row.results.attacks.engine,
            "ranking_seed": row.results.seeds.get("ranking"),
            "attack_seed": row.results.seeds.get("attack"),
            "epochs": row.results.epochs,
            "warnings": "; ".join(row.full.all_warnings),
        }
        for row, record in zip(rows, csv_records(rows), strict=True)
    ]


def _classes(rows: Sequence[Row], _folder: RunFolder) -> Tidy:
    kinds = {"arm": str, "class": int, "name": str, "in_A": bool, "n": int, "level": str}
    accuracies = _interval_kinds("clean") | _interval_kinds("robust")

    def parts() -> Iterator[Mapping[str, Column]]:
        for row in rows:
            split, robust = row.results.trained.split, row.results.robust.per_class or ()
            clean = row.results.clean.per_class or (None,) * len(robust)
            # classes of a transfer are others than those that the source has in A
            known = split.kind == "classes" and not split.moving and not row.source
            records = [
                {
                    "arm": row.arm,
                    "class": number,
                    "name": row.class_names[number],
                    "in_A": number in split.classes if known else None,
                    "n": each.n if each else 0,
                    "level": row.level,
                    **interval_columns("clean", clean[number]),
                    **interval_columns("robust", each),
                }
                for number, each in enumerate(robust)
            ]
            yield _by_column(records, [*kinds, *accuracies])

    return Tidy(kinds | accuracies, parts())


def _checks(rows: Sequence[Row], _folder: RunFolder) -> Tidy:
    kinds = {"arm": str, "epoch": int, "chosen": bool, "n": int}
    accuracies = _interval_kinds("clean") | _interval_kinds("robust") | {"robust_A": float, "robust_B": float}

    def parts() -> Iterator[Mapping[str, Column]]:
        for row in rows:
            records = [
                {
                    "arm": row.arm,
                    "epoch": check.epoch,
                    "chosen": check.epoch == row.epoch,
                    "n": check.robust.all.n,
                    **interval_columns("clean", check.clean.all),
                    **interval_columns("robust", check.robust.all),
                    "robust_A": _value(check.robust.a),
                    "robust_B": _value(check.robust.b),
                }
                for check in row.results.selection.checks
            ]
            yield _by_column(records, [*kinds, *accuracies])

    return Tidy(kinds | accuracies, parts())


def _images(rows: Sequence[Row], folder: RunFolder) -> Tidy:
    kinds = {"arm": str, "level": str, "image": int, "label": int, "class": str}
    flags_of = {"predicted": int, "correct": bool, "robust": bool, "broken_by": str}

    def parts() -> Iterator[Mapping[str, Column]]:
        for row in rows:
            flags = image_flags(folder.unit(row.arm), row.results)
            count, names = len(flags.image), np.array(row.class_names)
            yield {
                "arm": [row.arm] * count,
                "level": [row.level] * count,
                "image": flags.image,
                "label": flags.label,
                "class": names[flags.label],
                "predicted": flags.predicted,
                "correct": flags.correct,
                "robust": flags.robust,
                "broken_by": flags.broken_by,
            }

    return Tidy(kinds | flags_of, parts())


def _examples(rows: Sequence[Row], folder: RunFolder) -> Tidy:
    scores = Ranking.read(folder.ranking).scores if folder.ranking.has_ranking else {}
    kinds = {"arm": str, "example": int, "in_A": bool, "in_A_at_end": bool, "attacked": int}

    def parts() -> Iterator[Mapping[str, Column]]:
        for row in rows:
            count = row.results.data.train
            yield {
                "arm": [row.arm] * count,
                "example": np.arange(count),
                **members(folder.unit(row.arm), row.results),
                **scores,
            }

    return Tidy({**kinds, **dict.fromkeys(scores, float)}, parts())


TABLES: dict[str, Callable[[Sequence[Row], RunFolder], Tidy]] = {
    "arms": _arms,
    "classes": _classes,
    "checks": _checks,
    "images": _images,
    "examples": _examples,
}
"""Tables by name; docs/results.md says what their columns are."""


def _interval_kinds(name: str) -> dict[str, type]:
    return dict.fromkeys(interval_columns(name, None), float)


def _value(accuracy: Accuracy | None) -> float | None:
    return accuracy and accuracy.value


def _by_column(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[Any]]:
    return {name: [record[name] for record in records] for name in names}


def _kind(values: Sequence[Any]) -> type:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and kinds:
        return float if float in kinds else int
    return bool if kinds == {bool} else str


def _texts(values: Sequence[Any]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]
