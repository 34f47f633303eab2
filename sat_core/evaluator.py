"""The interface of evaluators, which measure robust accuracy, and their registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from sat_core.autoattack import AttackSettings
from sat_core.classifier import Classifier
from sat_core.evaluation import Evaluation
from sat_core.process_group import ALONE, ProcessGroup
from sat_core.registry import Registry


class Evaluator(Protocol):
    """Measures robust accuracy; by default AutoAttack (`sat_evaluation.attack.runner.evaluate`)."""

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
        batch_size: int | None = None,
        engine: str = "package",
        path: Path | None = None,
        progress: Callable[[float, str], None] | None = None,
        group: ProcessGroup = ALONE,
    ) -> Evaluation:
        """Attack images and return which attack broke which.

        Args:
            classifier: What is attacked.
            images: `(n, h, w, c)`, uint8 or float32 in [0, 1]: an array, or a source that decodes ``images[index]``.
            labels: Classes, int64 `(n,)`.
            norm: Name of the threat model, such as ``Linf``.
            eps: Radius of the ball, in units of [0, 1] pixels.
            attacks: One of `sat_core.autoattack.LEVELS`, several names, or attacks with settings.
            seed: Of all random draws.
            batch_size: Images that are attacked together, fewer where memory does not suffice. Default: the evaluator's
                own.
            engine: One of `sat_core.autoattack.ENGINES`.
            path: An .npz that is saved to after each batch and resumed from.
            progress: Called with the share of the work that is done, in [0, 1], and the name of the attack.
            group: The ranks that attack together. All make this call; `path` is for rank 0. The flags and the file are
                those of a single process.
        """


EVALUATORS: Registry[Evaluator] = Registry("evaluator", "sat_core.evaluators")
"""Evaluators by name, found by entry point, so that the core needs none of their packages."""


def get_evaluator(name: str = "autoattack") -> Evaluator:
    """Return the evaluator called `name`."""
    return EVALUATORS.get(name)
