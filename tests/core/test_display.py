"""What notebooks and prompts show of evaluations, rankings and studies; names may be markup."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from sat_core.autoattack import AttackSettings
from sat_core.display import data_frame, html_table
from sat_core.errors import NotInstalledError, SpecError
from sat_core.evaluation import MISCLASSIFIED, ROBUST, Evaluation
from sat_core.order_file import read_order
from sat_core.ranking import Ranking
from sat_core.study import Study


def test_text_is_escaped() -> None:
    html = html_table("<script>", ("a&b",), [("<td>", 1)])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<th>a&amp;b</th>" in html
    assert "<td>&lt;td&gt;</td><td>1</td>" in html


def test_an_evaluation() -> None:
    evaluation = Evaluation(
        label=np.array([0, 1, 2, 3]),
        broken_by=np.array([ROBUST, ROBUST, 0, MISCLASSIFIED]),
        attacks=(AttackSettings(name="apgd-ce", iterations=100),),
        norm="L2",
        eps=0.5,
        package="pyautoattack 0.2",
    )
    assert repr(evaluation) == "Evaluation(robust_accuracy=0.500, clean_accuracy=0.750, n=4, L2, eps=0.5, level=custom)"
    assert "<td>apgd-ce</td><td>1</td><td>50.0 %</td>" in evaluation._repr_html_()


def test_a_ranking_is_in_order_and_can_be_saved(tmp_path: Path) -> None:
    ranking = Ranking(scores={"entropy": np.array([0.1, 0.9, 0.5]), "error": np.array([1.0, 0.0, 0.0])})
    assert ranking.hardest_first().tolist() == [1, 2, 0]
    assert ranking.hardest_first("error").tolist() == [0, 1, 2]
    assert repr(ranking) == "Ranking(3 examples, entropy, error)"
    assert "<td>entropy</td><td>1</td><td>2</td><td>0</td>" in ranking._repr_html_()
    with pytest.raises(SpecError, match=r"unknown metric 'entropi' \(did you mean 'entropy'"):
        ranking.hardest_first("entropi")
    ranking.save_order(tmp_path / "order.npy", "error")
    assert read_order(tmp_path / "order.npy", 3).tolist() == [0, 1, 2]
    published = Ranking(order=np.array([2, 0]))
    assert published.hardest_first().tolist() == [2, 0]
    assert repr(published) == "Ranking(2 examples, a published order)"


def test_a_study_lists_its_arms() -> None:
    study = Study.from_tables(
        {"data": {"name": "digits"}, "training": {"epochs": 1}, "grid": {"subset.size": [0.0, 0.5]}}
    )
    html = study._repr_html_()
    assert "Study of 2 arms on digits" in html
    assert "<td>size-0.5</td><td>0.5</td>" in html


def test_pandas_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(NotInstalledError, match="pip install pandas"):
        data_frame({"a": [1]})
