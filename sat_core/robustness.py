"""Robustness apart from clean accuracy: the defence rate."""

from __future__ import annotations

from sat_core.accuracy import Accuracy, wilson
from sat_core.errors import DataError


def defence_rate(clean: Accuracy, robust: Accuracy) -> Accuracy | None:
    """Return the robust accuracy among correctly classified images (paper, A.6 and Fig. 17).

    It tells how well a network defends what it classifies: two networks of the same robust accuracy have other defence
    rates if one classifies more clean images correctly.

    Args:
        clean: Accuracy on images as they are.
        robust: Accuracy on the same images under attack; each of them is correct without an attack, too.

    Returns:
        The share, with its 95 % Wilson interval for as many images as are correctly classified; None if none is.

    Raises:
        DataError: They are not of the same images.

    >>> from sat_core.accuracy import wilson
    >>> print(defence_rate(wilson(80, 100), wilson(60, 100)))
    75.0 % [64.5, 83.2]
    """
    if clean.n != robust.n or robust.count > clean.count:
        raise DataError(
            "defence_rate: expected two accuracies of the same images, the robust one at most the clean one, got "
            f"{robust.count} of {robust.n} and {clean.count} of {clean.n}"
        )
    return wilson(robust.count, clean.count)
