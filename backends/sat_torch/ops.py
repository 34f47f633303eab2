"""The tensor operations that the outlines of the core are made of, in PyTorch; images are `(n, c, h, w)`."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from sat_core.ascent import TensorOps


@final
class _Ops:
    """See `sat_core.ascent.TensorOps`."""

    backend = "torch"

    def norm(self, x: Tensor, order: float) -> Tensor:
        return torch.linalg.vector_norm(x, order, dim=tuple(range(1, x.ndim)), keepdim=True)

    def sign(self, x: Tensor) -> Tensor:
        return x.sign()

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)

    def where(self, condition: Tensor, x: Any, y: Any) -> Tensor:
        return torch.where(condition, x, y)

    def maximum(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.maximum(x, y)

    def full(self, images: Tensor, value: float) -> Tensor:
        return images.new_full((len(images),), value)

    def tensor(self, array: np.ndarray, like: Tensor) -> Tensor:
        return torch.from_numpy(array).to(like.device)

    def images(self, array: np.ndarray, like: Tensor) -> Tensor:
        return torch.from_numpy(array.transpose(0, 3, 1, 2).copy()).to(like)

    def layout(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return x.reshape(-1, *shape).permute(0, 3, 1, 2)

    def join(self, first: Tensor, rest: Tensor) -> Tensor:
        return torch.cat([first, rest])

    def take(self, x: Tensor, rows: Tensor) -> Tensor:
        return x[rows]

    def put(self, x: Tensor, rows: Tensor, values: Tensor) -> Tensor:
        return x.index_copy(0, rows, values)

    # Words are int32, as PyTorch's uint32 has few operations: products and sums wrap around to the same bits.

    def words(self, array: np.ndarray, like: Tensor) -> Tensor:
        return torch.from_numpy(array.view(np.int32)).to(like.device)

    def word_range(self, n: int, like: Tensor) -> Tensor:
        return torch.arange(n, dtype=torch.int32, device=like.device)

    def xorshift(self, x: Tensor, bits: int) -> Tensor:
        return x ^ _shifted(x, bits)

    def times(self, x: Tensor, factor: int) -> Tensor:
        return x * (factor - (1 << 32) if factor >= 1 << 31 else factor)

    def fraction(self, x: Tensor) -> Tensor:
        return _shifted(x, 8).float() * 2**-24

    def integer_range(self, n: int, like: Tensor) -> Tensor:
        return torch.arange(n, dtype=torch.int32, device=like.device)

    def shift(self, x: Tensor, bits: int) -> Tensor:
        return x >> bits

    def log_softmax(self, logits: Tensor) -> Tensor:
        return logits.log_softmax(dim=1)

    def exp(self, x: Tensor) -> Tensor:
        return x.exp()

    def log(self, x: Tensor) -> Tensor:
        return x.log()

    def total(self, x: Tensor) -> Tensor:
        return x.sum(dim=1)

    def most(self, x: Tensor) -> Tensor:
        return x.amax(dim=1)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift words to the right; PyTorch shifts copies of the sign in, which are masked out."""
    return (x >> bits) & ((1 << (32 - bits)) - 1)


OPS: TensorOps = _Ops()
