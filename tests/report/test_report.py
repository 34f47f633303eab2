"""The HTML report: whole in one file, escaped, and true to the results."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import shutil
from pathlib import Path

import hostile
import pytest
from pages import Page, results
from toys import HALF, as_rows, result

from sat_core.agreement import shown_rho
from sat_core.errors import RunDirectoryError, SatError
from sat_core.files import read_json, write_json
from sat_core.ranking import Ranking
from sat_core.run_folder import ReproductionFolder, RunFolder
from sat_evaluation.cli import main
from sat_evaluation.paper.reproduction import Reproduction
from sat_evaluation.report.axes import Axis
from sat_evaluation.report.epoch_plots import over_epochs
from sat_evaluation.report.page import write_report
from sat_evaluation.results.csv_file import csv_text
from sat_evaluation.results.headline import headline

pytestmark = pytest.mark.torch  # a page is the same for every backend, and PyTorch trains its study soonest


def test_class_names_neither_steer_a_page_nor_become_formulas(copy: Path) -> None:
    names = ["=1+1", "\x1b[31mred", "\u202eevil", "@x"]
    for path in copy.glob("arms/*/results.json"):
        content = read_json(path)
        write_json(path, {**content, "data": {**content["data"], "classes": names}, "warnings": [names[1], names[2]]})
    page = Page(write_report([copy]))
    assert all(c.isprintable() or c in "\n\t" for c in page.text)
    assert "\\x1b[31mred" in page.text
    assert "\\u202eevil" in page.text
    tables = [text for name, text in page.files().items() if name.endswith(".csv")]
    cells = [cell for table in tables for line in csv.reader(table.splitlines()) for cell in line]
    assert "'=1+1" in cells
    assert not [cell for cell in cells if cell[:1] in ("=", "@")]


def test_it_needs_nothing_but_itself(page: Page) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "poster", "action"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), attributes
        assert not [name for name in attributes if name.startswith("on")]
    assert len(page.all("script")) == 1
    assert not page.all("link")[1:]
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.code.encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_names_from_data_are_text(page: Page, study: Path) -> None:
    source = (study / "report.html").read_text(encoding="utf-8")
    assert "<script>document" not in source
    assert "<img src=x" not in source
    for name in hostile.NAMES:
        assert name[:20] in page.text


def test_pictures_have_words(page: Page) -> None:
    assert all(image["alt"] for image in page.all("img"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    drawings = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(drawings) >= 7
    for svg in drawings:
        assert set((svg["aria-labelledby"] or "").split()) < set(ids)
    decoration = [svg for svg in page.all("svg") if svg.get("role") != "img"]
    assert all(svg["aria-hidden"] == "true" for svg in decoration)
    assert [html["lang"] for html in page.all("html")] == ["en"]


def test_the_same_results_give_the_same_bytes(study: Path, tmp_path: Path) -> None:
    first, second = (write_report([study], tmp_path / f"{n}.html").read_bytes() for n in range(2))
    assert first == second


def test_it_says_what_the_results_say(page: Page, study: Path) -> None:
    rows = as_rows(results(study))
    assert len(rows) == 6
    links = page.files()
    assert sorted(links["study.csv"].splitlines()) == sorted(csv_text(rows).splitlines())
    for row in rows:
        assert f"{100 * row.robust.value:.1f} [{100 * row.robust.low:.1f}, {100 * row.robust.high:.1f}]" in page.text
        assert row.arm in page.text
    assert headline(rows)[:40] in page.words()
    assert "What broke what" in page.words()
    assert "broken by apgd-t" in page.text
    assert results(study)[0]["data"]["fingerprint"] in page.text
    assert "subset.size: 0.0, 0.5, 1.0; training.seed: 0, 1" in page.words()


def test_charts_are_drawn_to_scale(page: Page, study: Path) -> None:
    """The marks of the first plot, back in percent, are the accuracies."""
    rows = as_rows(results(study))
    half = [row.robust.value for row in rows if row.share == 0.5]
    tips = [attributes["data-tip"] or "" for attributes in page.all("circle")]
    assert any(f"hardest, 50 % (80): robust accuracy {100 * sum(half) / 2:.1f} %" in tip for tip in tips)
    axis = Axis.over("x", [80.0, 99.0], least=20, within=(0, 100))
    assert axis.high == 100
    assert axis.low < 79
    assert axis.ticks == (80.0, 85.0, 90.0, 95.0, 100.0)


def test_signs_of_catastrophic_overfitting_are_drawn_for_single_step_attacks() -> None:
    two = [result(500, 0.4, seed=seed, attack__kind="rs-fgsm") for seed in (0, 1)]
    for content, accuracies in zip(two, ([0.5, 0.6, 0.1], [0.3, 0.5]), strict=True):
        content["collapse"] = {"pgd_accuracy": accuracies, "gradient_alignment": [0.9] * len(accuracies)}
    *others, robustness, linearity = over_epochs(as_rows([*two, HALF]))
    assert len(others) == len(over_epochs(as_rows([HALF]))) == 2
    (curve,), (alignment,) = robustness.curves, linearity.curves
    assert [(mark.x, mark.y) for mark in curve.marks] == [(1, pytest.approx(0.4)), (2, pytest.approx(0.55))]
    assert [mark.y for mark in alignment.marks] == pytest.approx([0.9, 0.9])


def test_galleries(page: Page) -> None:
    assert sum("entropy" in (image["alt"] or "") for image in page.all("img")) == 24
    assert sum("perturbation" in (image["alt"] or "") for image in page.all("img")) == 18
    assert all((image["src"] or "").startswith("data:image/png;base64,iVBOR") for image in page.all("img"))
    assert "plain training" in page.text
    assert "full AT" in page.text


def test_scores_of_the_ranking_are_compared(study: Path, page: Page) -> None:
    rho = Ranking.read(RunFolder(study).ranking).agreement().rho
    assert "Agreement of scores" in page.words()
    assert f"entropy{''.join(map(shown_rho, rho[0]))} error" in page.words()
    names = [f"{study.name}-agreement.csv", f"{study.name}-agreement.json"]
    assert [file for file in page.files() if "agreement" in file] == names


def test_tables_have_the_sizes_that_were_run(study: Path, page: Page) -> None:
    links = page.files()
    table = csv.DictReader(links["Accuracy when only a part A of the training examples is attacked.csv"].splitlines())
    assert {float(line["|A|: part that is attacked (%)"]) for line in table} == {0.0, 50.0, 100.0}


def test_studies_side_by_side(study: Path, copy: Path, tmp_path: Path) -> None:
    for path in copy.glob("arms/*/results.json"):
        result = read_json(path)
        result["backend"] = "another"
        write_json(path, result)
    out = tmp_path / "both.html"
    page = Page(write_report([study, copy], out))
    assert "Side by side" in page.text
    named = {group.get("data-curve") for group in page.all("g")}
    # of one name: with the folders that they are in, and none above these
    assert {f"{study.parent.name}/study", f"{copy.parent.name}/study"} <= named
    assert str(study.parent) not in page.text
    assert "npz:data.npz" in page.text
    assert len([section for section in page.all("section") if section.get("class") == "run"]) == 2


def test_figures_of_a_reproduction(study: Path, tmp_path: Path) -> None:
    data = f"npz:{study.parent / 'data.npz'}"
    reproduction = Reproduction(figure="fig5", scale="demo", protocol="authors", data={"mine": data})
    reproduction.write(ReproductionFolder(tmp_path))
    (panel,) = reproduction.make().panels
    folder = tmp_path / "studies" / panel.name
    shutil.copytree(study, folder)
    (folder / "spec.toml").write_text((study / "spec.toml").read_text())
    for source, wanted in zip(sorted(folder.glob("arms/*")), panel.study.arms, strict=False):
        source.rename(folder / "arms" / f"new-{wanted.name}")
    for path in sorted(folder.glob("arms/new-*")):
        name = path.name.removeprefix("new-")
        write_json(path / "results.json", {**read_json(path / "results.json"), "arm": name})
        path.rename(path.with_name(name))
    page = Page(write_report([tmp_path]))
    assert "fig5: A part of the classes is attacked (CSAT)" in page.words()
    assert "Robust accuracy on B" in page.words()
    (tmp_path / "studies" / "elsewhere").mkdir()
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    folder.rename(moved)
    folder.symlink_to(moved)  # on another disk
    assert "Robust accuracy on B" in Page(write_report([tmp_path])).words()
    (moved / "spec.toml").write_text("")
    with pytest.raises(SatError):  # nothing else is there
        write_report([tmp_path])
    contents = json.loads((tmp_path / "fig5.json").read_text())
    (tmp_path / "fig5.json").write_text(json.dumps({**contents, "data": 3}))
    with pytest.raises(SatError, match=r"fig5\.json: expected what"):
        write_report([tmp_path])


def test_command(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(study), "--out", str(tmp_path / "a.html")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'a.html'}: ")
    assert main(["report", str(tmp_path)]) == 2
    assert "expected the folder of a study" in capsys.readouterr().err
    assert main(["report", str(study), "--out", str(tmp_path)]) == 2
    assert "is a folder; expected the name of a file" in capsys.readouterr().err
    with pytest.raises(RunDirectoryError):
        write_report([tmp_path / "nowhere"])
