"""A network that is replayed as CUDA graphs, so that the host launches one graph per pass in place of every kernel.

For small networks and few images the host takes longer to launch the kernels of a pass than the GPU to run them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sat_evaluation.attack.fast.search import TINY, Forward

CLOSE = 0.02
"""Largest relative difference between a replay and the network itself, for half of the images: enough for bfloat16.
Rounding may put a value on the other side of a ReLU's corner, so that a few gradients differ more. A wrong graph
differs by about 1."""
WARM_UPS = 3
"""Passes before a capture, in which libraries choose kernels and allocate, as PyTorch's documentation asks for."""


class Capture(Protocol):
    """Makes functions that can be replayed."""

    def warm_up(self, function: Callable[[], object]) -> None:
        """Call the function as often as it takes until it allocates and chooses nothing new."""

    def __call__(self, function: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], object]]:
        """Return the tensor that the function computes, and a function that computes it anew into the same memory."""


@final
class Graphs:
    """Captures CUDA graphs on a stream of their own, all in one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        # one pool for all: no two graphs run at the same time, and each backward pass follows its forward pass at once
        self.device, self.pool = device, torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm_up(self, function: Callable[[], object]) -> None:
        """See `Capture`."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            for _ in range(WARM_UPS):
                function()
        torch.cuda.current_stream(self.device).wait_stream(self.stream)

    def __call__(self, function: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], object]]:
        """See `Capture`."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads do with CUDA meanwhile, such as pinning memory, must not break the capture
        with (
            torch.cuda.device(self.device),
            torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"),
        ):
            result = function()
        return result, graph.replay


def padded(n: int, most: int) -> int:
    """Return for how many images the graph is made that takes `n`: few graphs, and little is computed in vain.

    Multiples of a sixteenth of `most`, and halves, quarters and so on of one: with 2048, for 3 images 4, for 100 128,
    and for 129 256.
    """
    step = max(most // 16, 1)
    if n > step:
        return min(-(-n // step) * step, most)
    while step // 2 >= n:
        step //= 2
    return step


@final
class Captured:
    """A network, replayed. Where it cannot be captured, or a replay gives something else, it is called as it is.

    Args:
        forward: images to logits.
        most: images that are replayed at a time; larger batches are not.
        capture: `Graphs` on a GPU.
    """

    def __init__(self, forward: Forward, most: int, capture: Capture) -> None:
        self.forward, self.most, self.capture = forward, most, capture
        self.passes: dict[tuple[int, bool], _Passes] = {}
        self.images: Tensor | None = None
        self.failed = False

    def __call__(self, x: Tensor) -> Tensor:
        """Return the logits `(n, k)` of images `(n, c, h, w)`; their gradient may be asked for before the next call."""
        if self.failed or len(x) > self.most:
            return self.forward(x)
        key = padded(len(x), self.most), x.requires_grad and torch.is_grad_enabled()
        if key not in self.passes:
            try:
                self.passes[key] = self._make(x.detach(), *key)
            except torch.OutOfMemoryError:
                self.release()
                raise
            except RuntimeError as error:
                self.release()
                self.failed = True
                reason = str(error).strip().partition("\n")[0]
                warnings.warn(f"CUDA graphs are not used, as the network cannot be captured: {reason}", stacklevel=2)
                return self.forward(x)
        if key[1]:
            logits: Tensor = _Replay.apply(x, self.passes[key])
            return logits
        return self.passes[key].logits(x)

    def release(self) -> None:
        """Free all graphs and their memory; they are made anew when they are needed."""
        self.passes.clear()
        self.images = None

    def _make(self, x: Tensor, size: int, differentiable: bool) -> _Passes:
        logits, gradient = self._eager(x, differentiable)
        if self.images is None:
            self.images = x.new_zeros(self.most, *x.shape[1:])
        # captured with other images than those of the check, which then shows whether a replay reads its input
        passes = _Passes(self.forward, self.images[:size], logits, differentiable, self.capture)
        checks = [(passes.logits(x), logits)]
        if differentiable:
            checks.append((passes.gradient(_weights(logits)), gradient))
        for replayed, expected in checks:
            off = (replayed - expected).flatten(1).norm(dim=1) / (expected.flatten(1).norm(dim=1) + TINY)
            if not off.median() <= CLOSE:  # NaN is not
                raise RuntimeError(f"a replay differs from the network by {float(off.median()):.2g} of its length")
        return passes

    def _eager(self, x: Tensor, differentiable: bool) -> tuple[Tensor, Tensor]:
        """Logits, and the gradient of their sum with `_weights`, of the network itself."""
        with torch.set_grad_enabled(differentiable):
            logits = self.forward(x.requires_grad_(differentiable))
        if not differentiable:
            return logits, logits
        return logits.detach(), torch.autograd.grad(logits, x, _weights(logits))[0]


def _weights(logits: Tensor) -> Tensor:
    """Some weights of the logits, which do not add up to 0 for any class."""
    return torch.linspace(-1, 2, logits.shape[1], device=logits.device, dtype=logits.dtype).expand_as(logits)


class _Passes:
    """Forward and backward pass for one number of images, on buffers that stay where they are."""

    def __init__(self, forward: Forward, images: Tensor, like: Tensor, differentiable: bool, capture: Capture) -> None:
        self.forward, self.buffer, self.differentiable = forward, images, differentiable
        self.images = images.detach().requires_grad_(differentiable)
        self.weights = like.new_zeros(len(images), like.shape[1])
        capture.warm_up(lambda: (self._forward(), differentiable and self._backward()))
        self.output, self.replay_forward = capture(self._forward)
        if differentiable:
            self.slope, self.replay_backward = capture(self._backward)

    def _forward(self) -> Tensor:
        with torch.set_grad_enabled(self.differentiable):
            self.tape: Any = self.forward(self.images)
        return self.tape.detach()

    def _backward(self) -> Tensor:
        # without the tape its memory is free for the next graph of the pool
        tape, self.tape = self.tape, None
        return torch.autograd.grad(tape, self.images, self.weights)[0]

    def logits(self, x: Tensor) -> Tensor:
        """Return a copy of the logits, as the next replay writes into the same memory."""
        self.buffer[: len(x)].copy_(x.detach())
        self.replay_forward()
        return self.output[: len(x)].clone()

    def gradient(self, weights: Tensor) -> Tensor:
        """Return a copy of the gradient of logits times weights over the images of the last `logits`."""
        self.weights[: len(weights)].copy_(weights)
        self.replay_backward()
        return self.slope[: len(weights)].clone()


class _Replay(torch.autograd.Function):
    """A replay as one operation of autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, passes: _Passes) -> Tensor:
        ctx.passes = passes
        return passes.logits(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None]:
        return ctx.passes.gradient(weights), None
