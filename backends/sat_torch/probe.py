"""Observations of what a module does with a few images; `sat_core.probe` judges them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sat_core.probe import FIRST_LAYERS, Look
from sat_torch.modes import frozen

if TYPE_CHECKING:
    from sat_torch.classifier import TorchClassifier


def look(classifier: TorchClassifier, images: np.ndarray) -> Look:
    """Send images `(n, h, w, c)` through the classifier's module.

    Modes and statistics stay as they are; only lazy layers get their weights.
    """
    module = classifier.module
    entered: list[tuple[str, np.ndarray]] = []
    x = classifier.image_tensor(images).requires_grad_()

    def enter(name: str, inputs: tuple[Any, ...]) -> None:
        value = next((v for v in inputs if isinstance(v, Tensor)), None)
        if value is not None and value.is_floating_point() and len(value) == len(x) and len(entered) < FIRST_LAYERS:
            entered.append((name, value.detach().float().cpu().numpy()))

    with ExitStack() as stack:
        if any(hasattr(layer, "_orig_mod") for layer in module.modules()):  # compiled code would keep the hooks
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for name, layer in classifier.native.named_modules():
            scripted = isinstance(layer, torch.jit.ScriptModule)  # takes no hooks
            if [*layer.parameters(recurse=False)] and not [*layer.children()] and not scripted:
                hook = layer.register_forward_pre_hook(lambda _layer, inputs, name=name: enter(name, inputs))
                stack.callback(hook.remove)
        stack.enter_context(frozen(module))
        with torch.enable_grad():
            output, gradient = module(x), None
            real = isinstance(output, Tensor) and output.is_floating_point()
            if real and output.requires_grad:  # in here, as layers may be computed anew on the way back
                (gradient,) = torch.autograd.grad(output.sum(), x, allow_unused=True)
    return Look(
        output=output,
        values=output.detach().float().cpu().numpy() if real else None,
        entered=tuple(entered),
        gradient=gradient is not None,
    )
