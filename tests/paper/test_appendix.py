"""What the paper's appendix shows: its studies share arms with the figures, and it is drawn of what is finished."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from test_paper import made
from toys import write_ranking

from sat_core.files import write_json
from sat_core.run_folder import ReproductionFolder
from sat_core.spec import Spec
from sat_evaluation.paper import published
from sat_evaluation.paper.draw_appendix import KINDS
from sat_evaluation.paper.experiments import PAPER_FIGURES, paper_figure
from sat_evaluation.paper.panels import PaperFigure
from sat_evaluation.paper.reproduce import save_figures
from sat_evaluation.paper.scales import SCALES
from sat_evaluation.report.charts import Matrix, Plot
from sat_evaluation.report.forest import Forest
from sat_evaluation.report.paper_figures import DrawnFigure, drawn_figures


def specs(name: str, scale: str, protocol: str) -> list[list[Spec]]:
    """Of each panel with arms, those of its arms."""
    panels = paper_figure(name, scale, protocol).panels
    return [[arm.spec for arm in panel.study.arms] for panel in panels if not panel.ranking]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("name", "same"), [("defence", "fig6"), ("gain", "fig5"), ("class-entropy", "fig2")])
def test_arms_are_those_of_a_figure_so_that_nothing_is_trained_twice(name: str, same: str, scale: str) -> None:
    assert {*KINDS} <= {*PAPER_FIGURES}
    for protocol in ("authors", "paper"):
        known = specs(same, scale, protocol)
        assert all(arms in known for arms in specs(name, scale, protocol))


def test_rankings_of_another_network_and_of_another_seed_are_compared() -> None:
    bases = [panel.study.base for panel in paper_figure("agreement", "paper", "paper").panels]
    assert [(base.ranking.model, base.training.seed) for base in bases] == [("", 0), ("resnet50", 0), ("", 1)]
    ((arms, *_),) = [specs("overfitting", "paper", "paper")]
    assert {spec.evaluation.watch for spec in arms} == {512}


def test_published_class_transfer_is_that_of_both_sources() -> None:
    numbers = published.class_transfer("cifar10")
    assert numbers is not None
    assert (numbers.entropy[3], numbers.robust_b[3]) == (0.347, pytest.approx(0.378))  # cat
    assert "poster" in numbers.source
    assert "review" in numbers.source
    assert 0.8 < numbers.rho < 1
    assert published.class_transfer("digits") is None


def _texts(path: Path) -> set[str]:
    """Every piece of text in an SVG."""
    elements = (each for each in ElementTree.parse(path).iter() if each.tag.endswith("}text"))
    return {"".join(each.itertext()).strip().replace("\xa0", " ") for each in elements}


def _rank(figure: PaperFigure, out: ReproductionFolder) -> None:
    """Write what `class-entropy` needs besides results: the members of A, and a ranking."""
    arms, ranked = figure.panels
    for arm in arms.study.arms:
        first = 100 * int(arm.spec.subset.classes[0]) if arm.spec.subset.classes else 0
        write_json(out.study(arms.name).unit(arm.name).split_file, {"members": list(range(first, first + 100))})
    write_ranking(out.study(ranked.name), {"entropy": np.arange(1000.0), "error": np.arange(1000.0)})


@pytest.mark.report
def test_the_appendix_is_drawn_of_what_is_finished(tmp_path: Path) -> None:
    out = ReproductionFolder(tmp_path)
    for name, words in (("defence", "defence rate (%)"), ("gain", "hardest 50 %")):
        (_, svg) = save_figures(made(tmp_path, name, "short"), out)
        assert svg.name == f"{name}.svg"
        assert words in _texts(svg)
    assert save_figures(made(tmp_path, "agreement", "short"), out) == []
    figure = made(tmp_path, "class-entropy", "short")
    assert save_figures(figure, out) == []  # without a ranking
    _rank(figure, out)
    _, svg = save_figures(figure, out)
    words = _texts(svg)
    assert {"ours: Spearman's ρ = –, n = 10 classes", "cat"} <= words  # all made-up accuracies are the same
    assert any(text.startswith("published: Spearman's ρ = 0.9") for text in words)


def _on_the_page(out: ReproductionFolder) -> DrawnFigure:
    (drawn,) = drawn_figures(out)
    assert not drawn.problem
    return drawn


def test_a_report_has_the_appendix_as_its_figures_have_it(tmp_path: Path) -> None:
    first = {}
    for name in ("defence", "gain", "class-entropy"):
        out = ReproductionFolder(tmp_path / name)
        figure = made(out.path, name, "short")
        if name == "class-entropy":
            _rank(figure, out)
        first[name] = _on_the_page(out).panels[0].charts[0]
    defence, gain, entropy = first["defence"], first["gain"], first["class-entropy"]
    assert isinstance(defence, Matrix)
    assert (defence.title, defence.lines[0], len(defence.columns)) == (
        "Defence rate by class (%)",
        "plain training",
        10,
    )
    assert isinstance(gain, Forest)
    assert [name for name, _ in gain.legend] == ["hardest", "easiest", "random"]
    # all made-up arms are alike
    assert {line.value for line in gain.lines} == {0.0}
    assert isinstance(entropy, Plot)
    assert [len(curve.marks) for curve in entropy.curves] == [10, 10]
    # classes have 100 examples each, whose scores are their numbers
    assert [mark.x for mark in entropy.curves[1].marks] == [100 * c + 49.5 for c in range(10)]
    assert entropy.notes[-1] == "ours: Spearman's ρ = –"


def test_a_report_compares_the_rankings_that_are_finished(tmp_path: Path) -> None:
    out = ReproductionFolder(tmp_path)
    figure = made(tmp_path, "agreement", "demo")
    assert _on_the_page(out).panels[0].charts == ()
    scores = {"small-cnn": np.arange(20.0), "linear": np.arange(20.0)[::-1]}
    for panel, values in zip(figure.panels, scores.values(), strict=False):
        write_ranking(out.study(panel.name), {"entropy": values})
    (panel,) = _on_the_page(out).panels
    hardest = panel.charts[2]
    assert isinstance(hardest, Matrix)
    assert hardest.title == "The hardest 50 % in common (%)"
    own, other = (hardest.columns.index(f"{name}: entropy") for name in scores)
    assert hardest.lines == hardest.columns
    assert [hardest.cells[own][k].value for k in (own, other)] == [1.0, 0.0]
    (table,) = panel.tables
    assert [table.rows[own][1 + k][0] for k in (own, other)] == ["1.00", "-1.00"]
