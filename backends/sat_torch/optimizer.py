"""SGD and AdamW with a loss scaler, and their state under canonical names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from sat_core.classifier import State
from sat_core.precision import FP16_GROWTH_INTERVAL, FP16_SCALE
from sat_core.sections import TrainingSpec
from sat_core.state import check_state
from sat_torch.arrays import to_numpy

_SCALER = {"scaler.scale": "scale", "scaler.growth_tracker": "_growth_tracker"}
"""Canonical names of the loss scaler's state, and PyTorch's."""


@final
class Optimizer:
    """The optimiser that `training` asks for, over `parameters` by their canonical names."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], training: TrainingSpec, device: torch.device) -> None:
        self._parameters = parameters
        self._optimizer = _optimizer([*parameters.values()], training)
        self._scaler = torch.amp.GradScaler(
            device.type, FP16_SCALE, growth_interval=FP16_GROWTH_INTERVAL, enabled=training.precision == "fp16"
        )

    def clear(self) -> None:
        """Free the gradients of the last step, so that their memory serves the attack."""
        self._optimizer.zero_grad(set_to_none=True)

    def apply(self, loss: Tensor, lr: float) -> None:
        """Make one step along the gradient of `loss`; in float16 it is left out where that overflows."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def state(self) -> State:
        """Return buffers as ``name.buffer``, and the scaler's numbers."""
        names, buffers = [*self._parameters], self._optimizer.state_dict()["state"]
        state = {
            f"{names[i]}.{leaf}": to_numpy(value).copy()
            for i, leaves in buffers.items()
            for leaf, value in leaves.items()
            if value is not None
        }
        scaler = self._scaler.state_dict()
        return state | {name: np.array(scaler[own], np.float32) for name, own in _SCALER.items() if own in scaler}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over `state`; CheckpointError names the first array that is surplus or of another shape."""
        buffers: dict[int, dict[str, Tensor]] = {}
        names = [*self._parameters]
        for key, value in state.items():
            name, _, leaf = key.rpartition(".")
            if name == "scaler":
                continue
            if name not in self._parameters:
                check_state({}, {key: value}, "optimiser")
            parameter = self._parameters[name]
            expected = np.empty(
                parameter.shape if value.ndim else (), np.float32
            )  # a buffer, or AdamW's count of steps
            check_state({key: expected}, {key: value}, "optimiser")
            tensor = torch.from_numpy(np.array(value))
            if tensor.ndim:  # the fused optimisers read memory in order, so a buffer must lie as its parameter does
                tensor = torch.empty_like(parameter, device="cpu").copy_(tensor)
            buffers.setdefault(names.index(name), {})[leaf] = tensor
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": buffers})
        scaler = self._scaler.state_dict()
        if scaler:
            self._scaler.load_state_dict({**scaler, **{own: state[name].item() for name, own in _SCALER.items()}})


def _optimizer(parameters: list[nn.Parameter], t: TrainingSpec) -> torch.optim.Optimizer:
    if t.optimizer == "adamw":
        return torch.optim.AdamW(parameters, t.lr, weight_decay=t.weight_decay, fused=True)
    momentum, decay = t.momentum, t.weight_decay
    sgd = torch.optim.SGD(parameters, t.lr, momentum=momentum, nesterov=t.nesterov, weight_decay=decay, fused=True)
    # PyTorch makes the buffers in its first step from uninitialised memory; if that step overflows in float16 and is
    # left out, they stay so
    for p in parameters if momentum else ():
        # PyTorch's first step sets v = g, which is what zeros give: μ·0 + g
        sgd.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return sgd
