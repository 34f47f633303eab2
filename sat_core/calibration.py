"""Calibration: whether a network is right as often as its confidence says (Guo et al. 2017, section 2)."""

from __future__ import annotations

from typing import Any, final

import attrs
import numpy as np

from sat_core.errors import DataError
from sat_core.json_fields import from_json, integer, json_field, number, optional, part, sequence, text, to_json

BINS = 15
"""Bins of equal width over confidences, as in Guo et al. 2017."""


@final
@attrs.frozen(kw_only=True)
class Bin:
    """The images whose confidence is in one bin.

    Attributes:
        low, high: Ends of the bin; `high` belongs to it.
        count: How many images.
        confidence: Mean of their confidences; None if there is none.
        accuracy: Share of them that is classified correctly; None if there is none.
    """

    low: float = json_field(number(0, 1))
    high: float = json_field(number(0, 1))
    count: int = json_field(integer())
    confidence: float | None = json_field(optional(number(0, 1)))
    accuracy: float | None = json_field(optional(number(0, 1)))


@final
@attrs.frozen(kw_only=True)
class Calibration:
    """How confidence and accuracy agree. The confidence of an image is the largest softmax of its logits.

    Attributes:
        examples: Number of images.
        accuracy: Share of them that is classified correctly.
        confidence: Mean confidence.
        ece: Expected calibration error, in [0, 1]: the mean of |accuracy - confidence| over bins, weighted by
            their images (Guo et al. 2017, Eq. 3). Of few images it is biased upwards.
        bins: `BINS` of equal width, for the reliability plot.
    """

    examples: int = json_field(integer(1))
    accuracy: float = json_field(number(0, 1))
    confidence: float = json_field(number(0, 1))
    ece: float = json_field(number(0, 1))
    bins: tuple[Bin, ...] = json_field(sequence(part(Bin)))


@final
@attrs.frozen(kw_only=True)
class CalibrationSummary:
    """The calibration of a network, as it stands in a JSON file.

    Attributes:
        clean: On the images as they are.
        adversarial: On the same images after PGD-10; None where no threat model is known.
        norm, eps: Threat model of `adversarial`; empty and 0 without.
        experiment: Fingerprint of the arm; empty where it is none.
    """

    clean: Calibration = json_field(part(Calibration))
    adversarial: Calibration | None = json_field(optional(part(Calibration)), None)
    norm: str = json_field(text, "")
    eps: float = json_field(number(0), 0.0)
    experiment: str = json_field(text, "", omit=True)

    def to_json(self) -> dict[str, Any]:
        """Return the content of a file."""
        content: dict[str, Any] = to_json(self)
        return content

    @classmethod
    def from_json(cls, content: Any) -> CalibrationSummary:
        """Return the summary that a file says; DataError names the first field that is missing or wrong."""
        return from_json(cls, content)


def calibration(logits: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Calibration:
    """Return how confidence and accuracy agree.

    Args:
        logits: Of the images, `(n, k)`, n >= 1.
        labels: Their classes, `(n,)`.
        bins: How many, of equal width; the lower end of a bin does not belong to it.

    Raises:
        DataError: Shapes do not fit.

    >>> round(calibration(np.log([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 1])).ece, 9)  # (|1 - 0.8| + |0 - 0.6|) / 2
    0.4
    """
    if logits.ndim != 2 or len(logits) == 0 or labels.shape != (len(logits),):
        raise DataError(f"calibration: expected logits (n, k) and labels (n,), got {logits.shape} and {labels.shape}")
    odds = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    # By rounding, a softmax may be above 1.
    confidence = np.minimum(probabilities.max(axis=1), 1.0)
    correct = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    made, error = [], 0.0
    for number_of in range(bins):
        inside = place == number_of
        count = int(inside.sum())
        mean, share = (float(values[inside].mean()) if count else None for values in (confidence, correct))
        made.append(
            Bin(low=number_of / bins, high=(number_of + 1) / bins, count=count, confidence=mean, accuracy=share)
        )
        error += abs(share - mean) * count if share is not None and mean is not None else 0.0
    return Calibration(
        examples=len(labels),
        accuracy=float(correct.mean()),
        confidence=float(confidence.mean()),
        ece=error / len(labels),
        bins=tuple(made),
    )
