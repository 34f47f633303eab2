"""The average of weights over a training; `sat_core.averaging` has the factor of each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

import numpy as np
import torch
from torch import Tensor

from sat_core.classifier import State
from sat_core.state import check_state
from sat_core.trainer import AVERAGE
from sat_torch.arrays import to_numpy


@final
class Average:
    """The average of weights and statistics, at least in float32, which begins as these.

    Args:
        variables: Those of a network by canonical name; numbers that are no floats are left alone.
    """

    def __init__(self, variables: Mapping[str, Tensor]) -> None:
        self._own = {name: value.detach() for name, value in variables.items() if value.is_floating_point()}
        self._values = [_wide(value).clone() for value in self._own.values()]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Set average ← decay·average + (1 - decay)·weights."""
        if self._values:
            torch._foreach_lerp_(self._values, [_wide(value) for value in self._own.values()], 1 - decay)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Inside, the network has the average, in the memory of its own weights; then these again."""
        own = [*self._own.values()]
        before = [value.clone() for value in own]
        _copy(own, self._values)
        try:
            yield
        finally:
            _copy(own, before)

    def state(self) -> State:
        """Return the average by canonical name."""
        named = zip(self._own, self._values, strict=True)
        return {f"{AVERAGE}{name}": to_numpy(value).copy() for name, value in named}

    def load_state(self, state: Mapping[str, np.ndarray]) -> State:
        """Take over what `state` returned, and return the rest of `state`.

        Raises:
            CheckpointError: An array is missing, surplus, or of another shape.
        """
        average = {name: value for name, value in state.items() if name.startswith(AVERAGE)}
        check_state(self.state(), average, "optimiser")
        _copy(self._values, [torch.from_numpy(np.array(average[f"{AVERAGE}{name}"])) for name in self._own])
        return {name: value for name, value in state.items() if name not in average}


def _wide(value: Tensor) -> Tensor:
    # in half precision an average would not move: 0.1 % of a difference is less than its last bit
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


@torch.no_grad()
def _copy(places: list[Tensor], values: list[Tensor]) -> None:
    for place, value in zip(places, values, strict=True):
        place.copy_(value)
