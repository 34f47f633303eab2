"""The front door to several threat models at once: `evaluate_grid`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sat_core.arrays import check_images
from sat_core.autoattack import check_norm
from sat_core.evaluated_model import classifier_of
from sat_core.evaluation import Evaluation
from sat_core.front_door import evaluate
from sat_core.images import ImageSource
from sat_core.threat_grid import Threat, ThreatGrid
from sat_core.threat_matrix import ThreatMatrix, evaluate_threats, name_of_left

_OF_MODEL = ("weights", "classes", "mean", "std", "output", "backend", "device")
"""Options of `evaluate` that say what the model is."""


def evaluate_grid(
    model: Any,
    images: np.ndarray,
    labels: np.ndarray,
    grid: str | ThreatGrid,
    *,
    out: str | Path | None = None,
    **options: Any,
) -> ThreatMatrix:
    """Measure robust accuracy under several threat models, and which images survive all of them.

    Of a norm, larger radii attack only the images that smaller ones have left: an adversarial example for a small
    radius lies in every larger ball.

    Args:
        model, images, labels: As in `sat_core.front_door.evaluate`.
        grid: Norms and radii, as ``"Linf:4/255,8/255 L2:0.25,0.5 L1:12"``.
        out: Folder with a file for each threat model, from which the same call goes on.
        **options: Of `sat_core.front_door.evaluate`: attacks, engine, batch_size, seed, weights, classes, mean, std,
            output, backend, device, progress.

    Returns:
        Robust accuracy under each threat model and under every one, with intervals, and the flags per image.

    Raises:
        SatError: As in `sat_core.front_door.evaluate`; or the grid is not one.

    Example:
        >>> import sat_core as sat
        >>> sat.evaluate_grid(network, images, labels, "Linf:4/255,8/255 L2:0.5")  # doctest: +SKIP
    """
    threats = grid if isinstance(grid, ThreatGrid) else ThreatGrid.parse(grid)
    of_model = {name: options.pop(name) for name in _OF_MODEL if name in options}
    pictures = images if isinstance(images, ImageSource) else check_images(images)
    classifier = classifier_of(model, pictures.shape[1:], labels, **of_model)
    for threat in threats.threats:  # all of them before the first attack
        check_norm(threat.norm, options.get("engine", "package"))
        threat.check_images(classifier.image_shape, "grid")
    numbers = np.asarray(labels)

    def attack(threat: Threat, index: np.ndarray) -> Evaluation:
        # Which images are left depends on the smaller radii: with another grid it is another file.
        images_of = name_of_left(index, len(numbers)) or str(len(numbers))
        path = None if out is None else Path(out) / f"{threat.norm}-{threat.eps:g}-{images_of}.npz"
        taken = pictures.take(index) if isinstance(pictures, ImageSource) else pictures[index]
        return evaluate(classifier, taken, numbers[index], eps=threat.eps, norm=threat.norm, out=path, **options)

    return evaluate_threats(threats, len(numbers), attack)
