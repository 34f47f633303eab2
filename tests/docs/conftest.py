"""The documentation's programs with small settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from blocks import SMALL

import sat_core as sat
from sat_core import front_door

TEST_IMAGES = 8


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give programs a front door that trains for one epoch and attacks a few images with one attack."""

    def train(model: Any, data: Any, *, settings: Any = None, **options: Any) -> Any:
        return front_door.train(model, data, settings={**SMALL, **(settings or {})}, **options)

    def rank(model: Any, data: Any, **options: Any) -> Any:
        return front_door.rank(model, data, **{**options, "epochs": 1, "settings": {"training.threads": 1}})

    def evaluate(model: Any, images: Any, labels: Any, **options: Any) -> Any:
        images, labels = images[:TEST_IMAGES], labels[:TEST_IMAGES]
        return front_door.evaluate(model, images, labels, **{**options, "attacks": ["apgd-ce"], "engine": "fast"})

    run = sat.Study.run

    def run_one_arm(study: Any, out: str | Path, **options: Any) -> Any:
        one = {**SMALL, "subset.strategy": "random", "subset.size": 0.1}
        return run(study.set(one), out, **options)

    monkeypatch.setattr(sat, "train", train, raising=False)
    monkeypatch.setattr(sat, "rank", rank, raising=False)
    monkeypatch.setattr(sat, "evaluate", evaluate, raising=False)
    monkeypatch.setattr(sat.Study, "run", run_one_arm)
