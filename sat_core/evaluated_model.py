"""What a user gives as a model to evaluate, as a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sat_core.backend import Backend
from sat_core.classifier import Classifier
from sat_core.errors import SpecError
from sat_core.input_spec import InputSpec
from sat_core.networks import attacked_network
from sat_core.outcome import TrainingResult
from sat_core.user_models import backend_of


def classifier_of(
    model: Any,
    image_shape: tuple[int, ...],
    labels: np.ndarray,
    *,
    weights: str | Path | None = None,
    classes: int | None = None,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    output: str = "",
    backend: str | Backend | None = None,
    device: str | None = None,
) -> Classifier:
    """Return the classifier of what `sat_core.front_door.evaluate` takes as a model; arguments and errors as there.

    Args:
        image_shape: `(h, w, c)` of the images.
    """
    if isinstance(model, TrainingResult):
        model = model.classifier
    if isinstance(model, Classifier):
        if weights is not None:
            raise SpecError("weights: for a model; load them with backend.load_weights(classifier, path)")
        return model
    inputs = InputSpec(classes or _least(labels), image_shape, mean, std, output=output)
    name, path = _name_and_path(model, weights)
    return attacked_network(backend_of(model, backend, device), inputs, path, name, classes)


def _least(labels: Any) -> int:
    """The least number of classes that labels may have; what is wrong with them is for the evaluator to say."""
    values = np.asarray(labels)
    return max(2, int(values.max()) + 1) if values.size and values.dtype.kind in "iu" else 2


def _name_and_path(model: Any, weights: str | Path | None) -> tuple[Any, str | Path | None]:
    """Tell the name of a network from the path of a file, which is one if it is there or has no colon."""
    if weights is None and (isinstance(model, Path) or (isinstance(model, str) and _is_path(model))):
        return "", model
    return model, weights


def _is_path(text: str) -> bool:
    return ":" not in text or Path(text).exists()
