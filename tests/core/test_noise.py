"""Counter-based noise: known bits, even distribution, and that keys and counters do not depend on each other."""

from __future__ import annotations

import numpy as np

from sat_core.noise import example_keys, uniforms
from sat_core.numpy_ops import NUMPY


def lowbias32(x: int) -> int:
    """Hash a word in Python's own integers, as the paper's listing has it."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ x >> 16


def test_the_bits_are_those_of_whole_numbers_in_python() -> None:
    keys = np.array([[0, 0], [1, 2**32 - 1], [0xDEADBEEF, 0x80000000]], np.uint32)
    expected = [[lowbias32(lowbias32(c ^ int(a)) ^ int(b)) // 256 / 2**24 for c in range(100)] for a, b in keys]
    drawn = uniforms(NUMPY, keys, 100)
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn, expected)


def test_they_are_uniform_and_independent() -> None:
    n, pixels = 400, 768
    drawn = uniforms(NUMPY, example_keys(np.array([7, 9], np.uint32), n), pixels).astype(np.float64)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    # Limits are five standard errors: of a share of bits, of a mean, of a correlation.
    counts, _ = np.histogram(drawn, 64, (0, 1))
    assert np.abs(counts / counts.mean() - 1).max() < 5 / counts.mean() ** 0.5
    assert np.abs(drawn.mean(axis=0) - 0.5).max() < 5 / (12 * n) ** 0.5
    centred = drawn - 0.5
    for one, other in ((centred[1:], centred[:-1]), (centred[:, 1:], centred[:, :-1])):
        assert abs(12 * (one * other).mean()) < 5 / one.size**0.5


def test_no_example_has_the_noise_of_another_and_other_words_have_other_keys() -> None:
    keys = example_keys(np.array([1, 2], np.uint32), 50_000)
    assert len(np.unique(keys, axis=0)) == 50_000
    drawn = np.sort(uniforms(NUMPY, keys[:300], 64), axis=1)
    assert len(np.unique(drawn, axis=0)) == 300  # not in another order either
    assert not (example_keys(np.array([1, 3], np.uint32), 100) == keys[:100]).any(axis=1).any()
    # An example's key is a function of its number: more examples change nothing.
    np.testing.assert_array_equal(example_keys(np.array([1, 2], np.uint32), 9), keys[:9])
