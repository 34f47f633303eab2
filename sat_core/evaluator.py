"""What measures robust accuracy: the interface, and the registry in which evaluators are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from sat_core.autoattack import AttackSettings
from sat_core.classifier import Classifier
from sat_core.evaluation import Evaluation
from sat_core.registry import Registry


class Evaluator(Protocol):
    """AutoAttack, or whatever measures robust accuracy in its place."""

    def __call__(
        self,
        classifier: Classifier,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        norm: str,
        eps: float,
        attacks: str | tuple[str | AttackSettings, ...] = "standard",
        seed: int = 0,
        batch_size: int = 250,
        engine: str = "package",
        path: Path | None = None,
        progress: Callable[[float, str], None] | None = None,
    ) -> Evaluation:
        """Attack `images` `(n, h, w, c)`, an array or a source that `images[index]` decodes.

        engine: one of `sat_core.autoattack.ENGINES`. Saves to and resumes from `path` (.npz); progress(share, attack).
        """


EVALUATORS: Registry[Evaluator] = Registry("evaluator", "sat_core.evaluators")
"""Evaluators by name, found by entry point, so that the core needs none of their packages."""


def get_evaluator(name: str = "autoattack") -> Evaluator:
    """The evaluator called `name`."""
    return EVALUATORS.get(name)
