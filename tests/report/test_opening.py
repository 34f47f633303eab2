"""The first screen of a report and its paragraph on methods, from results that were never computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from toys import ALL, HALF, NONE, accuracy, as_rows, result

from sat_core.calibration import CalibrationSummary, calibration
from sat_core.corrupted import CorruptionSummary
from sat_core.files import write_json
from sat_core.ranking import Ranking
from sat_core.run_folder import RunFolder
from sat_evaluation.report.arms_table import arms_tables
from sat_evaluation.report.axes import Axis
from sat_evaluation.report.bars import difficulty_charts
from sat_evaluation.report.charts import Curve, Mark, Plot
from sat_evaluation.report.citations import citations
from sat_evaluation.report.class_tables import class_table
from sat_evaluation.report.confidence import corruptions, reliability
from sat_evaluation.report.gather import Run
from sat_evaluation.report.law_plots import law_blocks
from sat_evaluation.report.methods import methods
from sat_evaluation.report.opening import Opening, opening
from sat_evaluation.report.table import Table, plain_table
from sat_evaluation.report.tables import numbers
from sat_evaluation.report.threats import threats
from sat_evaluation.results.headline import headline
from sat_evaluation.results.law import curve_laws

pytestmark = pytest.mark.report


def run(*results: dict[str, Any]) -> Run:
    """A run of these results, in a folder that is not there."""
    unused: dict[str, Any] = {"settings": [], "spec": "", "unfinished": [], "ranking": None, "data": None}
    return Run(folder=RunFolder(Path("nowhere")), name="study", rows=as_rows(results), problems=[], **unused)


def opened(*results: dict[str, Any]) -> Opening:
    return opening(run(*results), None)


def facts(one: Opening) -> dict[str, tuple[str, str]]:
    return {fact.name: (fact.value, fact.detail) for fact in one.facts}


def test_the_question_says_what_is_attacked() -> None:
    asks = "How much of the robustness of full adversarial training does attacking "
    assert opened(NONE, HALF, ALL).question == f"{asks}the hardest 50 % bring on digits?"
    random = result(300, 0.7, strategy="random")
    assert opened(NONE, random, ALL).question == f"{asks}a random 30 % bring on digits?"
    classes = result(400, 0.7, kind="classes", units=2, chosen=(0, 1))
    assert opened(NONE, classes, ALL).question == f"{asks}the hardest classes (40 %) bring on digits?"
    listed = result(250, 0.7, strategy="listed", kind="classes", units=1, chosen=(2,))
    assert opened(NONE, listed, ALL).question == f"{asks}only c2 (25 %) bring on digits?"
    assert opened(HALF, random).question == "Which of these trainings is most robust on digits?"
    assert opened().question == "study"


def test_the_question_names_no_folder() -> None:
    own = result(500, 0.5)
    own["data"]["name"] = "npz:/home/me/cats.npz"
    assert opened(own).question == "How robust is a network on npz:cats.npz?"


def test_the_answer_is_the_headline_and_facts_compare_with_the_baselines() -> None:
    one = opened(NONE, HALF, ALL)
    assert one.answer == headline(as_rows([NONE, HALF, ALL]), RunFolder(Path("nowhere")))
    value, detail = facts(one)["Robust accuracy"]
    assert value == "81.5 %"
    assert "full AT 83.0 %" in detail
    assert "plain training 43.0 %" in detail
    # 7 x 500 + 1000 + 600 for the ranking, of 7 x 1000 + 1000
    assert facts(one)["Gradient evaluations"][0] == "64 %"
    assert (
        "of full AT: 5.1 thousand against 8 thousand, those of the ranking (" in facts(one)["Gradient evaluations"][1]
    )
    # three trainings of 60 s, three checks of 1 s, three evaluations of 5 s
    assert facts(one)["The whole study"] == ("3 min", "3 arms: training 3 min, checks 3 s, report 15 s")


def test_without_baselines_the_facts_are_those_of_the_most_robust_arm() -> None:
    value, detail = facts(opened(result(300, 0.6), HALF))["Robust accuracy"]
    assert value == "81.5 %"
    assert "50 % hardest" in detail


def test_the_picture_is_robust_accuracy_over_a() -> None:
    picture: Any = opened(NONE, HALF, ALL).picture
    assert [(mark.x, mark.y) for mark in picture.curves[0].marks] == [(0, 43.0), (50, 81.5), (100, 83.0)]
    assert [(level.name, level.y) for level in picture.levels] == [("full AT", 83.0)]


def test_methods_say_what_the_settings_say() -> None:
    trades = result(500, 0.7, loss__kind="trades", training__lr=0.05, attack__eps=1.0)
    text = methods(as_rows([NONE, HALF, trades, ALL]))
    for words in (
        "We trained small-cnn on digits [alpaydin1998optical] (1,000 training and 400 test images of 8 x 8 pixels",
        "Training took 10 epochs of SGD in batches of 128 with a learning rate of 0.1 and 0.05",
        "A was made of examples (strategy: hardest) and held 50 % of the training images.",
        "Baselines were plain training and full AT.",
        "made by pgd [madry2018towards] in 7 steps of 0.1 and 0.2 in an L2 ball of ε = 0.5 and L2 ball of ε = 1",
        "with the loss ce and trades [zhang2019theoretically] on A",
        "n = 400 other test images",
        "AutoAttack standard [croce2020reliable]",
    ):
        assert words in text


def test_citations_are_of_what_was_used() -> None:
    bibtex = citations(as_rows([NONE, HALF]))
    keys = [line.partition("{")[2].rstrip(",") for line in bibtex.splitlines() if line.startswith("@")]
    expected = ["losch2024adversarial", "croce2020reliable", "alpaydin1998optical", "madry2018towards", "satcore"]
    assert sorted(keys) == sorted(expected)
    assert bibtex.count("{") == bibtex.count("}")
    other = result(500, 0.5, attack__kind="rs-fgsm", loss__kind="mart")
    other["data"]["name"] = "cifar10?root=/home/me"
    bibtex = citations(as_rows([other]))
    assert all(key in bibtex for key in ("wong2020fast", "wang2020improving", "krizhevsky2009learning"))
    assert "madry" not in bibtex
    assert "/home" not in bibtex


def test_the_law_is_drawn_with_its_band() -> None:
    sizes = {0: 0.2, 100: 0.5, 300: 0.66, 500: 0.71, 1000: 0.75}
    laws = curve_laws(as_rows(result(size, robust) for size, robust in sizes.items()))
    note, group, table = law_blocks(laws, "study")
    assert "95 %" in note.text  # type: ignore[union-attr]
    plot: Any = group.charts[0]  # type: ignore[union-attr]
    (band,) = plot.bands
    assert all(low <= high for _, low, high in band.points)
    (measured,) = [curve for curve in plot.curves if curve.name == "measured"]
    assert [(mark.x, mark.y) for mark in measured.marks] == [
        (size / 10, pytest.approx(100 * robust)) for size, robust in sizes.items()
    ]
    assert isinstance(table, Table)
    assert [line[2] for line in table.lines] == [laws[0].enough.value]
    assert list(law_blocks([], "study")) == []


def test_threat_models_side_by_side(tmp_path: Path) -> None:
    half = run(NONE, HALF)
    row = half.rows[1]
    whole = {"all": accuracy(0.8, 50), "A": None, "B": None}
    attacks = {**HALF["attacks"], "eps": 0.25}
    summary = {
        "grid": "L2:0.25",
        "clean_accuracy": {**whole, "all": accuracy(0.9, 50)},
        "every_threat": {**whole, "all": accuracy(0.7, 50)},
        "threats": [{"robust_accuracy": whole, "attacks": attacks}],
        "experiment": "0",
    }
    folder = RunFolder(tmp_path)
    path = folder.unit(row.arm).measured_file("grid")
    path.parent.mkdir(parents=True)
    assert threats(attrs.evolve(half, folder=folder)) is None
    write_json(path, summary)
    matrix = threats(attrs.evolve(half, folder=folder))
    assert matrix is not None
    assert matrix.columns == ("clean", "L2 ε = 0.25", "under every one")
    assert [cell.value for cell in matrix.cells[0]] == [0.9, 0.8, 0.7]
    for damaged in ({**summary, "experiment": "1"}, {**summary, "threats": 3}):
        write_json(path, damaged)
        assert threats(attrs.evolve(half, folder=folder)) is None


def test_calibration_and_corruptions_are_drawn(tmp_path: Path) -> None:
    half = attrs.evolve(run(NONE, HALF), folder=RunFolder(tmp_path))
    assert reliability(half) is None
    assert corruptions(half) is None
    unit = half.folder.unit(half.rows[1].arm)
    unit.measured_file("calibration").parent.mkdir(parents=True)
    measured = calibration(np.log([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 1]))
    write_json(unit.measured_file("calibration"), CalibrationSummary(clean=measured).to_json())
    plot = reliability(half)
    assert plot is not None
    (curve,) = [each for each in plot.curves if not each.reference]
    assert [(mark.x, mark.y) for mark in curve.marks] == [(pytest.approx(60), 0), (pytest.approx(80), 100)]
    assert any("expected calibration error: 50 % hardest 40.0 %" in note for note in plot.notes)
    flags = {"fog": np.array([[True, True], [True, False]])}
    summary = CorruptionSummary.of(
        np.array([True, True]), flags, np.array([0, 1]), constants="small", left_out=("snow",)
    )
    write_json(unit.measured_file("corruptions"), summary.to_json())
    matrix = corruptions(half)
    assert matrix is not None
    assert matrix.columns == ("clean", "fog", "mean")
    assert [cell.value for cell in matrix.cells[0]] == [1.0, 0.75, 0.75]
    assert "100.0, 50.0 % by severity" in matrix.cells[0][1].tip


def test_what_was_expected_stands_beside_what_it_took() -> None:
    arms = [{**arm, "cost": {**arm["cost"], "expected_seconds": 60.0}} for arm in (NONE, HALF, ALL)]
    assert "the arms were expected to take 3 min and took 3 min" in facts(opened(*arms))["The whole study"][1]
    assert "expected" not in facts(opened(NONE, *arms[1:]))["The whole study"][1]


def test_the_headline_of_seeds_is_their_mean() -> None:
    """Where there is nothing to compare with, the better one of two seeds is no answer."""
    half = [result(500, robust, seed=seed) for seed, robust in enumerate((0.5, 0.75))]
    assert run(*half).headline.startswith("The highest robust accuracy is 62.5 % [")
    assert "], the mean of 2 seeds of 50 % hardest, at 96.0 % clean accuracy" in run(*half).headline
    assert "], of hardest-500-0, at " in run(half[0]).headline


def test_seeds_have_their_mean_and_deviation_beside_the_interval_over_images() -> None:
    half = [result(500, robust, seed=seed, parts=(0.5, 0.4)) for seed, robust in enumerate((0.5, 0.75))]
    half[0]["cost"]["seconds"] |= {"training": 20.0, "watch": 4.0}
    means, arms = arms_tables(run(NONE, *half, ALL))
    cells = dict(zip(means.heads, means.rows[1], strict=True))
    assert cells["robust %"] == ("62.5 ± 17.7 [57.7, 67.1]", 0.625)
    assert cells["clean %"][0] == "96.0 ± 0.0"
    assert cells["seeds"] == ("2", 2)
    assert cells["epoch"][0] == "7–8"
    # training, checks with what was watched, and report
    assert [cells[stage] for stage in ("training", "checks", "report")] == [("40 s", 40.0), ("3 s", 3.0), ("5 s", 5.0)]
    line = dict(zip(means.columns, means.lines[1], strict=True))
    assert (line["robust_all"], line["robust_all_deviation"]) == (0.625, pytest.approx(0.1768, abs=1e-4))
    assert dict(zip(means.columns, means.lines[0], strict=True))["robust_all_deviation"] is None
    assert dict(zip(arms.heads, arms.rows[1], strict=True))["robust %"][0].startswith("50.0 [")
    assert len(list(arms_tables(run(NONE, HALF, ALL)))) == 1
    picture: Any = opened(NONE, *half, ALL).picture
    table = numbers(picture)
    assert table.columns == ("curve", picture.x.label, picture.y.label, "low", "high", "deviation", "attacks")
    assert [line[5] for line in table.lines] == ["", pytest.approx(17.68, abs=0.01), "", ""]
    assert "± 17.7 over 2 seeds" in picture.curves[0].marks[1].tip
    one = opened(NONE, *half, ALL)
    assert facts(one)["Robust accuracy"][1].startswith("± 17.7 [57.7, 67.1]; full AT 83.0 % [")
    assert "±: standard deviation over seeds." in one.terms
    assert "±" not in opened(NONE, HALF, ALL).terms


def test_numbers_of_a_curve_have_no_interval_where_there_is_none() -> None:
    marks = (Mark(x=1, y=2, low=1, high=3, tip=""), Mark(x=2, y=2, low=2, high=2, tip=""))
    axis = Axis(label="", low=0, high=3, ticks=())
    plot = Plot(title="", text="", x=axis, y=axis, curves=(Curve(name="c", number=0, marks=marks),))
    assert numbers(plot).lines == (("c", 1, 2, 1, 3), ("c", 2, 2, "", ""))


def test_classes_are_told_for_every_kind_of_a() -> None:
    arms = [result(size, 0.5, per_class=[0.5, 0.25, None, 1.0]) for size in (0, 500, 1000)]
    table = class_table(run(*arms))
    assert table is not None
    assert [row[0][0] for row in table.rows] == ["c0", "c1", "c2", "c3"]
    assert [row[1][1] for row in table.rows] == [0.5, 0.25, -1.0, 1.0]
    assert class_table(run(NONE, HALF, ALL)) is None  # nothing is known of any class


def test_files_of_a_table_have_the_same_numbers() -> None:
    table = plain_table(("a", "b,c"), [("=1", 0.5), ("x", float("nan")), ("y", None)], file="t.csv", caption="")
    assert table.csv == 'a,"b,c"\n\'=1,0.5\nx,nan\ny,\n'
    assert json.loads(table.json) == {"columns": ["a", "b,c"], "data": [["=1", 0.5], ["x", None], ["y", None]]}
    assert [name for _, name, _ in table.links] == ["t.csv", "t.json"]


def test_a_chart_of_no_errors_has_an_axis_that_can_be_read() -> None:
    ranking = Ranking(scores={"entropy": np.array([1.0, 3.0]), "error": np.zeros(2)})
    entropy, error = difficulty_charts(ranking, np.array([0, 1]), ["cat", "dog"])
    assert (entropy.highest, error.highest) == (3, 1)
