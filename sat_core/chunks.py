"""Large inputs in parts of bounded size."""

from __future__ import annotations

import numpy as np

CHUNK = 512
"""Images per forward or attack of calls that take any number of images: more gain no speed and take more memory."""


def chunks(items: np.ndarray, size: int = CHUNK) -> list[np.ndarray]:
    """Split `items` along the first axis into consecutive views of `size`; the last may be shorter.

    >>> [part.tolist() for part in chunks(np.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    return [items[start : start + size] for start in range(0, len(items), size)]
