"""Mixup and CutMix as data: with whom each image of a batch is mixed, and how much."""

from __future__ import annotations

from typing import Any, final

import attrs
import numpy as np

EXPECTED = "none, mixup:α or cutmix:α with α > 0"


@final
@attrs.frozen(eq=False)
class Mixes:
    """How the S batches of an epoch are mixed. x ← λ·x + (1 - λ)·x[partner], or a box of x[partner] in x.

    Attributes:
        partner: Position in the batch, int64 `(S, n)`.
        share: λ, float64 `(S,)`: the weight of the image's own label, and the share of its own pixels.
        box: First row, row after the last, first column, column after the last, int64 `(S, 4)`; None for mixup.
    """

    partner: np.ndarray
    share: np.ndarray
    box: np.ndarray | None


def parse_mixing(text: str) -> tuple[str, float] | None:
    """Return name and α of a value of ``training.mixing``; None for ``none``. ValueError for any other text."""
    if text == "none":
        return None
    name, _, number = text.partition(":")
    alpha = float(number)
    if name not in ("mixup", "cutmix") or not 0 < alpha < float("inf"):
        raise ValueError(EXPECTED)
    return name, alpha


def check_mixing(value: Any) -> str | None:
    """Return what was expected if `value` is wrong; None if it is right."""
    try:
        parse_mixing(value if isinstance(value, str) else "")
    except ValueError:
        return EXPECTED
    return None


def draw_mixes(
    text: str, rng: np.random.Generator, steps: int, batch_size: int, image_shape: tuple[int, int, int]
) -> Mixes | None:
    """Draw how the batches of an epoch are mixed: one λ ~ Beta(α, α) and one permutation for each; None without.

    Zhang et al. 2018, Eq. 1, and Yun et al. 2019, Eqs. 1 and 2: the box of CutMix has sides of √(1 - λ) of the image's,
    its centre is uniform, and λ is the share of pixels that are left after it is cut at the borders.
    """
    mixing = parse_mixing(text)
    if mixing is None:
        return None
    name, alpha = mixing
    share = rng.beta(alpha, alpha, steps)
    partner = np.stack([rng.permutation(batch_size) for _ in range(steps)])
    if name == "mixup":
        return Mixes(partner, share, None)
    sizes = np.array(image_shape[:2])
    centre = np.floor(rng.random((steps, 2)) * sizes)
    half = np.floor(np.sqrt(1 - share)[:, None] * sizes) // 2
    low, high = (np.clip(centre + side * half, 0, sizes).astype(np.int64) for side in (-1, 1))
    box = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)
    return Mixes(partner, 1 - np.prod(high - low, axis=1) / np.prod(sizes), box)
