"""SGD and AdamW as PyTorch defines them, so that a learning rate, a momentum and a decay mean the same here.

Keras's own multiply the learning rate into the momentum buffer, where an old rate stays in effect for a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

from sat_core.classifier import State
from sat_core.precision import FP16_GROWTH_INTERVAL, FP16_SCALE
from sat_core.state import check_state
from sat_core.training_spec import TrainingSpec
from sat_tensorflow.arrays import from_canonical, to_canonical

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@final
class Optimizer:
    """Buffers of `variables` by canonical name, as TensorFlow variables; `apply` is traced into the training step."""

    def __init__(self, variables: Mapping[str, keras.Variable], training: TrainingSpec) -> None:
        self._variables, self._training = variables, training
        slots: tuple[str, ...] = ("momentum_buffer",) if training.momentum else ()
        if training.optimizer == "adamw":
            slots = ("step", "exp_avg", "exp_avg_sq")
        self._slots = {
            f"{name}.{slot}": tf.Variable(tf.zeros((), tf.float32) if slot == "step" else tf.zeros_like(v.value))
            for name, v in variables.items()
            for slot in slots
        }
        self._scalars: dict[str, tf.Variable] = {}
        if training.precision == "fp16":
            self._scalars["scaler.scale"] = tf.Variable(FP16_SCALE)
            self._scalars["scaler.growth_tracker"] = tf.Variable(0.0)

    @property
    def loss_scale(self) -> Tensor:
        """The factor for the loss before its gradient is taken."""
        return self._scalars["scaler.scale"].value() if "scaler.scale" in self._scalars else tf.constant(1.0)

    def apply(self, gradients: list[Tensor | None], lr: Tensor) -> None:
        """Make one step.

        Args:
            gradients: of the scaled loss, in the order of the variables; None where the loss does not depend on one.
            lr: learning rate.
        """
        scale = self._scalars.get("scaler.scale")
        pairs = zip(self._variables.items(), gradients, strict=True)
        # gradients of embeddings and gathers come as IndexedSlices, which are made dense here
        used = [(name, v, tf.convert_to_tensor(g)) for (name, v), g in pairs if g is not None]
        if scale is None:
            self._step(used, lr)
            return
        used = [(name, v, g / tf.cast(scale, g.dtype)) for name, v, g in used]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for _, _, g in used])
        tf.cond(finite, lambda: self._step(used, lr), lambda: None)
        good = self._scalars["scaler.growth_tracker"]
        # the rule of PyTorch's GradScaler, so that its state goes on in either backend
        count = tf.where(finite, good + 1, 0.0)
        scale.assign(tf.where(finite, tf.where(count == FP16_GROWTH_INTERVAL, scale * 2, scale), scale / 2))
        good.assign(tf.where(count == FP16_GROWTH_INTERVAL, 0.0, count))

    def _step(self, used: list[tuple[str, keras.Variable, Tensor]], lr: Tensor) -> None:
        t = self._training
        scale = _clip_factor([g for _, _, g in used], t.clip_norm) if t.clip_norm else None
        for name, variable, gradient in used:
            if scale is not None:
                gradient *= tf.cast(scale, gradient.dtype)
            w, rate = variable.value, tf.cast(lr, gradient.dtype)
            if t.optimizer == "adamw":
                # decoupled: weights decay beside Adam's step, and the decay does not enter its averages
                w.assign(w * (1 - rate * t.weight_decay) - self._adam(name, gradient, rate))
                continue
            gradient += t.weight_decay * w
            if t.momentum:
                buffer = self._slots[f"{name}.momentum_buffer"]
                buffer.assign(t.momentum * buffer + gradient)
                gradient = gradient + t.momentum * buffer if t.nesterov else buffer
            w.assign_sub(rate * gradient)

    def _adam(self, name: str, gradient: Tensor, rate: Tensor) -> Tensor:
        step, mean, square = (self._slots[f"{name}.{slot}"] for slot in ("step", "exp_avg", "exp_avg_sq"))
        step.assign_add(1.0)
        mean.assign(_BETAS[0] * mean + (1 - _BETAS[0]) * gradient)
        square.assign(_BETAS[1] * square + (1 - _BETAS[1]) * gradient * gradient)
        # in float64, as 1 - 0.999^t loses digits in float32 while t is small
        first, second = (tf.cast(1 - beta ** tf.cast(step, tf.float64), gradient.dtype) for beta in _BETAS)
        return rate / first * mean / (tf.sqrt(square) / tf.sqrt(second) + _EPSILON)

    def state(self) -> State:
        """Return buffers by canonical name and in canonical layout, and the scaler's numbers."""
        slots = {name: to_canonical(self._leaf(name), v.numpy()) for name, v in self._slots.items()}
        return slots | {name: v.numpy() for name, v in self._scalars.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over `state`; CheckpointError names the first array that is missing, surplus or of another shape."""
        check_state(self.state(), state, "optimiser")
        for name, variable in self._slots.items():
            variable.assign(from_canonical(self._leaf(name), state[name]))
        for name, variable in self._scalars.items():
            variable.assign(state[name])

    def _leaf(self, slot: str) -> str:
        return str(self._variables[slot.rpartition(".")[0]].name)


def _clip_factor(gradients: list[Tensor], limit: float) -> Tensor:
    """Return min(1, limit / ‖g‖), with the norm over all weights."""
    wide = tf.float64 if any(g.dtype == tf.float64 for g in gradients) else tf.float32
    # a norm of 0 gives infinity, and a factor of 1
    return tf.minimum(
        tf.ones((), wide), tf.constant(limit, wide) / tf.linalg.global_norm([tf.cast(g, wide) for g in gradients])
    )
