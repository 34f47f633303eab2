"""CUDA graphs: a training step that is recorded once and then started as one piece, instead of 1,000 launches."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import final

import numpy as np
import torch
from torch import Tensor

from sat_core.errors import SpecError, brief

WARM_UP = 2
"""Eager calls before a capture, in which libraries choose algorithms and fetch memory, as CUDA graphs require."""
TOLERANCE = 0.05
"""Largest difference between a replay and an eager call, relative to the change that the call makes. Kernels that add
up in another order differ by rounding; a capture that has lost a part of the step does by more."""

Record = Callable[[Callable[[], None]], Callable[[], None]]
"""Records what a function does on the device, and returns what does the same again."""


@final
class Captured:
    """A function of a size that only reads and writes tensors of before, captured for each size in its first call.

    A capture is checked once, against the function itself. Where it fails or differs, as for a network that reads from
    the device or changes with Python's state, the function is called directly from then on, and one line says so.

    Args:
        function: is captured.
        changing: returns all tensors that it changes and that its next call depends on, in groups of one kind.
        device: of all of them.
        record: makes a capture; CUDA's graphs unless a test says otherwise.
    """

    def __init__(
        self,
        function: Callable[[int], None],
        changing: Callable[[], list[list[Tensor]]],
        device: torch.device,
        record: Record | None = None,
    ) -> None:
        self._function, self._changing, self._device = function, changing, device
        self._record = record or _CudaGraphs(device)
        self._replays: dict[int, Callable[[], None]] = {}
        self.works = True
        """False once a capture has failed."""

    def __call__(self, size: int) -> None:
        """Do what the function does for that size."""
        if self.works and size not in self._replays:
            self._capture(size)  # which also makes this call
        elif self.works:
            self._replays[size]()
        else:
            self._function(size)

    def forget(self) -> None:
        """Drop all captures, as tensors that they know are replaced."""
        self._replays.clear()

    def _capture(self, size: int) -> None:
        groups = self._changing()
        tensors = [tensor for group in groups for tensor in group]
        before = [tensor.detach().clone() for tensor in tensors]
        cuda = self._device.type == "cuda"
        generator = torch.cuda.get_rng_state(self._device) if cuda else torch.get_rng_state()

        def restore() -> None:
            with torch.no_grad():
                for tensor, value in zip(tensors, before, strict=True):
                    tensor.copy_(value)
            # what layers draw, as dropout, is the same in each of these calls
            if cuda:
                torch.cuda.set_rng_state(generator, self._device)
            else:
                torch.set_rng_state(generator)

        try:
            for _ in range(WARM_UP):
                restore()
                self._warm_up(size)
            expected = [tensor.detach().clone() for tensor in tensors]
            restore()
            replay = self._record(lambda: self._function(size))
            restore()
            replay()
            off = _difference(groups, expected, before)
            if not off <= TOLERANCE:
                raise RuntimeError(f"a replay differs from the step itself by {off:.1%}")
        except (RuntimeError, SpecError) as error:  # SpecError names the plug-in whose function cannot be captured
            self.works = False
            self._replays.clear()
            warnings.warn(
                f"training.cuda_graphs: the step cannot be captured ({brief(error)}); it runs without, and slower",
                stacklevel=2,
            )
            restore()
            self._function(size)
        else:
            self._replays[size] = replay

    def _warm_up(self, size: int) -> None:
        if self._device.type != "cuda":
            self._function(size)
            return
        # not on the default stream, on which a capture would find the work of these calls unfinished
        side = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            self._function(size)
        torch.cuda.current_stream(self._device).wait_stream(side)


def _difference(groups: list[list[Tensor]], expected: list[Tensor], before: list[Tensor]) -> float:
    """Return the distance of tensors from `expected`, relative to that of `expected` from `before`; at worst of all."""
    worst, wanted = 0.0, iter(zip(expected, before, strict=True))
    for group in groups:
        pairs = [(tensor, *next(wanted)) for tensor in group]
        offs, changes = (
            torch.tensor([(x.double() - y.double()).norm().item() for x, y in both])
            for both in ([(tensor, right) for tensor, right, _ in pairs], [(right, old) for _, right, old in pairs])
        )
        # A tensor that hardly changes, as a bias before BatchNorm, changes by rounding alone.
        least = 0.02 * changes.norm()
        # Of NaN no comparison is true: where a training diverges, `Fit` says so.
        worst = max([worst, *(offs / changes.clamp(min=least))[offs > 0].tolist()])
    return worst


@final
class _CudaGraphs:
    """Records CUDA graphs that share one pool of memory, since only one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self._device)
        # thread_local: what other threads do with CUDA meanwhile, such as pinning memory, must not break the capture
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"),
        ):
            function()
        replay: Callable[[], None] = graph.replay
        return replay


@final
class Upload:
    """Copies decoded images to the device: on a GPU from pinned memory, on a stream of its own, while that computes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, images: np.ndarray) -> Tensor:
        """Return `images` on the device; the current stream waits for them, and the host does not."""
        tensor = torch.from_numpy(images)
        if self._stream is None:
            return tensor
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            copied = tensor.pin_memory().to(self._device, non_blocking=True)
        current.wait_stream(self._stream)
        copied.record_stream(current)  # or its memory could be given away while the current stream still reads it
        return copied
