"""Accuracies on corrupted images, as they stand in a JSON file."""

from __future__ import annotations

from typing import Any, final

import attrs
import numpy as np

from sat_core.accuracy import Accuracy, accuracies
from sat_core.json_fields import from_json, integer, json_field, mapping, number, part, sequence, text, to_json


@final
@attrs.frozen(kw_only=True)
class CorruptionSummary:
    """Accuracy of a network on images that were corrupted in several ways (Hendrycks & Dietterich 2019).

    Attributes:
        examples: Number of images, the same for all.
        clean: Accuracy on the images as they are.
        accuracy: By the name of a corruption, accuracies at severities 1, 2, ...
        mean: Mean of all of `accuracy`: over corruptions and severities. It is no mCE, which takes a baseline.
        constants: Which constants of the severities were taken, see `sat_datasets.corruptions`.
        left_out: Names of corruptions that cannot be made of these images.
        experiment: Fingerprint of the arm; empty where it is none.
    """

    examples: int = json_field(integer(1))
    clean: Accuracy = json_field(part(Accuracy), key="clean_accuracy")
    accuracy: dict[str, tuple[Accuracy, ...]] = json_field(mapping(sequence(part(Accuracy))))
    mean: float = json_field(number(0, 1))
    constants: str = json_field(text)
    left_out: tuple[str, ...] = json_field(sequence(text), ())
    experiment: str = json_field(text, "", omit=True)

    @classmethod
    def of(
        cls, clean: np.ndarray, correct: dict[str, np.ndarray], label: np.ndarray, **fields: Any
    ) -> CorruptionSummary:
        """Return the summary of which images are classified correctly.

        Args:
            clean: As they are, bool `(n,)`.
            correct: By the name of a corruption, bool `(severities, n)`.
            label: Classes, int64 `(n,)`.
            **fields: The other attributes.
        """

        def share(good: np.ndarray) -> Accuracy:
            return accuracies(good, label, None, None).all

        by_name = {name: tuple(map(share, rows)) for name, rows in correct.items()}
        values = [each.value for rows in by_name.values() for each in rows]
        return cls(examples=len(label), clean=share(clean), accuracy=by_name, mean=sum(values) / len(values), **fields)

    def to_json(self) -> dict[str, Any]:
        """Return the content of a file."""
        content: dict[str, Any] = to_json(self)
        return content

    @classmethod
    def from_json(cls, content: Any) -> CorruptionSummary:
        """Return the summary that a file says; DataError names the first field that is missing or wrong."""
        return from_json(cls, content)
