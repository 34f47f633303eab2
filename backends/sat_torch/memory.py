"""How many images a GPU takes at a time: as many as keep it busy, and no more than there is memory for."""

from __future__ import annotations

import torch
from torch import Tensor

from sat_torch.modes import Forward

PER_PROCESSOR = 16 * 3 * 32 * 32
"""Pixel values per multiprocessor: 16 images of 32 x 32, 2,112 on a card with 132. More bring no speed, as each kernel
of a convolution then has several blocks of work for every multiprocessor."""
LEAST = 64
"""Images that are taken at least where memory allows, however large they are."""
USABLE, SAFETY = 0.8, 3
"""Share of the free memory that is used, and how many times what the backward pass needs an image may take: a graph
and its check may hold it at the same time, and convolutions need workspace."""
ROWS = 16
"""Copies of an image that an attack keeps: points, gradients, the best so far."""


def images_at_once(device: torch.device, kept: int, values: int) -> int:
    """Return how many images to send through a network on a GPU, forward and back.

    Args:
        device: the GPU, whose multiprocessors and free memory are asked for.
        kept: see `kept_bytes`.
        values: pixel values of an image.
    """
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    used = torch.cuda.memory_allocated(device)
    # what PyTorch's allocator holds and nobody uses is free, too
    idle = torch.cuda.memory_reserved(device) - used
    free, total = torch.cuda.mem_get_info(device)
    # other processes may have a part of the card each, of which they use little as yet
    index = torch.cuda.current_device() if device.index is None else device.index
    own = int(torch.cuda.get_per_process_memory_fraction(index) * total) - used
    return fitting(processors, min(free + idle, own), kept, values)


def fitting(processors: int, free: int, kept: int, values: int) -> int:
    """Return `images_at_once` of a GPU with so many multiprocessors and bytes of free memory; at least 1.

    >>> fitting(132, 80 * 2**30, 5_000_000, 3 * 32 * 32), fitting(40, 12 * 2**30, 200_000_000, 3 * 224 * 224)
    (2112, 16)
    """
    busy = max(processors * PER_PROCESSOR // values, LEAST)
    room = int(USABLE * free) // (SAFETY * kept + ROWS * 4 * values)
    return max(min(busy, room), 1)


def kept_bytes(forward: Forward, image: Tensor, *, in_float32: bool = False) -> int:
    """Return how many bytes autograd keeps per image for the backward pass.

    Weights count in every batch, so that the difference between two batches is that of their images.

    Args:
        forward: images to logits.
        image: one, `(1, c, h, w)`.
        in_float32: what it would be if all floats were float32.
    """
    totals = []
    for n in (1, 3):
        storages: dict[int, int] = {}

        def pack(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storage = tensor.untyped_storage()
            nbytes = storage.nbytes()
            if in_float32 and tensor.is_floating_point():
                nbytes = nbytes * 4 // tensor.element_size()
            storages[storage.data_ptr()] = nbytes
            return tensor

        images = image.repeat(n, 1, 1, 1).requires_grad_()
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            forward(images)
        totals.append(sum(storages.values()))
    return max(totals[1] - totals[0], 0) // 2
