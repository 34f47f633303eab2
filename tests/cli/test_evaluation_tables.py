"""What `sat evaluate` and `sat rank` print, on terminals of several widths."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import attrs
import numpy as np
import pytest
from rich.console import Console

from sat_core.autoattack import LEVELS
from sat_core.corrupted import CorruptionSummary
from sat_core.evaluation import MISCLASSIFIED, ROBUST, Evaluation
from sat_evaluation.cli.evaluation_table import print_evaluations
from sat_evaluation.cli.measured_table import print_measured
from sat_evaluation.run.measures import Measured


def evaluation(level: str) -> Evaluation:
    """Of 8 images, one is misclassified, and the first attack breaks two."""
    broken = np.array([MISCLASSIFIED, 0, 0, *[ROBUST] * 5])
    return Evaluation(
        label=np.zeros(8, np.int64),
        broken_by=broken,
        attacks=LEVELS[level],
        norm="Linf",
        eps=8 / 255,
        package="torch 1",
    )


@pytest.mark.parametrize("level", ["screening", "standard", "plus"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_autoattack_on_a_checkpoint(level: str, width: int) -> None:
    text, others = StringIO(), [attrs.evolve(evaluation(level), eps=eps) for eps in (0.1, 0.2, 0.25, 0.3)]
    print_evaluations([evaluation(level), *others], Path("out"), Console(file=text, width=width))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text.getvalue()
    words = " ".join(text.getvalue().split())
    assert "n = 8" in words
    assert "87.5 " in words
    assert words.count("62.5 [30.6, 86.3]") == 5
    assert all(attack.name in words for attack in LEVELS[level])
    assert words.endswith("per-example results: out")
    assert not set(words) & set("┏┃│")


def test_all_corruptions_have_a_mean_at_each_severity(capsys: pytest.CaptureFixture[str]) -> None:
    label = np.zeros(4, np.int64)
    flags = {
        name: np.array([[True] * number + [False] * (4 - number) for number in numbers])
        for name, numbers in (("fog", (4, 3, 2, 2, 0)), ("snow", (2, 1, 2, 0, 0)))
    }
    summary = CorruptionSummary.of(np.ones(4, bool), flags, label, constants="cifar")
    print_measured({"": Measured(corruptions=summary)}, Path("out"))
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("all"))
    assert line.split() == ["all", "75.0", "50.0", "50.0", "25.0", "0.0", "40.0"]
