"""How far scores of a ranking agree, as a figure and as a table of the report."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from sat_core.ranking import Ranking
from sat_evaluation.figures.agreement import agreement_figure
from sat_evaluation.report.tables import agreement_table

pytestmark = pytest.mark.report


@pytest.fixture
def ranking() -> Ranking:
    scores = np.arange(20.0)
    return Ranking(scores={"entropy": scores, "error": scores[::-1], "loss": np.roll(scores, 1)})


def test_the_figure_has_every_pair_in_its_place(ranking: Ranking) -> None:
    figure, agreement = agreement_figure(ranking.agreement(), "digits · linear"), ranking.agreement()
    maps = figure.axes
    assert [axes.get_title() for axes in maps] == [
        "Spearman's ρ",
        *(f"% of the hardest {share} % in common (chance: {share})" for share in (10, 30, 50)),
    ]
    values = [agreement.rho, *(100 * overlap for overlap in agreement.overlap.values())]
    for axes, expected, written in zip(maps, values, ("{:.2f}", "{:.0f}", "{:.0f}", "{:.0f}"), strict=True):
        cells = {(text.get_position()): text.get_text() for text in axes.texts}
        assert cells == {(x + 0.5, y + 0.5): written.format(value) for (y, x), value in np.ndenumerate(expected)}
        (mesh,) = axes.collections
        np.testing.assert_allclose(mesh.get_array(), expected)
        assert axes.get_ylim() == (3, 0)  # the first row on top, as in a table
    assert [label.get_text() for label in maps[0].get_yticklabels()] == ["entropy", "error", "loss"]


def test_the_table_of_the_report_has_every_pair(ranking: Ranking) -> None:
    table, agreement = agreement_table("runs/digits", ranking), ranking.agreement()
    assert table.heads == ("ρ", "entropy", "error", "loss")
    assert [cells[0][0] for cells in table.rows] == ["entropy", "error", "loss"]
    assert table.rows[0][2] == ("-1.00", -1.0)
    assert table.file == "runs-digits-agreement.csv"
    heads, *lines = csv.reader(table.csv.splitlines())
    assert heads[:4] == ["score", "other", "ρ", "hardest 10% in common"]
    assert [line[:2] for line in lines] == [["entropy", "error"], ["entropy", "loss"], ["error", "loss"]]
    assert float(lines[1][2]) == pytest.approx(agreement.rho[0, 2])
    assert float(lines[1][5]) == pytest.approx(agreement.overlap[0.5][0, 2]) == pytest.approx(0.9)


def test_a_score_that_is_the_same_for_all_has_no_correlation() -> None:
    ranking = Ranking(scores={"entropy": np.arange(20.0), "forgetting": np.zeros(20)})
    written = {text.get_text() for text in agreement_figure(ranking.agreement()).axes[0].texts}
    assert written == {"1.00", "–"}
    table = agreement_table("runs/digits", ranking)
    assert [cell for cell, _ in table.rows[1][1:]] == ["–", "–"]
    assert table.csv.splitlines()[1].startswith("entropy,forgetting,,")


def test_a_figure_says_why_a_score_with_ties_overlaps_with_itself_by_less_than_all(ranking: Ranking) -> None:
    tied = Ranking(scores={"entropy": np.arange(20.0), "error": np.arange(20.0) // 15})
    assert "ties:" not in " ".join(text.get_text() for text in agreement_figure(ranking.agreement()).texts)
    assert "ties:" in " ".join(text.get_text() for text in agreement_figure(tied.agreement()).texts)
