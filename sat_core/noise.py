"""Uniform noise as a pure function of a key and a counter, computed where the data is.

The integer stage has the same bits in numpy, PyTorch and TensorFlow, and on every device, so that a random start needs
neither a generator's state nor a copy to the device.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from sat_core.numpy_ops import NUMPY

_ROUNDS = ((16, 0x7FEB352D), (15, 0x846CA68B))
_LAST = 16
"""Shifts and factors of the hash lowbias32 (Wellons 2018, "Prospecting for hash functions"). A change of one bit of its
argument changes each bit of its value with a probability of 1/2, within 0.2 %."""


class WordOps(Protocol):
    """Operations on words of 32 bits, in whatever integer type the framework has for them; ``^`` is Python's."""

    def words(self, array: np.ndarray, like: Any) -> Any:
        """Return `array`, uint32, as words on the device of `like`."""

    def word_range(self, n: int, like: Any) -> Any:
        """Return the words 0 … n - 1 on the device of `like`."""

    def xorshift(self, x: Any, bits: int) -> Any:
        """Return x ^ (x >> bits), with zeros shifted in."""

    def times(self, x: Any, factor: int) -> Any:
        """Return x · factor modulo 2^32."""

    def fraction(self, x: Any) -> Any:
        """Return the upper 24 bits of each word as a float32 in [0, 1)."""


def uniforms(ops: WordOps, keys: Any, n: int) -> Any:
    """Return n uniforms in [0, 1) for each key.

    Args:
        ops: Of the framework that the keys belong to.
        keys: Words `(m, 2)`.
        n: Uniforms per key.

    Returns:
        float32 `(m, n)`, multiples of 2^-24, the same bits in every framework.
    """
    return ops.fraction(_bits(ops, keys, n))


def example_keys(words: np.ndarray, n: int) -> np.ndarray:
    """Return a key for each of n examples, uint32 `(n, 2)`: a function of `words`, uint32 `(2,)`, and its number."""
    bits: np.ndarray = _bits(NUMPY, words[None], 2 * n)
    return bits.reshape(n, 2)


def _bits(ops: WordOps, keys: Any, n: int) -> Any:
    # A key has two words: with one, examples whose keys differ in their low bits alone would have the same noise in
    # another order.
    counters = ops.word_range(n, keys)
    return _hash(ops, _hash(ops, counters ^ keys[:, :1]) ^ keys[:, 1:])


def _hash(ops: WordOps, x: Any) -> Any:
    for bits, factor in _ROUNDS:
        x = ops.times(ops.xorshift(x, bits), factor)
    return ops.xorshift(x, _LAST)
