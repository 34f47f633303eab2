"""Accuracy over cost: which arms are a method, which no other one dominates, and what the plots of it show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_figures import texts
from toys import ALL, HALF, NONE, as_rows, result

from sat_core.accuracy import wilson
from sat_core.arm_results import ArmResults
from sat_core.files import write_json
from sat_core.run_folder import RunFolder
from sat_evaluation.figures.canvas import save_figure
from sat_evaluation.figures.cost_data import WITH_RANKING, average_of, cost_points, costs_differ, front
from sat_evaluation.figures.pareto import pareto_figure
from sat_evaluation.report.cost_plots import over_cost
from sat_evaluation.report.tables import numbers
from sat_evaluation.results.rows import Row
from sat_evaluation.run.executors.base import Outcome
from sat_evaluation.run.finish import finish
from sat_evaluation.run.study_results import StudyResults

AVERAGED = {"training__averaging": "ema:0.9"}


def single_step(size: int, robust: float, **settings: Any) -> dict[str, Any]:
    made = result(size, robust, attack__kind="n-fgsm", **settings)
    made["cost"] |= {"attack_gradients": size, "full_at_gradients": 2000, "ranking_gradients": 0}
    made["cost"]["seconds"] |= {"training": 12.0}
    return made


def arms() -> list[Row]:
    """Plain training, full AT in one step and by PGD, half of A by PGD, by TRADES and with the average of weights."""
    plain, full = result(0, 0.43), result(1000, 0.83)
    for baseline in (plain, full):
        baseline["cost"]["ranking_gradients"] = 0
    trades, averaged = result(500, 0.70, loss__kind="trades"), result(500, 0.84, **AVERAGED)
    seeds = [result(500, value, seed=seed) for seed, value in ((0, 0.80), (1, 0.78))]
    rows: list[Row] = as_rows([full, *seeds, averaged, trades, single_step(1000, 0.75), plain])
    return rows


def test_a_method_is_named_by_what_is_not_the_default() -> None:
    points = cost_points(arms(), "robust")
    assert [(p.method.name, p.method.averaged) for p in points] == [
        ("plain training", False),
        ("full AT", False),
        ("full AT, n-fgsm", False),
        ("hardest", False),
        ("hardest", True),
        ("hardest, trades", False),
    ]
    assert [p.method.number for p in points] == [0, 1, 2, 3, 3, 4]
    assert average_of(arms()) == "ema:0.9"
    others = [result(500, 0.8, **{key: value}) for key, value in (("subset__rerank", 5), ("attack__eps", 0.25))]
    names = {p.method.name for p in cost_points(as_rows([HALF, *others]), "robust")}
    assert names == {
        "hardest, attack.eps = 0.5",
        "hardest, A chosen anew every 5 epochs, attack.eps = 0.5",
        "hardest, attack.eps = 0.25",
    }
    several = [HALF, result(500, 0.8, **AVERAGED), result(500, 0.8, training__averaging="swa:0.5")]
    assert average_of(as_rows(several)) == ""
    for one, other in ((HALF, None), (None, HALF)):
        drawn = cost_points(as_rows([row for row in (one, *several[1:], other) if row]), "robust")
        names = {p.method.name for p in drawn}
        assert names == {"hardest", "hardest, training.averaging = ema:0.9", "hardest, training.averaging = swa:0.5"}
        assert [p.method.averaged for p in drawn] == [False] * 3


def test_points_have_the_cost_of_their_own_attack_and_their_ranking() -> None:
    points = {(p.method.name, p.method.averaged): p for p in cost_points(arms(), "robust")}
    half = points["hardest", False]
    assert half.cost == pytest.approx(100 * (3500 + 1000 + 600) / 8000)
    assert (half.value, half.deviation) == pytest.approx((79, 2**0.5))
    assert (half.low, half.high) == pytest.approx([100 * end for end in wilson(316, 400).interval])
    assert points["full AT, n-fgsm", False].cost == 25
    assert points["full AT", False].cost == 100
    by_time = {p.method.name: p.cost for p in cost_points(arms(), "robust", "training_seconds")}
    assert (by_time["full AT"], by_time["full AT, n-fgsm"]) == (60, 12)


def test_no_arm_of_the_front_is_dominated() -> None:
    points = cost_points(arms(), "robust")
    efficient = [p for p in points if p.efficient]
    # full AT costs more than half of A with the average, and is worse; of three arms at one cost, the best counts
    assert {(p.method.name, p.method.averaged) for p in efficient} == {
        ("plain training", False),
        ("full AT, n-fgsm", False),
        ("hardest", True),
    }
    for point in points:
        dominated = any(
            other.cost <= point.cost
            and other.value >= point.value
            and (other.cost, other.value) != (point.cost, point.value)
            for other in points
        )
        assert dominated != point.efficient
    assert [p.cost for p in front(points)] == sorted(p.cost for p in efficient)
    equal = cost_points(as_rows([HALF, result(500, 0.815, weighting__rule="balanced")]), "robust")
    assert [p.efficient for p in equal] == [True, True]


def test_points_of_one_cost_lie_side_by_side() -> None:
    points = cost_points(arms(), "robust")
    alike = [p.offset for p in points if p.method.name.startswith("hardest")]
    assert len(set(alike)) == 3
    assert sum(alike) == pytest.approx(0)
    assert {p.offset for p in points if not p.method.name.startswith("hardest")} == {0}


def test_costs_are_compared_where_three_arms_or_more_have_different_ones() -> None:
    assert costs_differ(arms())
    assert costs_differ(as_rows([NONE, HALF, ALL]))
    assert not costs_differ(as_rows([NONE, ALL]))
    assert not costs_differ(as_rows([result(500, 0.5, strategy=name) for name in ("hardest", "easiest", "random")]))
    assert not costs_differ([])


def test_time_includes_that_of_the_ranking_where_there_is_one() -> None:
    ranked = result(500, 0.8)
    ranked["cost"]["seconds"]["ranking"] = 30.0
    assert [p.cost for p in cost_points(as_rows([ranked, ALL]), "robust", WITH_RANKING)] == [60.0, 90.0]


def test_the_report_joins_the_front_and_says_what_each_arm_costs() -> None:
    robust, clean, by_time = over_cost(arms())
    best, *curves = robust.curves
    assert best.reference
    assert [mark.x for mark in best.marks] == pytest.approx([12.5, 25, 63.75])
    assert {curve.name: curve.hollow for curve in curves if curve.hollow} == {"hardest": True}
    assert not any(curve.line for curve in curves)
    tips = [mark.tip for curve in curves for mark in curve.marks]
    assert (
        "hardest, 50 % (500), ema:0.9: robust accuracy 84.0 % [80.1, 87.3], 56 % of the gradient evaluations (64 % "
        "with the ranking), trained in 60 s, n = 400"
    ) in tips
    assert robust.x.label == "gradient evaluations, full AT with the most expensive attack = 100 %"
    assert robust.styles == "filled: not averaged · hollow: averaged, ema:0.9"
    assert (clean.title, clean.measured) == ("Clean accuracy over cost", "")
    assert by_time.x.label == "seconds of training"
    names = [row[0][0] for row in numbers(robust).rows]
    assert names[:3] == [best.name] * 3
    assert "hardest, averaged, ema:0.9" in names
    assert list(over_cost([])) == []
    assert list(over_cost(as_rows([HALF]))) == []


@pytest.mark.report
def test_the_plot_names_methods_and_averages(tmp_path: Path) -> None:
    png, svg = save_figure(pareto_figure(arms()), tmp_path / "pareto")
    assert png.stat().st_size > 10_000
    labels = [text.replace("\xa0", " ") for text in texts(svg)]
    assert {"robust accuracy (%)", "clean accuracy (%)", "hollow: ema:0.9", "hardest, trades"} <= set(labels)
    assert labels.count("(full AT with the most expensive attack = 100 %)") == 2
    assert labels.count("measured seconds of training, ranking included") == 2
    assert {
        "full AT, n-fgsm",
        "standard deviation of 2 seeds",
        "95 % Wilson interval of the mean over test images",
    } <= {*labels}
    assert pareto_figure(as_rows([HALF, ALL])) is None


@pytest.mark.report
def test_the_legend_has_the_markers_that_are_drawn() -> None:
    other = result(500, 0.8, strategy="random", **AVERAGED)
    for more, hollow in (([result(500, 0.8, training__averaging="swa:0.5")], 0), ([], 1)):
        figure = pareto_figure(as_rows([NONE, ALL, HALF, other, *more]))
        assert figure is not None
        drawn, legend = (
            {(h.get_marker(), h.get_markerfacecolor()) for h in handles if h.get_color() != "black"}
            for handles in (
                [line for line in figure.axes[0].lines if line.get_marker() in tuple("osD^v")],
                [h for h in figure.legends[0].legend_handles if getattr(h, "get_marker", str)() in tuple("osD^v")],
            )
        )
        assert drawn == legend
        assert len(drawn) == 4 + len(more)
        assert len([face for _, face in drawn if face == "white"]) == hollow


@pytest.mark.report
def test_a_study_whose_arms_differ_in_cost_has_the_plot(tmp_path: Path) -> None:
    for name, made, drawn in (
        ("size", [HALF, ALL], False),
        ("method", [NONE, HALF, single_step(400, 0.7)], True),
    ):
        folder = RunFolder(tmp_path / name)
        for content in made:
            write_json(folder.unit(content["arm"]).results_file, content)
        finish(folder, [content["arm"] for content in made], Outcome())
        assert {path.stem for path in folder.summaries} >= {"summary", "accuracy"}
        assert ("pareto" in {path.stem for path in folder.summaries}) == drawn
        results = StudyResults(tuple(ArmResults.from_json(content) for content in made), folder)
        assert (results.cost_figure() is not None) == drawn
