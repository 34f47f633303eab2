"""The average of weights over a training, beside them on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.classifier import State
from sat_core.trainer import AVERAGE
from sat_tensorflow.arrays import from_canonical, to_canonical


@final
class Average:
    """The average of weights and statistics, at least in float32, which begins as these.

    Args:
        variables: Those of a network by canonical name; numbers that are no floats are left alone.
    """

    def __init__(self, variables: Mapping[str, keras.Variable]) -> None:
        self._variables = {name: v for name, v in variables.items() if tf.as_dtype(v.dtype).is_floating}
        self._values = {name: tf.Variable(_wide(v.value)) for name, v in self._variables.items()}

    def update(self, decay: Tensor) -> None:
        """Average ← d·average + (1 - d)·weights; to be called while a graph is traced. decay: d, float64."""
        for name, average in self._values.items():
            d, value = tf.cast(decay, average.dtype), _wide(self._variables[name].value)
            average.assign(d * average + (1 - d) * value)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Inside, the network has the averaged weights; then its own again."""
        own = [tf.identity(v.value) for v in self._variables.values()]
        try:
            for name, v in self._variables.items():
                v.assign(tf.cast(self._values[name], v.dtype))
            yield
        finally:
            for v, value in zip(self._variables.values(), own, strict=True):
                v.assign(value)

    def state(self) -> State:
        """Return the average by canonical name, in canonical layout."""
        return {f"{AVERAGE}{name}": to_canonical(self._leaf(name), v.numpy()) for name, v in self._values.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over the average in `state`, which the caller has checked."""
        for name, value in self._values.items():
            value.assign(from_canonical(self._leaf(name), state[f"{AVERAGE}{name}"]))

    def _leaf(self, name: str) -> str:
        return str(self._variables[name].name)


def _wide(value: Tensor) -> Tensor:
    return value if value.dtype == tf.float64 else tf.cast(value, tf.float32)
