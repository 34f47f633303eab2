"""Watches trainings with a single-step attack for catastrophic overfitting (Wong et al. 2020).

The network then bends its loss within the ε-ball so that one step no longer finds the maximum: it is robust against
that attack only, and its accuracy under any other falls to 0 within an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sat_core.attack_spec import AttackSpec
from sat_core.classifier import Classifier
from sat_core.threat import THREAT_MODELS

PROBE = 64
"""Number of members of A on which a training is watched."""


def pgd_accuracy(classifier: Classifier, images: np.ndarray, labels: np.ndarray, attack: AttackSpec) -> float:
    """Return the accuracy under PGD-10 in the threat model of `attack`."""
    adversarial = classifier.perturb(images, labels, attack.probe)
    return float((classifier.logits(adversarial).argmax(axis=1) == labels).mean())


def gradient_alignment(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, attack: AttackSpec, rng: np.random.Generator
) -> float:
    """Return the mean of cos(∇ℓ(x), ∇ℓ(x + η)) (Andriushchenko & Flammarion 2020, Eq. 4 and Fig. 1).

    ℓ is the cross-entropy, and η a random start in the ε-ball. Near 1, the loss is close to linear in the ball, and a
    single step finds its maximum; catastrophic overfitting comes with a fall to 0.

    Args:
        classifier: That is being trained.
        images: Float32 in [0, 1], `(n, h, w, c)`; x + η is clipped to [0, 1].
        labels: True classes, `(n,)`.
        attack: Its threat model and ε.
        rng: Draws η.

    Returns:
        In [-1, 1]. Images without a gradient in one of the two points, as saturated ones, are left out; 0 if all are.
    """
    noise = THREAT_MODELS.get(attack.norm).random_start(rng, images.shape, attack.eps)
    moved = np.clip(images + noise, 0, 1).astype(np.float32)
    first, second = (
        classifier.loss_gradient(each, labels)[2].reshape(len(labels), -1).astype(np.float64)
        for each in (images, moved)
    )
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    some = lengths > 0
    cosines = np.einsum("ni,ni->n", first, second)[some] / lengths[some]
    return float(cosines.mean()) if some.any() else 0.0


def collapse(accuracies: Sequence[float], alignments: Sequence[float]) -> str | None:
    """Return a line on catastrophic overfitting if PGD accuracy fell below half of its best; None if it did not.

    Args:
        accuracies, alignments: `pgd_accuracy` and `gradient_alignment` after each epoch.
    """
    # Published RS-FGSM loses its robustness in this way with the hardest 10 % of CIFAR-10 (docs/PROTOCOLS.md).
    for epoch, (accuracy, alignment) in enumerate(zip(accuracies, alignments, strict=True), 1):
        best = max(accuracies[:epoch])
        if best >= 0.2 and accuracy < best / 2:
            return (
                f"catastrophic overfitting: PGD-10 accuracy on {PROBE} examples of A fell from {100 * best:.0f} % to "
                f"{100 * accuracy:.0f} % in epoch {epoch}, and gradient alignment from "
                f"{max(alignments[:epoch]):.2f} to {alignment:.2f}; the single-step attack no longer trains against PGD"
            )
    return None
