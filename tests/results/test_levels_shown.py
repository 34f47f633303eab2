"""Arms that were evaluated at different levels: what tables, curves, files and sentences make of them."""

from __future__ import annotations

import csv
import io
from typing import Any

import attrs
import pytest
from rich.console import Console
from toys import accuracy, as_rows, result

from sat_core.arm_results import ArmResults
from sat_core.json_fields import from_json, to_json
from sat_core.result_parts import LevelResults
from sat_evaluation.cli.study_table import print_table
from sat_evaluation.figures.share_data import share_curves
from sat_evaluation.report.share_plots import beside
from sat_evaluation.report.tables import numbers
from sat_evaluation.results.csv_file import csv_text
from sat_evaluation.results.curves import group, series, varied
from sat_evaluation.results.headline import headline, title
from sat_evaluation.results.rows import Row, collect, reported_levels, together
from sat_evaluation.results.table import table_cells


def screened(size: int, robust: float, **options: Any) -> dict[str, Any]:
    """Results of an arm that was screened only."""
    content = result(size, robust, evaluation__attacks="screening", **options)
    content["attacks"] |= {"level": "screening", "breakdown": content["attacks"]["breakdown"][:2]}
    return content


def reported(size: int, robust: float, screening: float, **options: Any) -> dict[str, Any]:
    """Results at the level standard, which begins with screening."""
    content, weaker = result(size, robust, **options), screened(size, screening, **options)
    content["levels"] = [{key: weaker[key] for key in ("robust_accuracy", "attacks")}]
    return content


MIXED = [reported(0, 0.4, 0.42), screened(300, 0.7), reported(500, 0.78, 0.8), reported(1000, 0.8, 0.84)]


def test_rows_are_compared_at_the_level_that_all_have() -> None:
    rows = as_rows(MIXED)
    assert [row.robust.value for row in rows] == [0.42, 0.7, 0.8, 0.84]
    assert {(row.level, row.attacks) for row in rows} == {("screening", "AutoAttack screening")}
    assert reported_levels(rows) == ["standard"]
    assert [at and at.robust.value for at in (row.at("standard") for row in rows)] == [0.4, None, 0.78, 0.8]
    assert varied(rows) == []
    (curve,) = share_curves(rows, "robust")
    assert [point.value for point in curve.path] == pytest.approx([42, 70, 80, 84])
    assert title(rows) == "digits · small-cnn · L2, ε = 0.5 · AutoAttack screening · n = 400"
    assert together(rows) == rows


def test_arms_of_one_level_are_shown_as_they_are() -> None:
    rows = as_rows([each for each in MIXED if each["attacks"]["level"] == "standard"])
    assert [row.robust.value for row in rows] == [0.4, 0.78, 0.8]
    assert reported_levels(rows) == []
    assert "robust %" in table_cells(rows)


def test_without_a_common_level_arms_are_no_curve() -> None:
    other = screened(300, 0.7)
    other["attacks"] |= {"level": "plus"}
    rows = as_rows([other, *MIXED[2:]])
    assert [row.level for row in rows] == ["plus", "standard", "standard"]
    assert varied(rows) == ["evaluation.attacks"]
    assert [curve.settings for curve in series(rows)] == [
        "evaluation.attacks = plus",
        "evaluation.attacks = standard",
    ]
    assert table_cells(rows)["evaluation.attacks"] == ["plus", "standard", "standard"]


def test_a_level_that_came_later_counts_not_the_one_that_was_asked_for() -> None:
    """Two arms that were screened, of which `sat evaluate` reported one; and the same with a list of attacks."""
    later = reported(500, 0.78, 0.8)
    later["spec"]["evaluation"]["attacks"] = "screening"
    assert [row.robust.value for row in as_rows([screened(300, 0.7), later])] == [0.7, 0.8]
    (row,) = as_rows([later])
    assert (row.level, row.spec["evaluation.attacks"]) == ("standard", "standard")
    listed = result(300, 0.7, evaluation__attacks=["apgd-ce"])
    listed["attacks"] |= {"level": "custom", "breakdown": listed["attacks"]["breakdown"][:1]}
    rows = as_rows([listed, later])
    assert [row.level for row in rows] == ["apgd-ce", "standard"]
    assert [row.spec["evaluation.attacks"] for row in rows] == [["apgd-ce"], "standard"]


def test_the_table_has_a_column_for_each_level() -> None:
    columns = table_cells(as_rows(MIXED))
    heads = list(columns)
    assert heads[heads.index("share") + 1 :][:2] == ["robust % (screening)", "robust % (standard)"]
    assert [cell[:4] for cell in columns["robust % (screening)"]] == ["42.0", "70.0", "80.0", "84.0"]
    assert [cell[:4] for cell in columns["robust % (standard)"]] == ["40.0", "", "78.0", "80.0"]
    output = io.StringIO()
    print_table(as_rows(MIXED), Console(file=output, width=140))
    assert "AutoAttack screening" in output.getvalue().splitlines()[0]
    assert "robust % (standard)" in output.getvalue()


def test_a_mean_over_seeds_needs_all_of_them() -> None:
    seeds = [reported(500, 0.7, 0.8), reported(500, 0.8, 0.9, seed=1)]
    (both,) = group(as_rows([*seeds, screened(300, 0.5)])[:2])
    at = both.at("standard")
    assert at is not None
    assert at.accuracy("robust").value == pytest.approx(0.75)
    (one,) = group(as_rows([seeds[0], screened(500, 0.9, seed=1)]))
    assert one.at("standard") is None
    assert one.accuracy("robust").value == pytest.approx(0.85)


def test_the_file_says_the_level_of_each_number() -> None:
    lines = list(csv.DictReader(io.StringIO(csv_text(as_rows(MIXED)))))
    assert {line["level"] for line in lines} == {"screening"}
    assert [line["robust_all"] for line in lines] == ["0.42", "0.7", "0.8", "0.84"]
    assert [line["robust_standard"] for line in lines] == ["0.4", "", "0.78", "0.8"]
    assert [bool(line["robust_standard_low"]) for line in lines] == [True, False, True, True]
    (line,) = csv.DictReader(io.StringIO(csv_text(as_rows([MIXED[0]]))))
    assert (line["level"], line["robust_all"], "robust_standard" in line) == ("standard", "0.4", False)


def test_the_sentence_says_by_which_attacks() -> None:
    assert "bring" in headline(as_rows([result(0, 0.4), result(500, 0.3), result(1000, 0.8)]))
    plain = headline(as_rows([result(0, 0.4), result(500, 0.78), result(1000, 0.8)]))
    assert "AutoAttack" not in plain
    assert headline(as_rows(MIXED)) == f"{plain.removesuffix('.')}; robust accuracy by AutoAttack standard."
    without_half = headline(as_rows([MIXED[0], screened(500, 0.8), MIXED[3]]))
    assert "80.0 % against 84.0 %" in without_half
    assert without_half.endswith("; robust accuracy by AutoAttack screening.")
    fast = [screened(size, robust) for size, robust in ((0, 0.4), (500, 0.6), (1000, 0.8))]
    for each in fast:
        each["attacks"]["engine"] = "fast"
    assert headline(as_rows(fast)).endswith("robust accuracy by AutoAttack screening (fast engine).")


def test_studies_side_by_side_are_drawn_at_a_common_level() -> None:
    ours = as_rows([MIXED[0], MIXED[2], MIXED[3]])
    theirs = as_rows([screened(size, robust) for size, robust in ((0, 0.4), (500, 0.6), (1000, 0.8))])
    plot = beside([("ours", ours), ("theirs", theirs)])
    assert plot is not None
    assert plot.measured == "AutoAttack screening"
    assert [curve.name for curve in plot.curves] == ["ours", "theirs"]
    assert [mark.y for mark in plot.curves[0].marks] == pytest.approx([42, 80, 84])
    assert numbers(plot).csv.splitlines()[0].endswith(",attacks")
    assert {line.rsplit(",", 1)[1] for line in numbers(plot).csv.splitlines()[1:]} == {"AutoAttack screening"}
    bare = [attrs.evolve(row, results=attrs.evolve(row.results, levels=())) for row in ours]
    apart = beside([("ours", collect(row.results for row in bare)), ("theirs", theirs)])
    assert apart is not None
    assert [curve.name for curve in apart.curves] == [
        "ours (AutoAttack standard)",
        "theirs (AutoAttack screening)",
    ]


def test_results_of_levels_come_back_as_they_were() -> None:
    results = ArmResults.from_json(MIXED[0])
    assert results.to_json() == MIXED[0]
    weaker = from_json(LevelResults, MIXED[0]["levels"][0])
    assert to_json(weaker) == MIXED[0]["levels"][0]
    assert Row(results).at("screening") == Row(results.at("screening") or results)
    wrong = reported(0, 0.4, 0.42)
    wrong["levels"][0]["robust_accuracy"]["all"] = {**accuracy(0.42, 400), "low": 0.9}
    with pytest.raises(Exception, match=r"^levels\[0\]\.robust_accuracy: expected accuracies within their intervals"):
        ArmResults.from_json(wrong)
