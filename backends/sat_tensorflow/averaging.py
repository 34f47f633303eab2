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
    """An average of all weights and statistics that are floats, in at least float32.

    Args:
        variables: Of the network, by canonical name.
    """

    def __init__(self, variables: Mapping[str, keras.Variable]) -> None:
        self._variables = {name: v for name, v in variables.items() if tf.as_dtype(v.dtype).is_floating}
        self._values = {name: tf.Variable(_wide(v.value)) for name, v in self._variables.items()}
        # On the device: before the first step, in whichever graph it is, there is nothing to average with.
        self._started = tf.Variable(0.0, dtype=tf.float64)

    def update(self, decay: Tensor) -> None:
        """Average ← d·average + (1 - d)·weights; to be called while a graph is traced. decay: d, float64."""
        decay = decay * self._started
        for name, average in self._values.items():
            d, value = tf.cast(decay, average.dtype), _wide(self._variables[name].value)
            average.assign(d * average + (1 - d) * value)
        self._started.assign(1.0)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Inside, the network has the averaged weights, if any step was averaged."""
        if not self._started.numpy():
            yield
            return
        own = {name: v.value.numpy() for name, v in self._variables.items()}
        try:
            for name, v in self._variables.items():
                v.assign(tf.cast(self._values[name], v.dtype))
            yield
        finally:
            for name, value in own.items():
                self._variables[name].assign(value)

    def state(self, *, whole: bool = False) -> State:
        """Return the average by canonical name, in canonical layout; nothing before the first step unless `whole`."""
        if not (whole or self._started.numpy()):
            return {}
        return {f"{AVERAGE}{name}": to_canonical(self._leaf(name), v.numpy()) for name, v in self._values.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` returned, which the caller has checked."""
        self._started.assign(float(bool(state)))
        for name, value in state.items():
            own = name.removeprefix(AVERAGE)
            self._values[own].assign(from_canonical(self._leaf(own), value))

    def _leaf(self, name: str) -> str:
        return str(self._variables[name].name)


def _wide(value: Tensor) -> Tensor:
    return value if value.dtype == tf.float64 else tf.cast(value, tf.float32)
