"""The figures of the paper: their studies, the published numbers, drawing and comparing on made-up results."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from toys import contents

from sat_core.errors import DataError, RunDirectoryError, SpecError
from sat_core.files import write_json
from sat_core.run_folder import ReproductionFolder
from sat_core.study import Arm
from sat_core.transfer import transfer_spec
from sat_evaluation.cli.comparison_table import print_comparison
from sat_evaluation.paper import published
from sat_evaluation.paper.compare import compare
from sat_evaluation.paper.compare import records as compare_records
from sat_evaluation.paper.experiments import PAPER_FIGURES, paper_figure, parse_data
from sat_evaluation.paper.panels import PaperFigure
from sat_evaluation.paper.reproduce import save_figures
from sat_evaluation.paper.reproduction import Reproduction, reproductions
from sat_evaluation.paper.scales import SCALES, TENTHS
from sat_evaluation.plan import numbers
from sat_evaluation.run.heads import transfer_folders

_FEW = ("apgd-ce", "apgd-t")
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def results(arm: Arm, robust: float, n: int, classes: int, source: dict[str, Any] | None = None) -> dict[str, Any]:
    """A results.json of an arm on 1000 training examples; of a head if it has a source."""
    subset, listed = arm.spec.subset, arm.spec.subset.strategy == "listed"
    share = len(subset.classes) / classes if listed else float(subset.size)
    size = round(1000 * share)
    parted = subset.kind == "classes" and 0 < size < 1000 and not source
    return contents(
        arm.name,
        arm.spec,
        size=size,
        robust=robust,
        clean=0.9,
        units=round(share * classes) if subset.kind == "classes" else size,
        chosen=[int(c) for c in subset.classes],
        parts=(robust, robust) if parted else None,
        per_class=[robust] * classes,
        names=CIFAR[:classes],
        n=n,
        source=source,
    )


def fill(figure: PaperFigure, out: Path, robust: float = 0.5, n: int = 8000) -> None:
    """Results for every arm of a figure, and every head."""
    for panel in figure.panels:
        folder = ReproductionFolder(out).study(panel.name)
        for arm in panel.study.arms:
            arm_results = results(arm, robust, n, 10)
            write_json(folder.unit(arm.name).results_file, arm_results)
            for target in transfer_folders(panel.study, folder).values():
                write_json(target.unit(arm.name).results_file, results(arm, robust, n, 10, source=arm_results))


def made(out: Path, figure: str, scale: str = "paper", protocol: str = "authors", **fills: Any) -> PaperFigure:
    reproduction = Reproduction(figure=figure, scale=scale, protocol=protocol)
    reproduction.write(ReproductionFolder(out))
    fill(reproduction.make(), out, **fills)
    return reproduction.make()


# studies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["authors", "paper"])
@pytest.mark.parametrize("name", PAPER_FIGURES)
def test_every_figure_has_studies_at_every_scale(name: str, protocol: str) -> None:
    for scale in SCALES:
        if (name, scale) == ("svhn", "demo"):
            with pytest.raises(SpecError, match="svhn: has no demo scale"):
                paper_figure(name, scale, protocol)
            continue
        figure = paper_figure(name, scale, protocol)
        assert len({panel.name for panel in figure.panels}) == len(figure.panels) > 0
        for panel in figure.panels:
            specs = [arm.spec for arm in panel.study.arms]
            assert {spec.protocol for spec in specs} == {protocol}
            assert bool(panel.study.transfer) == bool(panel.target)
            if scale == "demo":
                drawn = not panel.target or panel.of_source  # the target's accuracies are, those of its heads
                evaluations = {(spec.evaluation.attacks, spec.evaluation.examples) for spec in specs}
                assert evaluations == {(_FEW, 100) if drawn else (("apgd-ce",), 40)}
                heads = [transfer_spec(specs[0], "digits", panel.study.head_settings)] if panel.target else []
                assert {(head.evaluation.attacks, head.evaluation.examples) for head in heads} <= {(_FEW, 100)}
            else:
                assert {spec.training.epochs for spec in specs} <= {30, 201, 151}


def test_the_paper_scale_is_the_recipe() -> None:
    figure = paper_figure("fig6", "paper", "authors")
    cifar10, cifar100, imagenet = (panel.study.arms for panel in figure.panels)
    for arms, repeats in ((cifar10, 10), (cifar100, 5), (imagenet, 3)):
        assert len(arms) == 2 + 9 * (2 + repeats)
    spec = cifar10[1].spec
    assert (spec.model.name, spec.training.epochs, spec.attack.eps) == ("wide-preact-resnet18", 201, 0.5)
    assert spec.evaluation.examples == 0.8
    assert imagenet[1].spec.training.schedule == "piecewise:50,100"
    assert imagenet[1].spec.attack.step_size == 0.5
    single = paper_figure("fig2", "paper", "authors").panels[0].study.arms
    assert len(single) == 12
    assert {arm.spec.evaluation.attacks for arm in single} == {("apgd-ce", "apgd-t")}
    assert {arm.spec.weighting.rule for arm in single} == {"balanced", "uniform"}  # the latter of the baselines


RULES = {"balanced": ("fig2", "class-entropy"), "emphasised": ("fig8", "s-csat", "svhn", "rs-fgsm-transfer")}


@pytest.mark.parametrize("protocol", ["authors", "paper"])
@pytest.mark.parametrize("name", sorted({*PAPER_FIGURES} - {"fig7"}))
def test_every_figure_has_the_weights_of_the_published_one(name: str, protocol: str) -> None:
    """Whatever the data set: only sources of transfers are emphasised, only Fig. 2 is balanced."""
    expected = next((rule for rule, names in RULES.items() if name in names), "uniform")
    if name in RULES["balanced"] and protocol == "paper":
        expected = "uniform"
    for scale in ("short", "paper"):
        for panel in paper_figure(name, scale, protocol).panels:
            rules = {a.spec.weighting.rule for a in panel.study.arms if a.spec.subset.size not in (0.0, 1.0)}
            assert rules == {expected}, (panel.name, scale)


def test_linf_on_imagenet200_is_the_released_configuration() -> None:
    specs = {p.data: p.study.arms[1].spec for p in paper_figure("linf", "paper", "authors").panels}
    attack = specs["imagenet200"].attack
    assert (attack.steps, attack.step_size, attack.eps) == (10, pytest.approx(0.8 / 255), pytest.approx(8 / 255))
    assert (specs["cifar10"].attack.steps, specs["cifar10"].attack.step_size) == (7, pytest.approx(2 / 255))


def test_figures_share_arms_and_the_ranking() -> None:
    four, five = (paper_figure(name, "paper", "authors").panels[0].study for name in ("fig4", "fig5"))
    assert {arm.spec for arm in four.arms} <= {arm.spec for arm in five.arms}
    six = paper_figure("fig6", "paper", "authors").panels[0].study
    assert (six.base.training, six.base.ranking, six.base.model) == (
        five.base.training,
        five.base.ranking,
        five.base.model,
    )


def test_data_of_ones_own() -> None:
    data = parse_data(["cifar10=npz:a.npz", "mine=folder:x?size=64", "npz:b.npz?x=y", "digits"], "demo")
    assert data == {"cifar10": "npz:a.npz", "mine": "folder:x?size=64", "npz": "npz:b.npz?x=y", "digits": "digits"}
    figure = paper_figure("fig6", "short", "authors", {"cifar100": "npz:a.npz"})
    (panel,) = figure.panels
    spec = panel.study.arms[1].spec
    assert (panel.title, spec.data.name, spec.weighting.rule) == ("cifar100", "npz:a.npz", "uniform")
    assert spec.evaluation.attacks == ("apgd-ce", "apgd-t")
    (own,) = paper_figure("fig8", "short", "paper", {"a": "npz:a.npz", "b": "npz:b.npz"}).panels
    assert (own.title, own.study.transfer["targets"]) == ("a → b", ["npz:b.npz"])
    with pytest.raises(SpecError, match="--data: expected a source and a target, got a"):
        paper_figure("fig8", "short", "paper", {"a": "npz:a.npz"})
    shorter = paper_figure("fig6", "demo", "paper", settings={"training.epochs": 3}).panels[0].study
    assert shorter.base.training.epochs == 3
    with pytest.raises(SpecError, match=r"unknown figure 'fig9' \(did you mean 'fig"):
        paper_figure("fig9", "demo", "paper")
    with pytest.raises(SpecError, match="--scale: expected one of demo, short, paper, got 'long'"):
        paper_figure("fig2", "long", "paper")


# published numbers ----------------------------------------------------------------------------------------------------


def test_published_numbers_are_complete_and_have_sources() -> None:
    tables = numbers.tables()
    for kind in ("curves", "classes", "matrix", "points", "others"):
        assert all(table["source"] in tables["sources"] for table in tables[kind])
    for table in tables["curves"]:
        assert table["figure"] in PAPER_FIGURES
        for name in published.STRATEGIES:
            assert len(table.get(name, [0] * 9)) == 9
    robust = next(curve for curve in published.curves("fig6", "cifar10") if curve.measure == "robust")
    assert robust.values["hardest"][0.5] == pytest.approx(0.664)
    assert robust.full == pytest.approx(0.69)
    (points,) = published.curves("fig7", "cifar100", "cifar10")
    assert points.values == {"uniform": {0.1: 0.08}, "balanced": {0.1: 0.3}}
    classes = published.classes("fig2", "cifar10")
    assert classes is not None
    assert (classes.robust_b[3], classes.matrix[3][9]) == pytest.approx((0.378, 0.53))  # cat, and from cat to truck
    means = [(sum(row) - row[c]) / 9 for c, row in enumerate(classes.matrix)]
    assert means == pytest.approx(classes.robust_b, abs=0.006)
    assert published.classes("fig2", "digits") is None


def test_numbers_beside_the_published_ones(tmp_path: Path) -> None:
    made(tmp_path, "fig6", robust=0.664)
    ((reproduction, pairs),) = compare(ReproductionFolder(tmp_path))
    assert reproduction.figure == "fig6"
    assert len(pairs) == 3 * 2 * (3 * 9 + 1)
    by = {(pair.panel, pair.arm, pair.measure): pair for pair in pairs}
    half = by["cifar10", "hardest 50 %", "robust"]
    assert half.agree
    assert half.ours.value == half.published.value == 0.664
    assert not by["cifar10", "hardest 10 %", "robust"].agree
    assert by["cifar10", "full AT", "robust"].published.value == 0.69
    assert ("cifar10", "random 30 %, 10 seeds", "clean") in by
    records = compare_records(reproduction, pairs)
    assert {record["pairs_tested"] for record in records} == {len(pairs)}
    assert [record["difference_found"] for record in records] == [not pair.agree for pair in pairs]
    text = printed(tmp_path)
    assert "≠" in text
    assert "agree: no difference found (" in text
    assert "could have seen " in text


def printed(folder: Path) -> str:
    output = io.StringIO()
    print_comparison(ReproductionFolder(folder), Console(file=output, width=120))
    return output.getvalue()


def test_trades_stands_beside_its_own_numbers_and_those_of_the_cross_entropy(tmp_path: Path) -> None:
    (panel,) = made(tmp_path, "trades", robust=0.677).panels
    trades = [arm.spec for arm in panel.study.arms if arm.spec.loss.kind == "trades"]
    assert [spec.subset.size for spec in trades] == [*TENTHS, 1.0]
    assert {(spec.loss.betas, spec.attack.loss, spec.attack.random_start) for spec in trades} == {((12, 6), "kl", True)}
    fig6 = [arm.spec for arm in paper_figure("fig6", "paper", "authors").panels[0].study.arms]
    assert all(arm.spec in fig6 for arm in panel.study.arms if arm.spec.loss.kind == "ce")  # they run once
    ((_, pairs),) = compare(ReproductionFolder(tmp_path))
    by = {(pair.arm, pair.measure): 100 * pair.published.value for pair in pairs}
    assert len(pairs) == len(by) == 2 * 2 * (9 + 1)
    assert by["hardest 50 %, trades", "robust"] == pytest.approx(67.7)
    assert by["hardest 50 %", "robust"] == pytest.approx(66.4)
    assert (by["full AT, trades", "clean"], by["full AT", "clean"]) == pytest.approx((88.6, 89.2))


def test_classes_and_weights_beside_the_published_ones(tmp_path: Path) -> None:
    made(tmp_path / "2", "fig2", robust=0.378)
    ((_, pairs),) = compare(ReproductionFolder(tmp_path / "2"))
    assert len(pairs) == 30
    assert next(pair for pair in pairs if (pair.arm, pair.measure) == ("A = cat", "robust_b")).agree
    made(tmp_path / "7", "fig7", scale="short", protocol="paper", robust=0.3)
    ((_, pairs),) = compare(ReproductionFolder(tmp_path / "7"))
    assert {(pair.arm, pair.agree) for pair in pairs} == {
        ("hardest 10 %", False),
        ("hardest 10 %, balanced", True),
    }
    assert "trainings are shorter" in printed(tmp_path / "7")
    assert "--protocol authors" in printed(tmp_path / "7")


def test_arms_with_other_weights_are_not_held_against_published_ones(tmp_path: Path) -> None:
    settings = {"weighting.rule": "balanced"}
    reproduction = Reproduction(figure="fig6", scale="paper", protocol="authors", settings=settings)
    reproduction.write(ReproductionFolder(tmp_path))
    fill(reproduction.make(), tmp_path)
    ((_, pairs),) = compare(ReproductionFolder(tmp_path))
    assert {pair.arm for pair in pairs} == {"full AT"}
    assert "other data or settings than the published ones: weighting.rule" in printed(tmp_path).replace("\n", " ")
    made(tmp_path / "2", "fig2", protocol="paper")
    with pytest.raises(DataError, match="no arm is finished that has a published number"):
        compare(ReproductionFolder(tmp_path / "2"))


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="expected the folder of a study or of `sat reproduce`"):
        compare(ReproductionFolder(tmp_path))
    made(tmp_path, "fig6", scale="demo")
    with pytest.raises(DataError, match="no numbers have been published on digits, mnist5k for fig6"):
        compare(ReproductionFolder(tmp_path))
    made(tmp_path / "gain", "gain", scale="demo")
    with pytest.raises(DataError, match="no numbers have been published for gain, on any data set"):
        compare(ReproductionFolder(tmp_path / "gain"))
    Reproduction(figure="fig6", scale="short", protocol="authors").write(ReproductionFolder(tmp_path / "short"))
    with pytest.raises(DataError, match="no arm is finished that has a published number"):
        compare(ReproductionFolder(tmp_path / "short"))


def test_a_folder_has_a_figure_in_one_way(tmp_path: Path) -> None:
    reproduction = Reproduction(figure="fig6", scale="short", protocol="authors")
    reproduction.write(ReproductionFolder(tmp_path))
    other = Reproduction(figure="fig6", scale="short", protocol="paper")
    other.write(ReproductionFolder(tmp_path))  # no study has begun: it may still be asked for in another way
    assert reproductions(ReproductionFolder(tmp_path)) == [other]
    reproduction.write(ReproductionFolder(tmp_path))
    assert reproductions(ReproductionFolder(tmp_path)) == [reproduction]
    (tmp_path / "studies" / reproduction.make().panels[0].name).mkdir(parents=True)
    with pytest.raises(RunDirectoryError, match="the figure is there with another protocol"):
        other.write(ReproductionFolder(tmp_path))
    (tmp_path / "fig6.json").write_text(json.dumps({"figure": "fig6", "new": 1}))
    with pytest.raises(RunDirectoryError, match="another version wrote it"):
        reproductions(ReproductionFolder(tmp_path))


# figures --------------------------------------------------------------------------------------------------------------


@pytest.mark.report
@pytest.mark.parametrize("name", ["fig2", "fig5", "fig7", "fig8", "radii", "trades", "other-ranking"])
def test_every_figure_is_drawn(name: str, tmp_path: Path) -> None:
    figure = made(tmp_path, name, "short")
    png, svg = save_figures(figure, ReproductionFolder(tmp_path))
    assert png.stat().st_size > 10_000
    text = svg.read_text()
    assert "plain training" in text
    first = png.read_bytes()
    save_figures(figure, ReproductionFolder(tmp_path))
    assert png.read_bytes() == first


@pytest.mark.report
def test_published_numbers_are_drawn_under_the_authors_protocol_alone(tmp_path: Path) -> None:
    for name, words in (("rs-fgsm", "pale: published,"), ("fig2", "(53)")):
        for protocol in ("authors", "paper"):
            out = tmp_path / f"{name}-{protocol}"
            _, svg = save_figures(made(out, name, protocol=protocol), ReproductionFolder(out))
            assert (words in svg.read_text().replace("\xa0", " ")) == (protocol == "authors")


@pytest.mark.report
def test_arms_that_are_missing_are_left_out(tmp_path: Path) -> None:
    reproduction = Reproduction(figure="fig5", scale="demo", protocol="paper")
    assert save_figures(reproduction.make(), ReproductionFolder(tmp_path)) == []
    fill(reproduction.make(), tmp_path)
    for path in tmp_path.glob("studies/*/arms/strategy-random*/results.json"):
        path.unlink()
    _, svg = save_figures(reproduction.make(), ReproductionFolder(tmp_path))
    assert "random" not in svg.read_text()
    assert "hardest" in svg.read_text()
