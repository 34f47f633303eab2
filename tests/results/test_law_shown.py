"""The law of |A| from a study's rows: which curves have one, the sentence, and the figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toys import ALL, NONE, as_rows, result

from sat_evaluation.figures.canvas import save_figure
from sat_evaluation.figures.law import law_figure
from sat_evaluation.results.law import curve_laws, enough_words, law_sentence
from sat_evaluation.statistics.interval import Interval

CURVE = [NONE, result(100, 0.62), result(300, 0.75), result(500, 0.80), ALL]


def test_a_law_needs_both_ends_four_shares_and_an_order() -> None:
    assert len(curve_laws(as_rows(CURVE))) == 1
    assert curve_laws(as_rows(CURVE[1:])) == []
    assert curve_laws(as_rows(CURVE[:-1])) == []
    assert curve_laws(as_rows([NONE, CURVE[1], ALL])) == []
    assert law_sentence([]) == ""


def test_the_sentence_says_how_much_is_enough() -> None:
    (one,) = curve_laws(as_rows(CURVE))
    assert not one.paired  # of toys there are no flags
    assert one.law.means.values.tolist() == pytest.approx([0.43, 0.62, 0.75, 0.80, 0.83], abs=0.002)
    assert 0.3 < one.enough.low < one.enough.value < one.enough.high < 0.8
    assert law_sentence([one]) == (
        f"95 % of full AT's robust accuracy is reached with |A| = {enough_words(one.enough)} (hardest)."
    )


def test_every_strategy_has_its_law_and_a_bad_fit_is_named() -> None:
    bad = [result(s, v, strategy="random") for s, v in ((100, 0.8), (300, 0.5), (500, 0.82))]
    good, off = curve_laws(as_rows([*CURVE, *bad]))
    assert good.law.fits
    assert not off.law.fits
    sentence = law_sentence([good, off])
    assert "(hardest); " in sentence
    assert f"(random; the law does not fit: {off.misfit})." in sentence
    assert "p < 0.001" in off.misfit
    assert off.over == "test images, and the scatter around the curve"
    assert good.over == "test images"


def test_of_many_curves_the_first_are_fitted_and_all_are_counted() -> None:
    many = [
        result(size, robust, attack__eps=0.1 * k)
        for k in range(1, 7)
        for size, robust in ((0, 0.43), (100, 0.6), (300, 0.72), (1000, 0.83))
    ]
    laws = curve_laws(as_rows(many), most=2)
    assert [(one.name, one.of) for one in laws] == [("hardest, attack.eps = 0.1", 6), ("hardest, attack.eps = 0.2", 6)]
    assert law_sentence(laws).endswith("(hardest, attack.eps = 0.2); 4 more curves in the report.")
    assert law_sentence(curve_laws(as_rows(many))).endswith("(hardest, attack.eps = 0.4); 2 more curves in the report.")


def test_seeds_are_part_of_the_intervals() -> None:
    seeds = [
        result(s, v + d, seed=n) for s, v in ((100, 0.62), (300, 0.75), (500, 0.8)) for n, d in enumerate((-0.02, 0.02))
    ]
    (one,) = curve_laws(as_rows([NONE, *seeds, ALL]))
    assert one.over.startswith("test images and seeds")
    assert one.law.means.deviations[1] > curve_laws(as_rows(CURVE))[0].law.means.deviations[1]


@pytest.mark.parametrize(
    ("enough", "words"),
    [
        (Interval(0.0, 0.0, 0.1), "0 % [0, 10]"),
        (Interval(0.4, 0.1, 1.0), "40 % [10, 100]"),
        (Interval(0.0042, 0.0011, 0.0149), "0.4 % [0.1, 1.5]"),
        (Interval(float("nan"), 0.0, 1.0), "unknown"),
    ],
)
def test_words_of_shares(enough: Interval, words: str) -> None:
    assert enough_words(enough) == words


@pytest.mark.report
def test_the_figure_has_the_answer_in_its_legend(tmp_path: Path) -> None:
    rows = as_rows(CURVE)
    laws = curve_laws(rows)
    assert law_figure(rows, []) is None
    png, svg = save_figure(law_figure(rows, laws), tmp_path / "law")
    text: Any = svg.read_text(encoding="utf-8")
    assert png.stat().st_size > 0
    assert f"hardest: |A| = {enough_words(laws[0].enough)}" in text
    assert "monotone spline" in text
