"""What stands between images in [0, 1] and a network, and between what it returns and logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from sat_core.input_spec import InputSpec
from sat_core.outputs import is_one_logit, logits_in
from sat_core.scaling import SLACK
from sat_torch.modes import run


@final
class OnImages(nn.Module):
    """A network on [0, 1] images, which are scaled and normalised first as `inputs` says, and its logits.

    Statistics and maps are kept in float64 and rounded once to the type that is computed in, so that a float64 training
    is exact. They are no part of the state.
    """

    mean: Tensor
    std: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, inner: nn.Module, inputs: InputSpec) -> None:
        super().__init__()
        self.inner = inner
        self.inputs = inputs
        constants: dict[str, Any] = {"mean": inputs.mean, "std": inputs.std}
        if inputs.scaling is not None:
            constants |= zip(("rows", "columns"), inputs.scaling.maps(*inputs.image_shape[:2]), strict=True)
        for name, values in constants.items():
            # the default device of the process may be another, even "meta", which has no values
            tensor = torch.tensor(values, dtype=torch.float64, device="cpu")
            tensor = tensor.reshape(-1, 1, 1) if tensor.ndim == 1 else tensor
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, images: Tensor) -> Any:
        """Return the logits of images `(n, c, h, w)` in [0, 1]; the network gets them in the type of its weights."""
        # not len(images), which a program that is traced for any number of images would take for a constant
        return self.logits(run(self.inner, self.preparing(images.dtype)(images)), images.shape[0])

    def preparing(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """Return the function from images of that type to what the network takes."""
        scaled = self._scaling(dtype)
        if not self.inputs.mean:
            return scaled or (lambda images: images)
        mean, std = self.mean.to(dtype), self.std.to(dtype)
        if scaled is None:
            return lambda images: (images - mean) / std
        return lambda images: (scaled(images) - mean) / std

    def _scaling(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor] | None:
        scaling = self.inputs.scaling
        if scaling is None:
            return None
        rows, columns, channels = self.rows.to(dtype), self.columns.to(dtype).T, self.inputs.network_shape[2]

        # products and not `interpolate`, which has no deterministic gradient on a GPU
        def scaled(images: Tensor) -> Tensor:
            with torch.autocast(images.device.type, enabled=False):  # which would round pixels to half precision
                images = rows @ (images @ columns)
            images = images.clamp(-SLACK, 1 + SLACK) if scaling.overshoots else images
            images = images.expand(-1, channels, -1, -1)
            return images.flip(1) if scaling.bgr else images

        return scaled

    def logits(self, output: Any, n: int) -> Any:
        """Return the logits in what the network returned for `n` images; what has none as it is."""
        logits = logits_in(output, self.inputs.output, lambda value: isinstance(value, Tensor))
        if isinstance(logits, Tensor) and is_one_logit(tuple(logits.shape), n, self.inputs.classes):
            logits = logits.reshape(-1, 1)
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        return logits
