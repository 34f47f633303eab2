"""The tensor operations that the outlines of the core are made of, in PyTorch; images are `(n, c, h, w)`."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from sat_core.ascent import TensorOps


@final
class _Ops:
    """See `sat_core.ascent.TensorOps`."""

    def norm(self, x: Tensor, order: float) -> Tensor:
        return torch.linalg.vector_norm(x, order, dim=tuple(range(1, x.ndim)), keepdim=True)

    def sign(self, x: Tensor) -> Tensor:
        return x.sign()

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)

    def where(self, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(condition, x, y)

    def maximum(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.maximum(x, y)

    def full(self, images: Tensor, value: float) -> Tensor:
        return images.new_full((len(images),), value)

    def tensor(self, array: np.ndarray, like: Tensor) -> Tensor:
        return torch.from_numpy(array).to(like.device)

    def images(self, array: np.ndarray, like: Tensor) -> Tensor:
        return torch.from_numpy(array.transpose(0, 3, 1, 2).copy()).to(like)

    def take(self, x: Tensor, rows: Tensor) -> Tensor:
        return x[rows]

    def put(self, x: Tensor, rows: Tensor, values: Tensor) -> Tensor:
        return x.index_copy(0, rows, values)


OPS: TensorOps = _Ops()
