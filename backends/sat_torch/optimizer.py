"""SGD and AdamW with a loss scaler, and their state under canonical names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from sat_core.classifier import State
from sat_core.precision import FP16_GROWTH_INTERVAL, FP16_SCALE
from sat_core.state import check_state
from sat_core.training_spec import TrainingSpec
from sat_torch.arrays import to_numpy

_SCALER = {"scaler.scale": "scale", "scaler.growth_tracker": "_growth_tracker"}
"""Canonical names of the loss scaler's state, and PyTorch's."""


@final
class Optimizer:
    """The optimiser that `training` asks for, over `parameters` by their canonical names."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], training: TrainingSpec, device: torch.device) -> None:
        self._parameters, self._clip_norm = parameters, training.clip_norm
        # The rate is a tensor, which a captured step reads anew in each replay. CUDA's kernels read it as float32.
        self._lr = torch.zeros((), dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
        self._optimizer = _optimizer([*parameters.values()], training, self._lr)
        self._scaler = torch.amp.GradScaler(
            device.type, FP16_SCALE, growth_interval=FP16_GROWTH_INTERVAL, enabled=training.precision == "fp16"
        )
        self._scaler.scale(self._lr)  # makes its tensors, which a captured step has to find

    def clear(self) -> None:
        """Free the gradients of the last step, so that their memory serves the attack."""
        self._optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss` to those of the step."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def apply(self, lr: Tensor) -> None:
        """Make one step along the gradients; in float16 it is left out where they overflow."""
        self._lr.copy_(lr)
        if self._clip_norm:
            self._clip()
        self._scaler.step(self._optimizer)
        self._scaler.update()

    @torch.no_grad()
    def _clip(self) -> None:
        # and not clip_grad_norm_, which adds 1e-6 to the norm
        self._scaler.unscale_(self._optimizer)
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        size = nn.utils.get_total_norm(gradients)
        torch._foreach_mul_(gradients, (self._clip_norm / size).clamp(max=1.0))

    def tensors(self) -> list[Tensor]:
        """Return all tensors that a step changes, but for the parameters."""
        buffers = [value for leaves in self._optimizer.state.values() for value in leaves.values()]
        scaler = [getattr(self._scaler, f"_{own.removeprefix('_')}", None) for own in _SCALER.values()]
        return [tensor for tensor in (*buffers, *scaler) if isinstance(tensor, Tensor)]

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
        """Take over `state`; CheckpointError names the first array that is missing, surplus or of another shape."""
        check_state(self.state(), state, "optimiser")
        # in place, since captured steps know these tensors and no others
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                for leaf, buffer in self._optimizer.state.get(parameter, {}).items():
                    buffer.copy_(torch.from_numpy(np.array(state[f"{name}.{leaf}"])))
        scaler = self._scaler.state_dict()
        if scaler:
            self._scaler.load_state_dict({**scaler, **{own: state[name].item() for name, own in _SCALER.items()}})


def _optimizer(parameters: list[nn.Parameter], t: TrainingSpec, lr: Tensor) -> torch.optim.Optimizer:
    """Make the optimiser with all of its buffers, which PyTorch would make in the first step.

    A captured step has to find them; and if the first step overflows in float16 and is left out, PyTorch's momentum
    stays uninitialised memory.
    """
    momentum, decay = t.momentum, t.weight_decay
    if t.optimizer == "adamw":
        adamw = torch.optim.AdamW(parameters, lr, weight_decay=decay, fused=True, capturable=lr.device.type == "cuda")
        for p in parameters:
            step = torch.zeros((), dtype=torch.float32, device=p.device)
            adamw.state[p].update(step=step, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
        return adamw
    sgd = torch.optim.SGD(parameters, lr, momentum=momentum, nesterov=t.nesterov, weight_decay=decay, fused=True)
    for p in parameters if momentum else ():
        # PyTorch's first step sets v = g, which is what zeros give: μ·0 + g
        sgd.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return sgd
