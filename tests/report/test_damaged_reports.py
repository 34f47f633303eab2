"""Reports of studies that are broken, unfinished or old."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pages import Page, arm, results_without
from toys import as_rows

from sat_core.errors import RunDirectoryError
from sat_core.files import read_json, write_json
from sat_core.run_folder import RunFolder
from sat_evaluation.report.page import write_report
from sat_evaluation.results.headline import headline

pytestmark = pytest.mark.torch  # a page is the same for every backend, and PyTorch trains its study soonest


def test_an_arm_that_failed_is_told_of(copy: Path) -> None:
    (arm(copy) / "results.json").unlink()
    write_json(arm(copy) / "failed.json", {"reason": "out of <memory>"})
    (arm(copy) / "log.txt").write_text("# started\nlast words\n")
    page = Page(write_report([copy]))
    assert "1 not finished, 5 finished" in page.words()
    assert f"{arm(copy).name} failed: out of <memory>" in page.words()
    assert "last words" in page.text


@pytest.mark.parametrize("content", ["", '{"arm": ', "[]", '{"arm": "x"}', "[" * 100_000, '{"arm": NaN}'])
def test_results_that_are_none_are_named_and_the_others_shown(copy: Path, content: str) -> None:
    (arm(copy) / "results.json").write_text(content)
    page = Page(write_report([copy]))
    assert f"{arm(copy).name}: " in page.words()
    assert "results.json" in page.text
    assert headline(as_rows(results_without(copy, arm(copy))), RunFolder(copy)) in page.words()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("arm", "another", "belongs to another arm or study"),
        ("robust_accuracy.all.value", 95.0, "(robust_accuracy.all.value: expected a number in [0, 1], got 95.0)"),
        ("clean_accuracy.all.n", 0, "(clean_accuracy.all.n: expected an integer >= 1, got 0)"),
        ("selection.checks", [{"epoch": 1}], "(selection.checks[0].clean_accuracy: missing)"),
    ],
)
def test_a_field_that_is_none_of_a_finished_arm(copy: Path, path: str, value: object, said: str) -> None:
    """All fields are in tests/core/test_arm_results.py."""
    content = read_json(arm(copy) / "results.json")
    *tables, last = path.split(".")
    table = content
    for name in tables:
        table = table[name]
    table[last] = value
    write_json(arm(copy) / "results.json", content)
    words = Page(write_report([copy])).words()
    assert f"{arm(copy).name}: results.json: " in words
    assert said in words


@pytest.mark.parametrize(
    "change",
    [
        {"label": np.array(["a"] * 6)},
        {"label": np.arange(6) + 100},
        {"image": np.zeros((0, 8, 8, 1), np.float32)},
        {"image": np.zeros((6, 8), np.float32)},
        {"adversarial": np.full((6, 8, 8, 1), np.nan, np.float32)},
        {"predicted_adversarial": np.zeros((6, 2))},
    ],
    ids=str,
)
def test_examples_that_are_none_are_left_out(copy: Path, change: dict[str, np.ndarray]) -> None:
    for path in copy.glob("arms/*/examples.npz"):
        with np.load(path) as kept:
            np.savez(path, **{**kept, **change})
    assert "perturbation" not in json.dumps(Page(write_report([copy])).elements)


def test_a_ranking_with_holes_is_left_out(copy: Path) -> None:
    path = copy / "ranking/ranking.npz"
    with np.load(path) as kept:
        np.savez(path, **{**kept, "error": np.full(3, np.nan)})
    assert "expected a finite number per example and metric" in Page(write_report([copy])).words()


def test_it_replaces_nothing_but_a_report(copy: Path) -> None:
    before = (copy / "spec.toml").read_bytes()
    with pytest.raises(RunDirectoryError, match="is there, and no report"):
        write_report([copy], copy / "spec.toml")
    assert (copy / "spec.toml").read_bytes() == before
    assert write_report([copy]) == write_report([copy])


def test_results_of_an_older_version(copy: Path) -> None:
    """Without its examples an arm is shown all the same, without its losses it is refused with a reason."""
    for path in copy.glob("arms/*/examples.npz"):
        path.unlink()
    path = arm(copy) / "results.json"
    write_json(path, {key: value for key, value in read_json(path).items() if key != "losses"})
    page = Page(write_report([copy]))
    assert "results.json: expected the results of a finished arm (losses: missing); delete results.json" in page.words()
    assert "perturbation" not in json.dumps(page.elements)


def test_images_that_are_others_or_gone(copy: Path, study: Path) -> None:
    data = study.parent / "data.npz"
    before = data.read_bytes()
    try:
        with np.load(data) as arrays:
            np.savez(data, **{**arrays, "x_train": 1 - arrays["x_train"]})
        assert "are others than when the study began" in Page(write_report([copy])).words()
        data.unlink()
        assert "no images of the ranking" in Page(write_report([copy])).words()
    finally:
        data.write_bytes(before)


def test_nothing_finished(copy: Path) -> None:
    shutil.rmtree(copy / "arms")
    assert "No arm is finished." in Page(write_report([copy])).words()
