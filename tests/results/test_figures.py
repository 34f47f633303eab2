"""The plots of a study: what they show, the same bytes each time, and names from data sets as mere text."""

from __future__ import annotations

import io
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import ALL, HALF, NONE, accuracy, as_rows, result

from sat_core.errors import NotInstalledError
from sat_evaluation.figures.accuracy import accuracy_figure
from sat_evaluation.figures.canvas import COLOURS, save_figure
from sat_evaluation.figures.class_data import PublishedClasses
from sat_evaluation.figures.matrix import matrix_figure
from sat_evaluation.paper.draw import curves_figure
from sat_evaluation.paper.experiments import paper_figure
from sat_evaluation.report.share_plots import over_share
from sat_evaluation.results.rows import Row

pytestmark = pytest.mark.report

HOSTILE = ["$x_1$", "<script>alert(1)</script>", "line\nbreak", "猫", "&amp;"]


def singles(names: list[str] | None = None, **settings: Any) -> list[dict[str, Any]]:
    """Arms in which A is class 2 and class 0, of as many classes as there are names."""
    count = len(names or range(4))
    return [
        result(
            250,
            0.4,
            strategy="listed",
            kind="classes",
            units=1,
            chosen=(c,),
            parts=(0.91, 0.27),
            per_class=[0.11 * i + c / 100 for i in range(count - 1)] + [None],
            names=names,
            **settings,
        )
        for c in (2, 0)
    ]


def texts(path: Path) -> list[str]:
    """Every piece of text in an SVG, parsed as XML."""
    return [
        "".join(element.itertext()).strip()
        for element in ElementTree.parse(path).iter()
        if element.tag.endswith("}text")
    ]


def plot(results: list[dict[str, Any]], path: Path) -> list[str]:
    png, svg = save_figure(accuracy_figure(as_rows(results)), path)
    assert png.read_bytes().startswith(b"\x89PNG")
    return texts(svg)


def test_accuracy_plot_names_what_was_measured(tmp_path: Path) -> None:
    labels = plot([NONE, HALF, ALL], tmp_path / "size-0.5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["size-0.5.png", "size-0.5.svg"]
    assert "digits · small-cnn · L2, ε = 0.5 · AutoAttack standard · n = 400" in [
        t.replace("\xa0", " ") for t in labels
    ]
    assert {"robust accuracy", "clean accuracy", "A = hardest examples"} <= set(labels)
    assert "95 % Wilson interval over test images" in labels
    assert {"0 %", "50 %", "100 %", "500", "1,000"} <= set(labels)
    assert {"full AT", "83.0 % robust", "plain training", "43.0 % robust"} <= set(labels)


def test_accuracy_plot_has_a_colour_for_each_strategy_and_says_what_the_bars_are(tmp_path: Path) -> None:
    seeds = [
        result(s, 0.6 + d / 50, strategy=name, seed=d)
        for s in (300, 500)
        for name in ("hardest", "random")
        for d in (0, 1)
    ]
    labels = plot([NONE, *seeds, ALL], tmp_path / "plot")
    assert {"A = hardest examples", "A = random examples"} <= set(labels)
    assert {"95 % Wilson interval of the mean over test images", "standard deviation of 2 seeds"} <= set(labels)
    drawn = (tmp_path / "plot.svg").read_text().lower()
    assert [colour.lower() in drawn for colour in COLOURS[:3]] == [True, True, False]


def test_curves_run_through_the_baselines_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is handed to matplotlib: x and y of the lines, and error bars that are never negative."""
    from matplotlib.axes import Axes

    lines: list[tuple[list[float], list[float], str]] = []
    bars: list[Any] = []
    draw, bar = Axes.plot, Axes.errorbar

    def recorded_plot(self: Axes, x: Any, y: Any, **options: Any) -> Any:
        lines.append((list(x), list(y), options["linestyle"]))
        return draw(self, x, y, **options)

    def recorded_bar(self: Axes, *data: Any, **options: Any) -> Any:
        bars.append(options["yerr"])
        return bar(self, *data, **options)

    monkeypatch.setattr(Axes, "plot", recorded_plot)
    monkeypatch.setattr(Axes, "errorbar", recorded_bar)
    ends_off = [result(700, 0.7, 0.2, strategy="random", seed=s, n=10) for s in range(3)]  # mean < 0.7, > 0.2
    perfect = result(900, 1.0, 1.0, n=10)  # upper end of the interval < 1
    accuracy_figure(as_rows([NONE, HALF, perfect, *ends_off, ALL]))
    curves = [line for line in lines if line[0]]
    assert [c[2] for c in curves] == ["-", "--", "-", "--"]
    assert np.allclose(curves[0][0], [0, 50, 90, 100])
    assert np.allclose(curves[0][1], [43, 81.5, 100, 83])
    assert np.allclose(curves[2][1], [43, 70, 83])
    assert np.allclose(
        bars[0], [[100 * (0.815 - as_rows([HALF])[0].robust.low)], [100 * (as_rows([HALF])[0].robust.high - 0.815)]]
    )
    assert all(np.min(yerr) >= 0 for yerr in bars if len(yerr))


def test_sizes_close_together_get_even_ticks(tmp_path: Path) -> None:
    labels = plot([NONE, result(10, 0.5), result(3, 0.4), ALL], tmp_path / "plot")
    assert {"10 %", "20 %", "90 %"} <= set(labels)
    assert "1 %" not in labels


def test_several_baselines_of_a_kind_get_no_line_across(tmp_path: Path) -> None:
    both = [result(s, 0.5, attack__eps=e) for s in (0, 500, 1000) for e in (0.25, 0.5)]
    labels = plot(both, tmp_path / "plot")
    assert "full AT" not in labels
    assert {"A = hardest examples, attack.eps = 0.25", "A = hardest examples, attack.eps = 0.5"} <= set(labels)


@pytest.mark.parametrize("results", [[], [NONE, ALL], [NONE, *singles()]])
def test_nothing_is_drawn_where_no_arm_has_a_place_on_a_curve(results: list[dict[str, Any]], tmp_path: Path) -> None:
    assert accuracy_figure(as_rows(results)) is None
    assert save_figure(None, tmp_path / "plot") == []
    assert list(tmp_path.iterdir()) == []


def test_matrix_plot_shows_cells_parts_and_baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    frames = []
    add = Axes.add_patch
    monkeypatch.setattr(Axes, "add_patch", lambda self, patch: frames.append(patch) or add(self, patch))
    baselines = [
        result(s, r, kind="classes", units=u, per_class=[r] * 3 + [None]) for s, r, u in ((0, 0.02, 0), (1000, 0.69, 4))
    ]
    _, svg = save_figure(matrix_figure(as_rows([baselines[1], *singles(), baselines[0]])), tmp_path / "matrix")
    labels = texts(svg)
    framed = [patch.get_xy() for patch in frames if not patch.get_fill()]
    assert np.allclose(framed, [(-0.5, 0.65), (1.5, 1.65)])  # below "none" and a gap: class 0, then class 2
    cells = [text for text in labels if text in {"–", "2", "69", "0", "11", "22", "13", "24"}]
    assert cells.count("–") == 4
    assert {"0", "11", "22", "13", "24", "2", "69", "91.0", "27.0"} <= set(labels)
    assert "6–19" in labels  # the interval of 11 of 100
    assert not any(text.endswith("*") for text in labels)
    assert [t for t in labels if t in ("none", "all", "c0", "c2")][-4:] == ["none", "c0", "c2", "all"]
    assert {"on A, attacked", "on B, not attacked", "on all classes"} <= set(labels)


def test_matrix_plot_marks_classes_with_few_test_images(tmp_path: Path) -> None:
    arms = singles()
    for arm in arms:
        arm["robust_accuracy"]["per_class"][1] = accuracy(0.5, 20)
    rows = as_rows(arms)
    labels = texts(save_figure(matrix_figure(rows), tmp_path / "matrix")[1])
    assert labels.count("50*") == 2
    assert any("*: fewer than 50 test images" in text.replace("\xa0", " ") for text in labels)


def test_the_legend_of_a_matrix_is_whole() -> None:
    half = (0.5,) * 4
    published = PublishedClasses(
        source="a", weights="uniform", clean=half, robust_a=half, robust_b=half, matrix=(half,) * 4, full=half
    )
    plain = result(0, 0.02, kind="classes", units=0, per_class=[0.02] * 3 + [None])
    figure = matrix_figure(as_rows([plain, *singles()]), published)
    assert figure is not None
    figure.draw_without_rendering()
    legend = figure.axes[1].get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 5
    place = legend.get_window_extent()
    assert place.y0 > 0
    assert place.x1 < figure.bbox.x1


def test_matrix_plot_averages_seeds_and_takes_the_first_of_several_settings(tmp_path: Path) -> None:
    other = singles(seed=1)
    for arm in other:
        arm["robust_accuracy"]["per_class"][0] = accuracy(arm["robust_accuracy"]["per_class"][0]["value"] + 0.5, 100)
    rows = as_rows([*singles(), *other, *singles(attack__eps=1.0)])
    _, svg = save_figure(matrix_figure(rows), tmp_path / "matrix")
    labels = texts(svg)
    assert {"25", "27"} <= set(labels)
    assert "Robust accuracy (%) when a single class is attacked, attack.eps = 0.5" in labels
    assert labels.count("c0") == 2


def test_matrix_of_several_classes_frames_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    frames = []
    add = Axes.add_patch
    monkeypatch.setattr(Axes, "add_patch", lambda self, patch: frames.append(patch) or add(self, patch))
    parts, shares = (0.8, 0.4), [0.8, 0.7, 0.3, 0.2]
    common: dict[str, Any] = {"kind": "classes", "strategy": "hardest", "parts": parts, "per_class": shares}
    arms = [
        result(750, 0.6, units=3, chosen=(0, 1, 3), **common),
        result(500, 0.5, units=2, chosen=(0, 1), **common),
    ]
    _, svg = save_figure(matrix_figure(as_rows(arms)), tmp_path / "matrix")
    labels = texts(svg)
    assert {"c0, c1", "c0, c1, c3", "Robust accuracy (%) when some classes are attacked, hardest first"} <= set(labels)
    framed = sorted(tuple(patch.get_xy()) for patch in frames if not patch.get_fill())
    assert framed == [(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5), (2.5, 0.5)]


@pytest.mark.parametrize("results", [[], [NONE, HALF, ALL]])
def test_no_matrix_where_a_is_made_of_examples(results: list[dict[str, Any]]) -> None:
    assert matrix_figure(as_rows(results)) is None


def test_hostile_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    arms = singles(HOSTILE)
    for arm in arms:
        arm["data"]["name"] = "$a$<b>\n\x00"
    rows = as_rows(arms)
    _, svg = save_figure(matrix_figure(rows), tmp_path / "matrix")
    labels = texts(svg)
    assert {"$x_1$", "<script>alert(1)</s…", "line\\nbreak", "猫", "&amp;"} <= set(labels)
    assert any(text.startswith("$a$<b>\\n\\x00 ·") for text in (t.replace("\xa0", " ") for t in labels))
    assert "<script" not in svg.read_text()


@pytest.mark.parametrize("count", [2, 40])
def test_matrices_of_any_size(count: int, tmp_path: Path) -> None:
    """Many classes: cells too small for numbers have none."""
    names = [str(i) for i in range(count)]
    options: dict[str, Any] = {"strategy": "listed", "kind": "classes", "units": 1, "chosen": (1,), "names": names}
    arm = result(250, 0.4, per_class=[0.77] * count, parts=(0.8, 0.3), **options)
    _, svg = save_figure(matrix_figure(as_rows([arm])), tmp_path / "matrix")
    assert ("77" in texts(svg)) == (count == 2)


def test_same_bytes_twice_and_settings_untouched(tmp_path: Path) -> None:
    """The user's matplotlib settings have no effect on the files and are left alone; pyplot is not loaded."""
    import matplotlib

    rows: list[Row] = as_rows([NONE, HALF, result(300, 0.7, strategy="random"), ALL, *singles()])
    sys.modules.pop("matplotlib.pyplot", None)
    first = [*save_figure(accuracy_figure(rows), tmp_path / "a"), *save_figure(matrix_figure(rows), tmp_path / "b")]
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": "mine", "text.usetex": True, "lines.linewidth": 9}):
        second = [
            *save_figure(accuracy_figure(rows), tmp_path / "c"),
            *save_figure(matrix_figure(rows), tmp_path / "d"),
        ]
        assert matplotlib.rcParams["font.size"] == 20
        assert matplotlib.rcParams["text.usetex"]
    assert [path.suffix for path in first] == [".png", ".svg"] * 2
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert "matplotlib.pyplot" not in sys.modules


def test_figures_show_themselves_in_notebooks(tmp_path: Path) -> None:
    """In our style, whatever the user's settings are: as many pixels as in the file."""
    import matplotlib.figure
    import matplotlib.image

    figure = accuracy_figure(as_rows([NONE, HALF, ALL]))
    assert isinstance(figure, matplotlib.figure.Figure)
    png, _ = save_figure(figure, tmp_path / "plot")
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 30}):
        shown = figure._repr_png_()
    pixels, expected = (matplotlib.image.imread(io.BytesIO(content)) for content in (shown, png.read_bytes()))
    assert np.array_equal(pixels, expected)


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sat_evaluation.figures.styled", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(NotInstalledError, match=r"pip install '\.\[report\]' in the folder"):
        accuracy_figure(as_rows([NONE, HALF]))


def test_on_b_baselines_are_drawn_on_the_same_classes(tmp_path: Path) -> None:
    """Plain training has 10, 20, 30 and 50 % on the classes: 40 % on the last two, 50 % on the last."""
    common: dict[str, Any] = {"kind": "classes", "parts": (0.9, 0.6)}
    arms = [result(s, 0.5, units=u, chosen=c, **common) for s, u, c in ((500, 2, (0, 1)), (750, 3, (0, 1, 2)))]
    none = result(0, 0.275, kind="classes", units=0, per_class=[0.1, 0.2, 0.3, 0.5])
    rows = as_rows([none, *arms])
    figure = paper_figure("fig5", "demo", "paper", {"digits": "digits"})
    page = curves_figure(figure, {figure.panels[0].name: (rows, [])})
    dotted = [line for line in page.axes[0].lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    assert [list(line.get_ydata()) for line in dotted] == [pytest.approx([40, 50])]
    assert list(dotted[0].get_xdata()) == [50, 75]
    plot = over_share(rows, ("robust_b",), "On B")
    assert plot is not None
    (baseline,) = [curve for curve in plot.curves if curve.reference]
    assert [(mark.x, mark.y) for mark in baseline.marks] == [(50, pytest.approx(40)), (75, pytest.approx(50))]
    assert plot.levels == ()
