"""Tidy tables of a study: their rows, their files, and what is refused. The arms are real, on the numpy reference."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import HALF, NONE, as_rows, job, pgd_evaluator, result

from sat_core import files
from sat_core.arm import run_arm
from sat_core.errors import DataError, NotInstalledError, RunDirectoryError, SpecError
from sat_core.evaluation import Evaluation
from sat_core.ranking import run_ranking
from sat_core.run_folder import RunFolder
from sat_evaluation.results import tidy
from sat_evaluation.results.rows import Row, collect
from sat_evaluation.results.table_files import csv_parts, write_table, writer_for

ARMS = {
    "half": {"subset.size": 0.5},
    "classes": {"subset.kind": "classes", "subset.size": 1},
    "batches": {"subset.strategy": "online-hardest", "subset.size": 0.5},
}


def saving_evaluator(*arguments: Any, path: Path | None, **options: Any) -> Evaluation:
    """PGD that leaves the flags of images as AutoAttack's runner does."""
    evaluation = pgd_evaluator(*arguments, path=path, **options)
    settings = np.array(json.dumps({"attacks": [attack.to_table() for attack in evaluation.attacks]}))
    predicted = np.where(evaluation.correct, evaluation.label, (evaluation.label + 1) % 3)
    flags = {"label": evaluation.label, "predicted": predicted, "broken_by": evaluation.broken_by}
    if path is not None:
        files.write_npz(path, {**flags, "settings": settings})
    return evaluation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("runs"))
    ranking = run_ranking(job(folder.ranking.path))
    for name, keys in ARMS.items():
        keys = {**keys, "evaluation.attacks": ["apgd-ce"], "attack.eps": 0.5}
        run_arm(job(folder.unit(name).path, keys=keys, evaluator=saving_evaluator), ranking)
    return folder


def rows_of(folder: RunFolder) -> list[Row]:
    return collect(folder.unit(name).results() for name in ARMS)


def lines(what: str, folder: RunFolder, arm: str = "half") -> list[dict[str, str]]:
    """The rows of an arm, as they stand in CSV."""
    text = "".join(csv_parts(tidy.table(what, rows_of(folder), folder)))
    return [line for line in csv.DictReader(text.splitlines()) if line["arm"] == arm]


def test_arms_have_what_the_summary_has_and_more(folder: RunFolder) -> None:
    (line,) = lines("arms", folder)
    results = folder.unit("half").results()
    assert (line["robust_all"], line["n"]) == (str(results.robust_accuracy.value), "42")
    assert (line["norm"], line["eps"], line["epochs"], line["ranking_seed"]) == ("L2", "0.5", "4", "0")
    assert (line["kind"], line["size"]) == ("examples", "45")
    made = result(500, 0.8, evaluation__attacks=["apgd-ce", "square"], seed=1)
    made["warnings"] = ["=1+1", "overfitting"]
    table = tidy.table("arms", as_rows([NONE, made]), folder)
    assert (table.columns["size"], table.columns["cost"], table.columns["ranking_seed"]) == (int, float, str)
    text = "".join(csv_parts(table))
    assert "'=1+1; overfitting" in text  # no formula for a spreadsheet
    assert "".join(csv_parts(tidy.table("arms", [], folder))) == "arm\n"


def test_classes_and_checks_are_those_of_the_results(folder: RunFolder) -> None:
    results = folder.unit("classes").results()
    by_class = results.robust.per_class or ()
    read = lines("classes", folder, "classes")
    assert [(line["class"], line["name"]) for line in read] == [("0", "a"), ("1", "b"), ("2", "c")]
    assert [line["robust"] for line in read] == [str(each and each.value) for each in by_class]
    assert [line["in_A"] == "True" for line in read] == [number in results.split.classes for number in range(3)]
    assert {line["in_A"] for line in lines("classes", folder)} == {""}
    read = lines("checks", folder)
    checks = folder.unit("half").results().selection
    assert [line["epoch"] for line in read] == [str(check.epoch) for check in checks.checks]
    assert [line["epoch"] for line in read if line["chosen"] == "True"] == [str(checks.epoch)]
    assert read[0]["clean_low"] == str(checks.checks[0].clean.all.low)


def test_images_are_those_of_the_flags(folder: RunFolder) -> None:
    unit = folder.unit("half")
    with np.load(unit.evaluation_file("report")) as flags:
        broken_by, label = flags["broken_by"], flags["label"]
    read = lines("images", folder)
    assert [int(line["image"]) for line in read] == json.loads(unit.split_file.read_text())["report"]
    assert [int(line["label"]) for line in read] == label.tolist()
    assert [line["robust"] == "True" for line in read] == (broken_by == -1).tolist()
    assert [line["correct"] == "True" for line in read] == (broken_by != -2).tolist()
    assert [line["correct"] == "True" for line in read] == [line["predicted"] == line["label"] for line in read]
    assert [line["broken_by"] == "pgd" for line in read] == (broken_by == 0).tolist()
    assert {*broken_by.tolist()} >= {-1, 0}  # else it would be no test
    assert [line["class"] for line in read] == ["abc"[number] for number in label]


def test_examples_have_their_split_and_their_difficulty(folder: RunFolder) -> None:
    read = lines("examples", folder)
    members = json.loads(folder.unit("half").split_file.read_text())["members"]
    assert [number for number, line in enumerate(read) if line["in_A"] == "True"] == members
    with np.load(folder.ranking.ranking_file) as ranking:
        assert [float(line["entropy"]) for line in read] == ranking["entropy"].tolist()
    assert {line["attacked"] for line in read} == {""}
    moving = lines("examples", folder, "batches")
    with np.load(folder.unit("batches").attacked_file) as attacked:
        assert [int(line["attacked"]) for line in moving] == attacked["counts"].tolist()
    assert {line["in_A"] for line in moving} == {"False"}


def test_the_flags_of_a_weaker_level_are_those_before_the_later_attacks(tmp_path: Path) -> None:
    whole, weak, folder = result(0, 0.25, n=4), result(500, 0.5, n=4), RunFolder(tmp_path)
    standard = whole["attacks"]["breakdown"]
    for made, attacks, broken_by in ((whole, standard, [-1, 0, 3, -2]), (weak, standard[:2], [-1, 0, -1, -2])):
        unit = folder.unit(made["arm"])
        files.write_json(unit.split_file, {"report": [9, 7, 5, 3], "members": []})
        settings = np.array(json.dumps({"attacks": [{"name": each["name"]} for each in attacks]}))
        arrays = {
            "label": np.arange(4),
            "predicted": np.array([0, 1, 2, 0]),
            "broken_by": np.array(broken_by),
            "settings": settings,
        }
        files.write_npz(unit.evaluation_file("report"), arrays)
    screening = {**whole["attacks"], "level": "screening", "breakdown": standard[:2]}
    weak["attacks"] = screening
    whole["levels"] = [{"robust_accuracy": weak["robust_accuracy"], "attacks": screening}]
    (part,) = tidy.table("images", as_rows([whole]), folder).parts
    assert (part["broken_by"], part["level"][0]) == ([None, "apgd-ce", "square", None], "standard")
    part, _ = tidy.table("images", as_rows([whole, weak]), folder).parts
    assert (part["broken_by"], part["level"][0]) == ([None, "apgd-ce", None, None], "screening")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("split_file", b"{}", r"split.json: expected a list of numbers 'report'"),
        ("split_file", b'{"report": [1, 2], "members": []}', r"expected flags of 42 images"),
        ("split_file", None, "split.json: expected a JSON file"),
        ("evaluation", None, "report.npz: no such file"),
        ("evaluation", b"x", "report.npz: expected an .npz file"),
    ],
)
def test_damage_is_named_and_leaves_the_file_that_was_there(
    folder: RunFolder, tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    unit, out = folder.unit("classes"), tmp_path / "images.csv"
    path = unit.evaluation_file("report") if name == "evaluation" else unit.split_file
    before = path.read_bytes()
    out.write_text("old")
    try:
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(DataError, match=says):
            write_table(out, tidy.table("images", rows_of(folder), folder))
    finally:
        path.write_bytes(before)
    assert out.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["images.csv"]
    write_table(out, tidy.table("images", rows_of(folder), folder))
    assert len(out.read_text().splitlines()) == 1 + 3 * 42


def test_one_arm_after_another_is_read(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand arms with the flags of all images at once would need gigabytes."""
    read: list[str] = []
    flags = tidy.image_flags
    monkeypatch.setattr(tidy, "image_flags", lambda unit, results: read.append(unit.name) or flags(unit, results))
    parts = tidy.table("images", rows_of(folder), folder).parts
    assert read == []
    next(parts)
    assert read == ["half"]


def test_what_cannot_be_written_is_refused(folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=r"unknown table 'image' \(did you mean 'images'\?\)"):
        tidy.table("image", as_rows([HALF]), folder)
    with pytest.raises(SpecError, match=r"--out: expected a file that ends in .csv or .parquet, got 'a.xlsx'"):
        writer_for(tmp_path / "a.xlsx")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(NotInstalledError, match="--out: Parquet needs pyarrow: pip install pyarrow"):
        writer_for(tmp_path / "a.parquet")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="file: cannot be written"):
        write_table(tmp_path / "file" / "a.csv", tidy.table("arms", as_rows([HALF]), folder))
