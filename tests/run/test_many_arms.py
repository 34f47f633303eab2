"""Studies of thousands of arms: what is the same for many arms is done once, and nothing is done for each pair."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import put, results
from toys import as_rows, result

from sat_core import data, files, job, splits
from sat_core.reference import NumpyBackend
from sat_core.run_folder import RunFolder
from sat_core.study import Study
from sat_evaluation.figures.share_data import curve_names
from sat_evaluation.report.page import write_report
from sat_evaluation.results import curves
from sat_evaluation.results.curves import series
from sat_evaluation.run.prepare import prepare_study
from sat_evaluation.run.view import Silent

TABLES: dict[str, Any] = {"data": {"name": "digits"}, "model": {"name": "linear"}, "training": {"epochs": 1}}


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: Counter[str]) -> None:
    """Count the calls of a function, which still does what it does."""
    original = getattr(owner, name)

    def call(*arguments: Any, **more: Any) -> Any:
        calls[name] += 1
        return original(*arguments, **more)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.data
def test_seeds_make_no_more_work_of_what_goes_over_all_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = tmp_path / "order.npy"
    np.save(order, np.arange(1000)[::-1])
    works = []
    for seeds in (1, 3):
        calls: Counter[str] = Counter()
        for owner, name in ((data, "_fingerprint"), (job, "make_split"), (job, "read_order")):
            counted(monkeypatch, owner, name, calls)
        splits.validation_permutation.cache_clear()
        grid = {"subset.size": [0.1, 0.5], "training.seed": list(range(seeds)), "training.lr": [0.1, 0.2]}
        study = Study.from_tables({**TABLES, "ranking": {"file": str(order)}, "grid": grid})
        folder = RunFolder(tmp_path / str(seeds))
        assert len(prepare_study(study, folder, NumpyBackend(), (), Silent())) == 4 * seeds
        monkeypatch.undo()
        calls["permutations"] = splits.validation_permutation.cache_info().misses
        works.append(calls)
    assert works[0] == works[1]
    assert works[0]["make_split"] == works[0]["read_order"] == 2
    assert works[0]["permutations"] == works[0]["_fingerprint"] == 1


@pytest.mark.report
def test_results_are_read_once_for_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = {"subset.size": [0.0, 0.5], "training.seed": [0, 1, 2]}
    study = Study.from_tables({**TABLES, "grid": grid})
    folder = RunFolder(tmp_path / "out")
    put(folder.spec_file, study.dumps() + '\n[run]\nbackend = "numpy"\ndevice = "cpu"\ndata_fingerprint = ""\n')
    for arm in study.arms:
        put(folder.unit(arm.name).results_file, results(arm.name))
    read: Counter[str] = Counter()
    original = files.read_json

    def read_json(path: Path) -> Any:
        read[path.parent.name] += path.name == "results.json"
        return original(path)

    monkeypatch.setattr(files, "read_json", read_json)
    write_report([folder.path])
    assert read == {arm.name: 1 for arm in study.arms}


def test_the_work_for_curves_grows_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each curve finds its own baselines, and none looks at those of all others."""
    work = []
    for number in (8, 16):
        rates = [n / 100 for n in range(1, number + 1)]
        rows = as_rows([result(size, 0.5 + rate, training__lr=rate) for rate in rates for size in (0, 500, 1000)])
        calls: Counter[str] = Counter()
        counted(monkeypatch, curves.json, "dumps", calls)
        found = series(rows)
        monkeypatch.undo()
        assert [[g.rows[0].spec["training.lr"] for g in curve.points] for curve in found] == [[r] * 3 for r in rates]
        assert len(set(curve_names(found))) == number
        work.append(calls["dumps"])
    assert 0 < work[1] <= 2 * work[0]
