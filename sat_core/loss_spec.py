"""[loss]: what is minimised."""

from __future__ import annotations

from typing import Any, ClassVar, final

import attrs
import numpy as np

from sat_core import fields
from sat_core.errors import SpecError
from sat_core.member_losses import LOSSES


def _numbers(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return tuple(map(fields.fraction, value)) if isinstance(value, list | tuple) else fields.fraction(value)


def _check_beta(value: Any) -> str | None:
    ends = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    good = all(isinstance(v, float) and 0 <= v < float("inf") for v in ends)
    return None if good else "a finite number >= 0, or two: of the first and of the last step"


def _check_class_weights(value: Any) -> str | None:
    if isinstance(value, str) and value in ("none", "balanced"):  # an array has no one truth
        return None
    good = isinstance(value, tuple) and value and all(isinstance(v, float) and 0 < v < float("inf") for v in value)
    return None if good else "none, balanced, or a list of one number > 0 per class"


@final
@attrs.frozen(kw_only=True)
class LossSpec:
    """The loss of a step: Σ w·ℓ / Σ w, with ℓ the cross-entropy for members of B and `kind` for members of A.

    Attributes:
        kind: ``ce``, ``trades``, ``mart``, ``alp``, or one that a plug-in brings; see `sat_core.member_losses`.
        beta: Weight of its second term. Two numbers are those of the first and the last step, between which it changes
            linearly. Default: the loss's own; 0 for ``ce``, which has no second term.
        label_smoothing: s in (1 - s)·onehot + s/k, the targets of the cross-entropy in A and B; the attack does not
            use it.
        class_weights: Factors of w by class: ``none``, ``balanced`` (N / (k·N_y)), or a list.
    """

    SECTION: ClassVar[str] = "loss"
    kind: str = fields.choice(lambda: LOSSES, "ce")
    _beta: float | tuple[float, float] | None = fields.given()
    beta: float | tuple[float, float] = fields.field(_check_beta, converter=_numbers, init=False)
    label_smoothing: float = fields.real(below=1.0, default=0.0)
    class_weights: str | tuple[float, ...] = fields.field(_check_class_weights, "none", _numbers)

    @beta.default
    def _get_beta(self) -> Any:
        return LOSSES.get(self.kind).beta if self._beta is None and self.kind in LOSSES else self._beta or 0.0

    def __attrs_post_init__(self) -> None:
        if LOSSES.get(self.kind).beta == 0 and self.betas != (0, 0):
            raise SpecError(f"loss.beta: {self.kind!r} has no second term; take it out, or choose another loss.kind")

    @property
    def betas(self) -> tuple[float, float]:
        """β of the first and of the last step."""
        return self.beta if isinstance(self.beta, tuple) else (self.beta, self.beta)

    @property
    def plain(self) -> bool:
        """Whether ℓ is the cross-entropy with the label itself, for all examples."""
        return self.kind == "ce" and self.label_smoothing == 0

    def weights_of(self, labels: np.ndarray, classes: int) -> np.ndarray | None:
        """Return the factor of w of each example, float32 `(N,)`; None where all are 1.

        Raises:
            SpecError: The list has another length than there are classes.
        """
        if self.class_weights == "none":
            return None
        if self.class_weights == "balanced":
            counts = np.bincount(labels, minlength=classes)
            factors = len(labels) / (classes * np.maximum(counts, 1))
        else:
            factors = np.array(self.class_weights)
            if len(factors) != classes:
                raise SpecError(f"loss.class_weights: expected {classes} numbers, got {len(factors)}")
        return factors[labels].astype(np.float32)


PLAIN = LossSpec()
"""The cross-entropy of all examples."""
