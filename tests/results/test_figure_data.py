"""What figures and reports draw, as values: curves over |A|, the class matrix, difficulty by class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_figures import singles
from toys import ALL, HALF, NONE, as_rows, result

from sat_core.accuracy import wilson
from sat_core.ranking import Ranking
from sat_evaluation.figures.class_data import PublishedClasses, class_difficulty, class_lists, class_matrix
from sat_evaluation.figures.share_data import PublishedCurve, accuracy_limits, share_curves
from sat_evaluation.report.share_plots import over_share


def test_points_of_several_curves_are_moved_apart() -> None:
    arms = [result(300, 0.6, strategy=name) for name in ("hardest", "easiest", "random")]
    curves = share_curves(as_rows([NONE, *arms, ALL]), "robust")
    assert [curve.offset for curve in curves] == pytest.approx([-0.8, 0, 0.8])
    assert [[point.share for point in curve.path] for curve in curves] == [[0, 30, 100]] * 3
    many = [result(300, 0.6, attack__eps=eps / 10) for eps in range(1, 8)]
    assert {curve.offset for curve in share_curves(as_rows(many), "robust")} == {0}


def test_the_interval_over_test_images_and_the_deviation_over_seeds_are_two_bars() -> None:
    rows = as_rows([result(300, value, seed=seed, n=1000) for seed, value in enumerate((0.5, 0.6, 0.7))])
    ((point,),) = (curve.points for curve in share_curves(rows, "robust"))
    one = wilson(600, 1000)
    assert (point.value, point.low, point.high) == pytest.approx((60, 100 * one.low, 100 * one.high))
    assert point.deviation == pytest.approx(10)
    assert point.ends[2:] == pytest.approx((50, 70))
    ((single,),) = (curve.points for curve in share_curves(rows[:1], "robust"))
    assert (single.deviation, single.high) == (0, pytest.approx(100 * rows[0].robust.high))


def test_published_curves_belong_to_ours_of_the_same_strategy_and_weights() -> None:
    values = {"hardest": {0.1: 0.2, 0.5: 0.4}}
    common: dict[str, Any] = {"source": "a poster", "weights": "uniform", "values": values}
    published = [
        PublishedCurve(measure="robust", **common),
        PublishedCurve(measure="clean", **common),
        PublishedCurve(measure="robust", variant="ranked otherwise", **common),
    ]
    hardest, easiest = share_curves(as_rows([HALF, result(500, 0.7, strategy="easiest")]), "robust", published)
    ((low, high),) = hardest.published
    assert (low.share, low.value, high.share, high.value) == pytest.approx((10, 20, 50, 40))
    assert easiest.published == ()
    (balanced,) = share_curves(as_rows([result(500, 0.7, weighting__rule="balanced")]), "robust", published)
    assert balanced.published == ()
    trades = PublishedCurve(measure="robust", loss="trades", full=0.6, **{**common, "values": {"hardest": {0.5: 0.5}}})
    both = as_rows([HALF, result(500, 0.7, loss__kind="trades")])
    shares = [[[p.share for p in ps] for ps in c.published] for c in share_curves(both, "robust", [*published, trades])]
    assert shares == [[[10, 50]], [[50]]]
    plot = over_share(both, ("robust",), "Robust", [*published, trades])
    assert plot is not None
    assert [(level.name, level.y) for level in plot.levels] == [("full AT, trades, published", 60)]


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([60, 61], (50.5, 70.5)),  # 20 points at least
        ([0, 100], (-2, 101)),
        ([1, 2], (-2, 18)),  # moved as a whole
        ([99, 100], (81, 101)),
        ([20, 70], (17, 73)),
    ],
)
def test_axes_show_small_differences_as_small(values: list[float], ends: tuple[float, float]) -> None:
    assert accuracy_limits(values, (-2, 101)) == pytest.approx(ends)


def test_a_class_matrix_has_published_numbers_beside_single_classes_and_full_training() -> None:
    baselines = [result(s, r, kind="classes", units=s // 250, per_class=[r] * 4) for s, r in ((0, 0.02), (1000, 0.69))]
    published = PublishedClasses(
        source="a table",
        weights="uniform",
        clean=(0.9,) * 4,
        robust_a=(0.1, 0.2, 0.3, 0.4),
        robust_b=(0.5, 0.6, 0.7, 0.8),
        matrix=tuple((c / 10,) * 4 for c in range(4)),
        full=(0.75,) * 4,
    )
    matrix = class_matrix(as_rows([*baselines, *singles()]), published)
    assert matrix is not None
    none, first, third, full = matrix.lines
    assert [cell.published for cell in none.cells] == [None] * 4
    assert [cell.published for cell in third.cells] == [0.2] * 4
    assert [cell.published for cell in full.cells] == [0.75] * 4
    assert [cell.framed for cell in third.cells] == [False, False, True, False]
    assert third.cells[3].value is None  # no test image
    assert [(part.part, part.published) for part in first.parts] == [("robust_a", 0.1), ("robust_b", 0.5)]
    assert [part.plain for part in first.parts] == pytest.approx([0.02, 0.02])
    assert [part.part for part in full.parts] == ["robust"]
    other = class_matrix(as_rows([*baselines, *singles(weighting__rule="balanced")]), published)
    assert other is not None
    assert other.published is None  # arms with other weights
    assert [cell.published for cell in other.lines[1].cells] == [None] * 4
    assert class_matrix(as_rows([NONE, HALF, ALL])) is None


def test_classes_are_ordered_by_their_mean_entropy() -> None:
    scores = {"entropy": np.array([1.0, 3.0, 0.0, 2.0]), "error": np.array([0.1, 0.3, 0.5, 0.7])}
    difficulty = class_difficulty(Ranking(scores=scores), np.array([0, 4, 4, 0]))
    assert difficulty.order == (0, 4)  # equal means: in the order of classes
    assert difficulty.means["error"] == pytest.approx({0: 0.4, 4: 0.4})


def test_arms_of_classes_list_them_and_of_most_the_others() -> None:
    common: dict[str, Any] = {"kind": "classes", "parts": (0.9, 0.6)}
    seeds = [result(250, 0.5, strategy="random", units=1, chosen=(c,), seed=c, **common) for c in (3, 1)]
    most = result(750, 0.5, units=3, chosen=(0, 1, 3), **common)
    assert class_lists(as_rows([NONE, *seeds, most])) == ["random 25 %: c3 · c1", "hardest 75 %: all but c2"]
    assert class_lists(as_rows([NONE, HALF, ALL])) == []
    many = result(250, 0.5, units=11, chosen=tuple(range(11)), names=[f"n{i}" for i in range(40)], **common)
    assert class_lists(as_rows([many])) == ["hardest 25 %: " + ", ".join(f"n{i}" for i in range(10)) + " and 1 more"]
