"""The tensor operations that the outlines of the core are made of, in numpy; images are `(n, h, w, c)`."""

from __future__ import annotations

from typing import Any, final

import numpy as np


@final
class _Ops:
    """See `sat_core.ascent.TensorOps`, `sat_core.noise.WordOps` and `sat_core.augmentation.MoveOps`."""

    backend = "numpy"

    def norm(self, x: np.ndarray, order: float) -> np.ndarray:
        flat = x.reshape(len(x), -1) if x.size else x.reshape(len(x), 1)
        size: np.ndarray = np.linalg.norm(flat, order, axis=1)
        return size.reshape(-1, *[1] * (x.ndim - 1))

    def sign(self, x: np.ndarray) -> np.ndarray:
        return np.sign(x)

    def clip(self, x: np.ndarray, low: Any, high: Any) -> np.ndarray:
        return np.clip(x, low, high)

    def where(self, condition: np.ndarray, x: Any, y: Any) -> np.ndarray:
        return np.where(condition, x, y)

    def words(self, array: np.ndarray, like: Any) -> np.ndarray:
        return array

    def word_range(self, n: int, like: Any) -> np.ndarray:
        return np.arange(n, dtype=np.uint32)

    def xorshift(self, x: np.ndarray, bits: int) -> np.ndarray:
        shifted: np.ndarray = x ^ (x >> np.uint32(bits))
        return shifted

    def times(self, x: np.ndarray, factor: int) -> np.ndarray:
        product: np.ndarray = x * np.uint32(factor)
        return product

    def fraction(self, x: np.ndarray) -> np.ndarray:
        return (x >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)

    def integer_range(self, n: int, like: Any) -> np.ndarray:
        return np.arange(n, dtype=np.int32)

    def shift(self, x: np.ndarray, bits: int) -> np.ndarray:
        shifted: np.ndarray = x >> np.int32(bits)
        return shifted


NUMPY = _Ops()
