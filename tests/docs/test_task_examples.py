"""The examples of the tasks of the documentation do what they say."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from sat_core.backend import Backend

pytestmark = pytest.mark.backend

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module(name)


@pytest.mark.tensorflow
def test_keras_fit_attacks_half_of_the_examples(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    history, robust = load("keras_fit", monkeypatch).main(epochs=2)
    assert history["attacked"] == [718, 718]
    assert history["loss"][1] < history["loss"][0]
    assert 0.5 < robust < history["val_accuracy"][-1]  # about 0.75
    assert "|A| = 718: clean" in capsys.readouterr().out
