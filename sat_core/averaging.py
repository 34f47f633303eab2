"""Averages of weights over a training, as one factor for each step: average ← d·average + (1 - d)·weights."""

from __future__ import annotations

from typing import Any

import numpy as np

NAMES = ("ema", "swa")
EXPECTED = "none, ema:D with D in (0, 1), or swa:S with S a share of the epochs in [0, 1)"


def parse_averaging(text: str) -> tuple[str, float] | None:
    """Return name and number of a value of ``training.averaging``; None for ``none``. ValueError for any other text.

    >>> parse_averaging("ema:0.999"), parse_averaging("none")
    (('ema', 0.999), None)
    """
    if text == "none":
        return None
    name, _, number = text.partition(":")
    value = float(number)
    if name not in NAMES or not (0 < value < 1 or (name == "swa" and value == 0)):
        raise ValueError(EXPECTED)
    return name, value


def check_averaging(value: Any) -> str | None:
    """Return what was expected if `value` is wrong; None if it is right."""
    try:
        parse_averaging(value if isinstance(value, str) else "")
    except ValueError:
        return EXPECTED
    return None


def decays(text: str, epoch: int, epochs: int, steps: int) -> np.ndarray | None:
    """Return the factor d of each step of an epoch (from 0), float64 `(steps,)`; None without averaging.

    - ema: d = min(D, (1 + t) / (10 + t)) at step t of the training, so that the first weights are soon forgotten.
    - swa: the weights after each epoch from ⌊S·epochs⌋ on count alike (Izmailov et al. 2018); before, the average is
      the weights themselves (d = 0), and within those epochs it stays (d = 1).

    >>> decays("swa:0.5", 3, 4, 2).tolist(), decays("ema:0.9", 0, 1, 2).tolist()
    ([1.0, 0.5], [0.1, 0.18181818181818182])
    """
    averaging = parse_averaging(text)
    if averaging is None:
        return None
    name, value = averaging
    if name == "ema":
        done = epoch * steps + np.arange(steps)
        return np.minimum(value, (1 + done) / (10 + done))
    first = min(int(value * epochs), epochs - 1)
    if epoch < first:
        return np.zeros(steps)
    # Within the first of these epochs there is no average yet.
    factors = np.full(steps, 1.0 if epoch > first else 0.0)
    factors[-1] = (epoch - first) / (epoch - first + 1)
    return factors
