"""What the paper's appendix has: defence rate, gain on B, class entropy, agreement of rankings, overfitting."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from test_figures import texts
from toys import ALL, HALF, NONE, accuracy, as_rows, result, write_ranking

from sat_core import files
from sat_core.accuracy import wilson
from sat_core.calibration import CalibrationSummary, calibration
from sat_core.errors import DataError
from sat_core.ranking import Ranking
from sat_core.robustness import defence_rate
from sat_core.run_folder import RunFolder
from sat_evaluation.figures.agreement import agreement_of
from sat_evaluation.figures.appendix import appendix_figures
from sat_evaluation.figures.canvas import save_figure
from sat_evaluation.figures.class_entropy import class_entropy_figure
from sat_evaluation.figures.class_entropy_data import PublishedTransfer, class_transfer
from sat_evaluation.figures.defence import defence_figure
from sat_evaluation.figures.defence_data import defence_lines
from sat_evaluation.figures.gain import gain_figure
from sat_evaluation.figures.gain_data import PAIRED, UNPAIRED, gains_on_b
from sat_evaluation.figures.overfitting import overfitting_figure
from sat_evaluation.figures.overfitting_data import overfitting_curves
from sat_evaluation.figures.reliability import reliability_figure
from sat_evaluation.figures.share_data import share_curves
from sat_evaluation.report.appendix import appendix
from sat_evaluation.report.gather import Run
from sat_evaluation.report.tables import numbers
from sat_evaluation.results.pairs import GroupFlags
from sat_evaluation.results.rows import Row
from sat_evaluation.run.study_results import StudyResults

pytestmark = pytest.mark.report


def words(path: Path, figure: Any) -> set[str]:
    return {text.replace("\xa0", " ") for text in texts(save_figure(figure, path)[1])}


def by_class(made: dict[str, Any], clean: list[tuple[int, int]], robust: list[int]) -> dict[str, Any]:
    """A copy with counts for each class: correct of how many, and how many of these are robust."""
    made = copy.deepcopy(made)
    for name, counts in (("clean_accuracy", [c for c, _ in clean]), ("robust_accuracy", robust)):
        made[name]["per_class"] = [accuracy(c / n, n) for c, (_, n) in zip(counts, clean, strict=True)]
    return made


def singles(robust_b: tuple[float, ...] = (0.2, 0.4, 0.3, 0.1)) -> list[dict[str, Any]]:
    """An arm for each of four classes, with this robust accuracy on B."""
    return [
        result(250, 0.4, strategy="listed", kind="classes", units=1, chosen=(c,), parts=(0.9, value))
        for c, value in enumerate(robust_b)
    ]


def test_the_defence_rate_is_of_the_images_that_are_classified_correctly() -> None:
    clean, robust = wilson(300, 400), wilson(150, 400)
    assert clean is not None
    assert robust is not None
    assert defence_rate(clean, robust) == wilson(150, 300)
    none = wilson(0, 400)
    assert none is not None
    assert defence_rate(none, none) is None
    with pytest.raises(DataError, match=r"the robust one at most the clean one, got 300 of 400 and 150 of 400"):
        defence_rate(robust, clean)


def test_defence_rates_over_the_share_and_by_class(tmp_path: Path) -> None:
    half = by_class(result(500, 0.6, 0.8), [(40, 50), (30, 100), (0, 100), (90, 100)], [10, 30, 0, 45])
    rows: list[Row] = as_rows([by_class(row, [(90, 100)] * 4, [45] * 4) for row in (NONE, ALL)] + [half])
    ((point,),) = (curve.points for curve in share_curves(rows, "defence"))
    assert point.value == pytest.approx(75)
    lines = defence_lines(rows)
    assert [line.label for line in lines] == ["plain training", "hardest 50 %", "full AT"]
    cells = lines[1].cells
    assert [cell.value for cell in cells] == [0.25, 1.0, None, 0.5]
    assert [cell.small for cell in cells] == [True, True, False, False]
    assert cells[3].accuracy == wilson(45, 90)
    shown = words(tmp_path / "defence", defence_figure(rows))
    assert {"25*", "100*", "–", "50", "hardest 50 %", "defence rate (%)"} <= shown
    assert defence_figure(as_rows([NONE, ALL])) is None
    assert defence_figure([]) is None


def test_defence_rates_of_baselines_are_on_the_same_classes() -> None:
    none = by_class(result(0, 0.3, kind="classes"), [(100, 100), (50, 100), (40, 100), (10, 100)], [50, 10, 20, 10])
    arm = result(500, 0.5, kind="classes", units=2, chosen=(0, 1), parts=(0.9, 0.6))
    (curve,) = share_curves(as_rows([none, arm]), "defence_b")
    assert [point.value for point in curve.plain] == [pytest.approx(60)]  # 30 of 50 on the last two


def class_arms() -> list[dict[str, Any]]:
    counts = [(100, 100)] * 4
    full = by_class(result(1000, 0.5, kind="classes", units=4), counts, [80, 70, 60, 50])
    two = result(500, 0.5, kind="classes", units=2, chosen=(0, 1), parts=(0.9, 0.4))
    return [full, by_class(two, counts, [90, 90, 50, 30])]


def test_the_gain_on_b_is_that_against_full_training_on_the_same_classes(tmp_path: Path) -> None:
    rows: list[Row] = as_rows(class_arms())
    second_seed = result(500, 0.5, kind="classes", units=2, chosen=(0, 1), seed=1)["spec"]
    (gain,) = gains_on_b(rows)
    assert (gain.difference.value, gain.n, gain.how) == (pytest.approx((80 - 110) / 200), 200, UNPAIRED)
    assert gain.difference.low < -0.15 < gain.difference.high < 0
    shown = words(tmp_path / "gain", gain_figure(rows))
    assert "hardest 50 %" in shown
    assert any(text.startswith("-15.0 [") and text.endswith("n = 200") for text in shown)
    both = gain_figure(as_rows([*class_arms(), class_arms()[1] | {"arm": "second", "spec": second_seed}]))
    # counts say nothing of seeds
    (bars,) = (text for text in words(tmp_path / "both", both) if text.startswith("bars: "))
    assert bars.startswith("bars: 95 % interval over test images")
    assert "seeds" not in bars
    # without files, the counts are there
    assert gains_on_b(rows, RunFolder(tmp_path)) == [gain]
    assert gain_figure(as_rows([NONE, HALF, ALL])) is None
    assert gain_figure(rows[1:]) is None


def test_the_gain_is_paired_where_flags_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Row] = as_rows(class_arms())
    label = np.repeat(np.arange(4), 100)

    def flags(group: Any, _folder: RunFolder) -> GroupFlags:
        counts = [each.count for each in group.rows[0].results.robust.per_class]
        robust = np.concatenate([np.arange(100) < count for count in counts])[None]
        clean = np.ones_like(robust)
        return GroupFlags(group=group, data="0", image=np.arange(400), label=label, robust=robust, clean=clean)

    monkeypatch.setattr("sat_evaluation.figures.gain_data.read_flags", flags)
    (gain,) = gains_on_b(rows, RunFolder(tmp_path))
    (unpaired,) = gains_on_b(rows)
    assert gain.over == "test images"
    assert (gain.how, gain.difference.value, gain.n) == (PAIRED, pytest.approx(-0.15), 200)
    # all differences point the same way: on the same images that is seen better
    assert gain.difference.high - gain.difference.low < unpaired.difference.high - unpaired.difference.low


def test_seeds_that_drew_other_classes_gain_for_themselves() -> None:
    full, _ = class_arms()
    drawn = [
        by_class(
            result(250, 0.5, strategy="random", seed=c, kind="classes", units=1, chosen=(c,), parts=(0.9, 0.4)),
            [(100, 100)] * 4,
            [60] * 4,
        )
        for c in (0, 3)
    ]
    gains = gains_on_b(as_rows([full, *drawn]))
    assert [gain.label for gain in gains] == ["random 25 %: c0", "random 25 %: c3"]
    assert [gain.difference.value for gain in gains] == pytest.approx([0.0, (180 - 210) / 300])


def test_class_transfer_over_the_difficulty_of_the_class(tmp_path: Path) -> None:
    rows: list[Row] = as_rows([NONE, HALF, *singles(), ALL])
    transfer = class_transfer(rows, lambda row: [0.3, 0.5, 0.1, 0.2][row.classes[0]], "entropy")
    assert transfer is not None
    assert [point.name for point in transfer.points] == ["c2", "c3", "c0", "c1"]
    assert [point.accuracy.value for point in transfer.points] == [0.3, 0.1, 0.2, 0.4]
    assert transfer.rho == pytest.approx(0.4)
    published = PublishedTransfer(source="a table", weights="uniform", entropy=(1, 2, 3), robust_b=(0.1, 0.2, 0.3))
    shown = words(tmp_path / "transfer", class_entropy_figure(transfer, "digits", published=published))
    assert {"c0", "c3", "ours: Spearman's ρ = 0.40, n = 4 classes"} <= shown
    assert {"published: Spearman's ρ = 1.00, n = 3 classes", "published: a table"} <= shown
    assert published.like(rows[2])
    (weighted,) = as_rows([result(250, 0.4, kind="classes", units=1, chosen=(0,), weighting__rule="balanced")])
    assert not published.like(weighted)
    assert class_transfer(rows[:-3], lambda _: 0.0, "entropy") is None
    # of other settings, not even a class that the first ones lack
    other = result(250, 0.4, strategy="listed", kind="classes", units=1, chosen=(3,), parts=(0.9, 0.8), attack__eps=1.0)
    first = class_transfer(as_rows([*singles()[:3], other]), lambda _: 0.0, "entropy")
    assert first is not None
    assert [point.name for point in first.points] == ["c0", "c1", "c2"]


def test_the_reliability_plot_says_what_it_is_of(tmp_path: Path) -> None:
    measured = calibration(np.eye(4)[np.arange(1000) % 4], np.arange(1000) % 4)
    summary = CalibrationSummary(clean=measured, adversarial=measured, norm="Linf", eps=8 / 255)
    shown = words(tmp_path / "reliability", reliability_figure(summary))
    assert any("PGD-10, Linf ε = 8/255" in text for text in shown)
    assert any("n = 1,000" in text for text in shown)


def test_several_rankings_are_compared() -> None:
    scores = np.arange(20.0)
    one, other = (Ranking(scores={"entropy": values, "error": -values}) for values in (scores, scores[::-1]))
    agreement = agreement_of({"cnn": one, "linear": other})
    assert agreement.metrics == ("cnn", "linear")
    assert agreement.rho[0, 1] == pytest.approx(-1)
    assert agreement.overlap[0.1][0, 1] == 0
    both = agreement_of({"cnn": one, "linear": other}, ("entropy", "error", "margin"))
    assert both.metrics == ("cnn: entropy", "cnn: error", "linear: entropy", "linear: error")
    published = agreement_of({"cnn": one, "published": Ranking(scores={}, order=np.arange(19, -1, -1))})
    assert published.rho[0, 1] == pytest.approx(1)
    with pytest.raises(DataError, match="of the same training examples, got 3 and 20"):
        agreement_of({"cnn": one, "short": Ranking(scores={"entropy": np.arange(3.0)})})


def watched(size: int, robust: list[float], **options: Any) -> dict[str, Any]:
    made = result(size, 0.5, **options)
    made["watch"] = {
        "examples": 512,
        "norm": "L2",
        "eps": 0.5,
        "clean_accuracy": [0.9] * len(robust),
        "robust_accuracy": robust,
    }
    return made


def test_overfitting_is_what_was_lost_from_the_best_epoch_to_the_last(tmp_path: Path) -> None:
    seeds = [watched(500, values, seed=s) for s, values in enumerate(([0.2, 0.6, 0.5, 0.4], [0.2, 0.4, 0.5, 0.2]))]
    rows: list[Row] = as_rows([HALF, watched(1000, [0.1, 0.2, 0.3, 0.4, 0.5]), *seeds])
    full, half = overfitting_curves(rows[1:])
    assert (full.label, full.lost, full.n) == ("full AT", 0.0, 512)
    assert (half.label, half.epochs) == ("hardest 50 % (2 seeds)", (1, 2, 3, 4))
    assert half.robust == pytest.approx((0.2, 0.5, 0.5, 0.3))
    assert half.lost == pytest.approx(0.2)
    assert half.attacks == "PGD-10 (L2, ε = 0.5) after each epoch"
    shown = words(tmp_path / "overfitting", overfitting_figure(rows[1:]))
    assert {"hardest 50 % (2 seeds) (lost at the end: 20.0)", "robust accuracy (%)"} <= shown
    # the reported attacks are in no curve
    assert not any("AutoAttack" in text or "n =" in text for text in shown)
    assert overfitting_figure(as_rows([HALF, ALL])) is None


def test_checks_stand_in_for_what_was_not_watched() -> None:
    made = result(500, 0.5)
    check = made["selection"]["checks"][0]
    made["selection"]["checks"] = [{**check, "epoch": epoch} for epoch in (3, 5, 7, 9)]
    (curve,) = overfitting_curves(as_rows([made]))
    assert (curve.epochs, curve.n, curve.chosen) == ((3, 5, 7, 9), 400, (7,))
    assert curve.attacks == "AutoAttack standard, the checks that choose the epoch"


def test_a_study_has_the_figures_for_which_it_has_the_arms(tmp_path: Path) -> None:
    counts = ([(100, 100)] * 4, [50] * 4)
    arms = [by_class(arm, *counts) for arm in (*singles(), result(1000, 0.5, kind="classes", units=4))]
    for number, arm in enumerate(arms):
        arm["arm"] = f"arm-{number}"
    folder, rows = RunFolder(tmp_path), as_rows([NONE, *arms])
    for row in rows[1:-1]:
        first = 250 * row.classes[0]
        members = list(range(first, first + 250))
        files.write_json(folder.unit(row.arm).split_file, {"members": members})
    results = StudyResults(tuple(row.results for row in rows), folder)
    assert set(results.appendix_figures()) == {"defence", "gain"}
    scores = np.repeat([0.3, 0.5, 0.1, 0.2], 250)
    arrays = dict.fromkeys(("entropy", "error", "variance", "margin"), scores)
    write_ranking(folder, arrays)
    made = {path.name: figure for path, figure in appendix_figures(rows, folder)}
    assert set(made) == {"defence", "gain", "class-entropy", "agreement"}
    assert "ours: Spearman's ρ = 0.40, n = 4 classes" in words(tmp_path / "c", made["class-entropy"])
    run = Run(
        folder=folder, name="x", rows=rows, ranking=None, data=None, settings=[], spec="", unfinished=[], problems=[]
    )
    defence, gain, transfer = appendix(run)
    assert [chapter.key for chapter in (defence, gain, transfer)] == ["defence", "gain", "transfer"]
    (plot,) = transfer.blocks[1].charts
    assert plot.notes[-1] == "Spearman's ρ = 0.40"
    assert [line[:3] for line in numbers(plot).lines] == [
        (name, pytest.approx(difficulty), pytest.approx(robust))
        for name, difficulty, robust in (("c2", 0.1, 30), ("c3", 0.2, 10), ("c0", 0.3, 20), ("c1", 0.5, 40))
    ]
    assert all(mark.label.seen for mark in plot.curves[0].marks)
    (forest,) = gain.blocks[1].charts
    assert [line.value for line in forest.lines] == [100 * one.difference.value for one in gains_on_b(rows, folder)]
    assert numbers(forest).columns == ("A", forest.x.label, "low", "high", "n", "attacks")
    assert [cell.value for cell in defence.blocks[1].charts[-1].cells[1]] == [0.5] * 4
    folder.ranking.ranking_file.write_bytes(b"")
    # what is damaged is left out
    assert {path.name for path, _ in appendix_figures(rows, folder)} == {"defence", "gain"}
    assert [chapter.key for chapter in appendix(run)] == ["defence", "gain"]
    assert list(appendix(attrs.evolve(run, rows=as_rows([NONE, ALL])))) == []
