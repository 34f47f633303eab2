"""The model on clean images: what it misclassifies, and warnings that AutoAttack may overestimate its robustness."""

from __future__ import annotations

import numpy as np

from sat_core.chunks import chunks, in_parts
from sat_core.classifier import Classifier
from sat_core.data import Examples
from sat_core.errors import EvaluationError
from sat_core.probe import BATCH_DEPENDENT, apart, are_probabilities, are_scores
from sat_evaluation.attack.model import Model, seeded


def clean_outputs(model: Model, data: Examples, seed: int, batch_size: int) -> tuple[np.ndarray, list[str]]:
    """Return the predicted classes, int64 `(n,)`, and warnings about the outputs.

    Raises:
        EvaluationError: Logits have the wrong shape or are not finite.
    """
    predicted, warnings = np.zeros(len(data), np.int64), []
    probabilities, low, high = True, np.inf, -np.inf

    def one_batch(index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        x, _ = model.tensors(data.float_images(index), data.labels[index])
        output = model.exact(x)
        # one batch is enough to see dropout or random defences
        again = model.exact(x).cpu().numpy() if index[0] == 0 else None
        return index, output.cpu().numpy(), output.max(dim=1)[1].cpu().numpy(), again

    with seeded(seed):
        for index, logits, classes, again in in_parts(np.arange(len(data)), batch_size, one_batch, model.out_of_memory):
            if logits.shape != (expected := (len(index), data.classes)):
                raise EvaluationError(f"model: expected logits of shape {expected}, got shape {logits.shape}")
            if bad := int((~np.isfinite(logits).all(axis=1)).sum()):
                raise EvaluationError(
                    f"model: expected finite logits, got NaN or infinity for {bad} of {len(index)} images"
                )
            predicted[index] = classes
            if again is not None:
                change = np.linalg.norm(_unit(logits) - _unit(again), axis=1).max()
                # the package's limit, also of logits scaled to length 1
                if change > 1e-4:
                    warnings.append(
                        f"randomised model: the logits of {len(index)} images change by up to {change:.2g} times their "
                        "length from pass to pass, and AutoAttack assumes that they do not"
                    )
            probabilities &= are_probabilities(logits)
            low, high = min(low, logits.min()), max(high, logits.max())
        # a randomised model differs from pass to pass in any case
        if not warnings and _depends_on_the_batch(model, data):
            warnings.append(BATCH_DEPENDENT)
    if probabilities or are_scores(np.array([low, high])):
        kind = ("scores", "sigmoid") if not probabilities else ("probabilities", "softmax")
        warnings.append(
            f"{kind[0]}: the outputs for all {len(data)} images are in [0, 1]{' with sum 1' * probabilities}, and "
            f"AutoAttack needs the logits before the {kind[1]}"
        )
    return predicted, warnings


def _depends_on_the_batch(model: Model, data: Examples) -> bool:
    """Whether the logits of an image change with the others in its batch, as with BatchNorm in training mode."""

    def changed(few: np.ndarray) -> bool:
        x, _ = model.tensors(data.float_images(few), data.labels[few])
        together, alone = (model.exact(images)[-1:].cpu().numpy() for images in (x, x[-1:]))
        return apart(together, alone)

    # also where the batches are smaller than this; the first part that fits
    return next(in_parts(np.arange(min(8, len(data))), 8, changed, model.out_of_memory))


def flat_gradients(classifier: Classifier, data: Examples, correct: np.ndarray, batch_size: int) -> list[str]:
    """Return a warning if the cross-entropy has no gradient at some of the images numbered `correct`."""
    # the package looks for this in its DLR attacks only; a saturated network has it with the cross-entropy
    flat = 0
    for index in chunks(correct, batch_size):
        gradient = classifier.loss_gradient(data.images[index], data.labels[index], "ce")[2]
        flat += int((~gradient.reshape(len(index), -1).any(axis=1)).sum())
    if flat == 0:
        return []
    return [
        f"masked gradients: that of the cross-entropy is zero at {flat} of {len(correct)} correctly classified images "
        f"({100 * flat / len(correct):.1f} %), which attacks that follow it cannot move"
    ]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-10)
