"""Data sets that are read from their beginning to their end, as `tf.data.Dataset`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from sat_core.errors import DataError, brief
from sat_core.indexed_data import LARGE, Part, Pick, as_labels, stack
from sat_core.pixels import check_sides, pixels, square

_LOOKS = 256
"""Examples at the beginning that are read twice."""
_ENDLESS = -1
"""What `cardinality` gives for a data set that is repeated for ever."""


def read_iterated(data: Any, name: str, pick: Pick, *, size: int | None = None) -> Part:
    """Read a finite data set, whose examples come in the same order each time; batches are taken apart.

    Args:
        data: Has `cardinality` and `as_numpy_iterator`.
        name: What messages call it.
        pick: Returns image and label of an element: of one example, or of a batch.
        size: Pixels of a side that images are scaled to; by default all have one size.

    Raises:
        DataError: It is infinite, empty, shuffled anew each time, or too large; or images or labels cannot be used.
    """
    if int(data.cardinality()) == _ENDLESS:
        raise DataError(f"{name}: expected a data set that ends, got one that repeats for ever\nleave out repeat()")
    _refuse_shuffled(data, name, pick)
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    total = 0
    for image, label in _examples(data, name, pick):
        array = pixels(image, f"{name}: item {len(images)}")
        if size:
            if fault := check_sides(*array.shape[:2]):
                raise DataError(f"{name}: item {len(images)}: {fault}")
            array = square(array, size, array.shape[2])
        # A copy, or each image would keep its whole batch.
        images.append(array.copy())
        labels.append(label)
        total += array.nbytes
        if total > LARGE:
            raise DataError(
                f"{name}: expected at most {LARGE / 2**30:g} GiB of images to read at once, got more, or no end\n"
                "give data that are indexed by number, or folder:PATH?size=N, which are decoded when they are needed"
            )
    if not images:
        raise DataError(f"{name}: expected at least one example, got none")
    return Part(stack(images, name), as_labels(labels, name))


def _refuse_shuffled(data: Any, name: str, pick: Pick) -> None:
    once, again = (list(islice(_examples(data, name, pick), _LOOKS)) for _ in range(2))
    pairs = zip(once, again, strict=False)
    same = len(once) == len(again) and all(
        np.array_equal(x, x_again) and np.array_equal(y, y_again) for (x, y), (x_again, y_again) in pairs
    )
    if not same:
        raise DataError(
            f"{name}: expected the same examples in the same order each time, got others when it was read twice\n"
            "A is a list of example numbers: leave out shuffle() and random transforms, or "
            "shuffle(..., reshuffle_each_iteration=False)"
        )
    if once:
        as_labels([label for _, label in once], name)  # before all images are decoded, which may take minutes


def _examples(data: Any, name: str, pick: Pick) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    elements = data.as_numpy_iterator()
    while True:
        try:
            element = next(elements)
        except StopIteration:
            return
        except Exception as error:  # whatever the user's code raises
            raise DataError(f"{name}: cannot be read ({brief(error)})") from error
        try:
            image, label = map(np.asarray, pick(element))
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        # A batch of grey images (n, h, w) has more than four columns where one image has its channels.
        grey = image.ndim == 3 and label.shape == image.shape[:1] and image.shape[2] > 4
        if image.ndim == 4 or grey:
            if label.ndim == 0 or len(label) != len(image):
                raise DataError(
                    f"{name}: expected a label for each image of a batch, got shapes {image.shape} and {label.shape}"
                )
            yield from zip(image, label, strict=True)
        else:
            yield image, label
