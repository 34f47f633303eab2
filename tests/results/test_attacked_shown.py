"""Arms whose B was attacked: marked in tables, legends, sentences and files, and nowhere shown as "never attacked"."""

from __future__ import annotations

import csv
import io
from typing import Any

import attrs
import numpy as np
import pytest
from rich.console import Console
from toys import ALL, HALF, NONE, as_rows, result

from sat_evaluation.cli.study_table import print_table
from sat_evaluation.figures.accuracy import accuracy_figure
from sat_evaluation.figures.class_data import class_matrix
from sat_evaluation.figures.cost_data import cost_points
from sat_evaluation.figures.share_data import PublishedCurve, curve_names, share_curves
from sat_evaluation.report.arms_table import arms_table
from sat_evaluation.report.words import arm_names
from sat_evaluation.results.csv_file import csv_text
from sat_evaluation.results.curves import group, series
from sat_evaluation.results.headline import headline
from sat_evaluation.results.rows import Row
from sat_evaluation.results.table import table_cells

MARK, ONLINE = " (B attacked, too)", " (each batch chooses)"


def counted(content: dict[str, Any], attacked: int, in_b: int) -> dict[str, Any]:
    moving = {"moving": True} if in_b else {}
    return {**content, "split": {**content["split"], **moving, "attacked": attacked, "attacked_in_b": in_b}}


def study() -> list[Row]:
    online = counted(result(500, 0.7, strategy="online-hardest"), 960, 960)
    dynamic = counted(result(500, 0.75, subset__rerank=5), 800, 310)
    fixed = [counted(content, n, 0) for content, n in ((NONE, 0), (HALF, 500), (ALL, 1000))]
    return as_rows([dynamic, online, *fixed])  # type: ignore[no-any-return]


def test_tables_mark_the_strategy_and_say_how_many_were_attacked() -> None:
    cells = table_cells(study())
    assert cells["strategy"] == ["plain training", f"hardest{MARK}", f"online-hardest{ONLINE}", "hardest", "full AT"]
    assert cells["ever attacked"] == ["0 %", "80 %", "96 %", "50 %", "100 %"]
    assert cells["share"] == ["0 %", "50 %", "50 %", "50 %", "100 %"]
    output = io.StringIO()
    print_table(study(), Console(file=output, width=200))
    assert "B attacked, too: examples outside of the A of the beginning were attacked" in output.getvalue()
    assert "each batch chooses: no A stays; every batch chooses which of its examples are attacked" in output.getvalue()
    fixed = [row for row in study() if not row.moving]
    assert not {"ever attacked", "strategy"} & table_cells(fixed).keys()
    output = io.StringIO()
    print_table(fixed, Console(file=output, width=200))
    assert "B attacked" not in output.getvalue()
    output = io.StringIO()
    print_table(study()[1:], Console(file=output, width=200))
    assert "B attacked" not in output.getvalue()


@pytest.mark.report
def test_the_legend_has_no_a_where_each_batch_chooses() -> None:
    (legend,) = accuracy_figure(study()).legends
    labels = {text.get_text().replace("\n", " ") for text in legend.get_texts()}
    assert {f"A = hardest examples{MARK}, subset.rerank = 5", f"online-hardest{ONLINE}, subset.rerank = 0"} <= labels


def test_published_curves_are_of_an_a_that_stays() -> None:
    curve = PublishedCurve(measure="robust", source="a poster", values={"hardest": {0.5: 0.4}}, weights="uniform")
    assert [curve.like(row) for row in study() if not row.baseline] == [{}, {}, {0.5: 0.4}]


def test_the_csv_file_has_the_numbers() -> None:
    rows = {row["strategy"] + row["size"]: row for row in csv.DictReader(io.StringIO(csv_text(study()[1:])))}
    assert (rows["online-hardest500"]["attacked"], rows["online-hardest500"]["attacked_in_b"]) == ("960", "960")
    assert (rows["hardest500"]["attacked"], rows["hardest500"]["attacked_in_b"]) == ("500", "0")
    assert rows["hardest500"]["selection_forwards"] == "0"
    # Not counted by an older version: unknown, which is not 0.
    (old,) = csv.DictReader(io.StringIO(csv_text(as_rows([HALF]))))
    assert (old["attacked"], old["attacked_in_b"]) == ("", "")


def test_each_way_of_choosing_is_a_curve_with_its_mark() -> None:
    curves = share_curves(study(), "robust")
    assert [curve.name for curve in curves] == [
        f"hardest{MARK}, subset.rerank = 5",
        f"online-hardest{ONLINE}, subset.rerank = 0",
        "hardest, subset.rerank = 0",
    ]
    assert [[point.share for point in curve.path] for curve in curves] == [[0, 50, 100]] * 3
    assert curve_names(series(study()[1:2])) == [f"online-hardest{ONLINE}"]
    assert f"50 % online-hardest{ONLINE}, subset.rerank = 0" in arm_names(group(study()))
    methods = {point.method.name for point in cost_points(study(), "robust")}
    assert {f"hardest{MARK}, A chosen anew every 5 epochs", f"online-hardest{ONLINE}", "hardest"} <= methods


def test_the_sentence_is_about_the_a_that_stays() -> None:
    assert "(hardest, subset.rerank = 0)" in headline(study())
    assert f"(online-hardest{ONLINE})" in headline(
        [row for row in study() if row.strategy != "hardest" or row.baseline]
    )


def test_a_report_marks_them_as_well() -> None:
    class Run:
        name, rows = "runs/x", study()

    table = arms_table(Run())  # type: ignore[arg-type]
    place, ever = table.heads.index("strategy"), table.heads.index("ever attacked %")
    assert [line[place][0] for line in table.rows][:3] == [f"hardest{MARK}", f"online-hardest{ONLINE}", ""]
    assert [line[ever][0] for line in table.rows] == ["80", "96", "0", "50", "100"]


def test_no_class_is_framed_as_attacked_where_a_moves() -> None:
    plain, full = (
        result(n, r, kind="classes", units=u, per_class=[0.1] * 4) for n, r, u in ((0, 0.4, 0), (1000, 0.8, 4))
    )
    arm = result(250, 0.5, kind="classes", units=1, chosen=(2,), per_class=[0.1, 0.2, 0.3, 0.4])
    moving = counted(arm, 600, 350)
    assert class_matrix(as_rows([plain, arm, full])) is not None
    assert class_matrix(as_rows([plain, moving, full])) is None
    split = as_rows([moving])[0].results.split
    assert split.mask_over(np.arange(4)) is None
    assert attrs.evolve(split, moving=False).mask_over(np.arange(4)).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("in_b", [0, 1])
def test_the_mark_is_about_what_was_attacked(in_b: int) -> None:
    """A that is chosen anew may stay the same."""
    (row,) = as_rows([counted(result(500, 0.75, subset__rerank=5), 500, in_b)])
    assert row.chosen == ("hardest" if not in_b else f"hardest{MARK}")
