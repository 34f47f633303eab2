"""What CUDA graphs do, on the CPU: operations are recorded once, and made again on the same memory without Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


class _Operations(TorchDispatchMode):
    """Keeps every operation with its arguments and results, whose memory the next operations read."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.made.append((func, args, kwargs or {}, out))
        return out


def record(body: Callable[[], None]) -> Callable[[], None]:
    """Run `body`, and return what makes its operations again: numbers that Python has computed stay as they were."""
    with _Operations() as operations:
        body()

    @torch.no_grad()
    def replay() -> None:
        opaque: dict[int, Any] = {}  # results without memory of their own, as weights in oneDNN's layout
        for func, args, kwargs, out in operations.made:
            again = func(*tree_map(lambda value: opaque.get(id(value), value), args), **kwargs)
            for place, value in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(place, Tensor) and (place.layout == torch._mkldnn or place._is_zerotensor()):
                    opaque[id(place)] = value
                elif isinstance(place, Tensor) and place.data_ptr() != value.data_ptr():
                    place.copy_(value)  # unless it is an argument, or a view of one

    return replay
